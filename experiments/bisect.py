"""Finds by bisection where stacks begin to learn, between the values of a setting that a grid has.

    python -m experiments.bisect config/dose.py --setting=residual_scale --json experiments/dose/edges.json

First the study of the config is trained, as compare.py trains it. A stack has learned when its validation
loss is below that of `silent`, the control of the same study. Where of two neighbouring values one has
learned and the other has not, all else being the same, the value half-way is trained, --steps times. Runs
that are there are kept, so the same command goes on. Other options are settings of all runs.
"""

import math
import re
from argparse import Namespace
from pathlib import Path

from experiments.measured import arguments
from experiments.tables import edges
from reslab.report.records import results
from reslab.report.selection import load_runs
from reslab.run.arguments import ArgumentParser, at_least
from reslab.run.config import parse, run_door
from reslab.run.fields import settings, short
from reslab.run.files import write_atomically
from reslab.run.log import Run
from reslab.run.options import CompareConfig
from reslab.run.settings import TrainConfig
from reslab.training.grid import SHORT, Cell, plan, train_grid

STEPS = 3  # how often an interval is halved, if nothing else is asked for


def halfway(low: float, high: float, ratio: bool) -> float:
    """The value between two, by their ratio or their difference, to four digits."""
    return float(f"{math.sqrt(low * high) if ratio else (low + high) / 2:.4g}")


def families(cells: list[Cell], setting: str) -> dict[tuple, dict[float, Cell]]:
    """Cells that differ in the setting alone: their other settings -> value of the setting -> cell."""
    found: dict[tuple, dict[float, Cell]] = {}
    for cell in cells:
        if setting in cell.values:
            others = tuple(sorted((k, v) for k, v in cell.values.items() if k != setting))
            found.setdefault(others, {})[float(cell.values[setting])] = cell
    return found


def changed(cell: Cell, setting: str, value: float) -> Cell:
    """The cell's run with another value of the setting, in a directory of its own."""
    named = SHORT.get(setting, setting)
    name = re.sub(rf"-{named}{re.escape(cell.values[setting])}(?=-|$)", f"-{named}{value}", cell.folder.name)
    folder = cell.folder.with_name(name)
    words = {f"--{setting}={cell.values[setting]}": f"--{setting}={value}"}
    words[f"--out_dir={cell.folder}"] = f"--out_dir={folder}"
    argv = [words.get(word, word) for word in cell.argv]
    config = parse(TrainConfig, argv, leave_out=("study",)).config
    return Cell(folder, argv, config, cell.grid, cell.values | {setting: str(value)})


def compared(cells: list[Cell]) -> list[str]:
    """The settings in which alone some cells differ, of those that are numbers; a seed is none to compare."""
    known, keys = settings(TrainConfig), {key for cell in cells for key in cell.values} - {"seed"}
    numbers = sorted(key for key in keys if known[key].kind in (int, float))
    return [key for key in numbers if any(len(family) > 1 for family in families(cells, key).values())]


def check(cells: list[Cell], options: Namespace, seed: int | None) -> None:
    """Raises ValueError where the study has no control, nothing to compare, or not the seed that chooses."""
    if not any(cell.config.model.residual == "silent" for cell in cells):
        raise ValueError(f"{options.config}: has no `silent` in its study, the control of what has learned")
    if seed is not None and seed not in {cell.config.seed for cell in cells}:
        raise ValueError(f"{options.config}: has no seed {seed} in its study, the one that chooses the best")
    if options.setting not in (allowed := compared(cells)):
        raise ValueError(
            f"--setting={short(options.setting)}: no runs of {options.config} differ in this number alone; "
            f"allowed are {', '.join(allowed) or 'none'}"
        )


def train(cells: list[Cell], jobs: int) -> dict[Path, Run]:
    """Train the cells that are missing; returns all of them as runs."""
    if code := train_grid([(cell.folder, cell.argv) for cell in cells], jobs):
        raise SystemExit(code)
    return {run.folder: run for run in load_runs([cell.folder for cell in cells])[0]}


def middles(cells: list[Cell], runs: dict[Path, Run], setting: str) -> list[Cell]:
    """The cells half-way between neighbours of which one has learned and the other has not."""
    losses = {cell.folder: runs[cell.folder].last("val/loss") for cell in cells}
    losses |= {folder: None for folder, run in runs.items() if run.status == "diverged"}
    control = [losses[cell.folder] for cell in cells if cell.config.model.residual == "silent"]
    silent, new = sum(control) / len(control), []
    for family in families(cells, setting).values():
        of_value = {value: losses[cell.folder] for value, cell in family.items()}
        for low, high in edges(of_value, silent):
            value = halfway(low, high, ratio=setting.endswith(("lr", "rate")))
            new.append(changed(family[low], setting, value))
    return new


def study(options: Namespace, seed: int | None = None) -> list[Cell]:
    """The cells of a config's study.

    Args:
        options: those of read_options.
        seed: one that the study must have.

    Raises ValueError where the study has nothing to compare.
    """
    words = [options.config, *options.settings]
    cells = plan(parse(CompareConfig, words, leave_out=("study",)).config, words[:1], words[1:])
    check(cells, options, seed)
    return cells


def parser(doc: str) -> ArgumentParser:
    """The command line of a program that trains a study and goes on from it.

    Args:
        doc: the program's docstring.
    """
    made = arguments(doc)
    made.add_argument("config", help="a config file with a study, `silent` in it")
    made.add_argument("--setting", required=True, help="the setting whose values are compared")
    return made


def read_options(made: ArgumentParser, argv: list[str]) -> Namespace:
    """What was typed; what the parser does not know are `settings` of all runs."""
    options, settings = made.parse_known_args(argv)
    options.settings = settings
    return options


def command(program: str, options: Namespace, *more: str) -> str:
    """What to type for the same result."""
    words = [options.config, *options.settings, f"--setting={options.setting}", *more]
    return " ".join([f"python -m experiments.{program}", *words])


def main(argv: list[str]) -> None:
    made = parser(__doc__)
    made.add_argument("--steps", type=at_least(0), default=STEPS, help="how often each interval is halved")
    options = read_options(made, argv)
    cells = study(options)
    runs = train(cells, options.jobs)
    for _ in range(options.steps):
        cells += middles(cells, runs, options.setting)
        runs = train(cells, options.jobs)
    steps = [] if options.steps == STEPS else [f"--steps={options.steps}"]
    write_atomically(options.json, results(list(runs.values()), command("bisect", options, *steps)))


if __name__ == "__main__":
    run_door(main)
