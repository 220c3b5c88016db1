"""Compare runs: a table, and one self-contained page with their curves."""

import contextlib
import os
import sys
from pathlib import Path

from reslab.report import foreign
from reslab.report.facts import load, warnings
from reslab.report.selection import (
    check_choice,
    choose,
    find_runs,
    load_runs,
    sort_runs,
    speaks_of_outcome,
)
from reslab.report.summary import (
    COLUMNS,
    GROUP_COLUMNS,
    fitted_differences,
    fitted_table,
    group_rows,
    legend,
    row,
)
from reslab.run.config import UsageError, parse, run_door
from reslab.run.fields import flat, settings
from reslab.run.files import write_atomically
from reslab.run.launch import command_line
from reslab.run.log import Run
from reslab.run.options import CompareConfig, outputs
from reslab.run.settings import TrainConfig
from reslab.run.streams import lossy, wrapped

LIVE_FILES = ("config.json", "metrics.jsonl", "autopsy.json", "*tfevents*")  # what a page is made of
REPEATED = ("where", "vary", "map")  # options that may be given several times
HELP = """
    python compare.py runs/deep runs/deep-none --page deep.html
    python compare.py runs --where 'n_layer>=8' --sort val --csv runs.csv
    python compare.py config/laptop.py --arms pre,none --depths 4,12 --jobs 2
    python compare.py config/study.py --list          then --cell N trains one

A folder that is no run is searched for runs; what can't be read is named and left out. With a config it
first trains the grid of arms x depths x learning rates x seeds x --vary: each run has its own directory
under the config's out_dir; finished ones are kept, broken ones resumed. A config may hold a `study`
instead: named grids over any settings. Below each table stands what its columns mean;
docs/compare.md has more examples, and says how to get at the numbers.
"""


def join_repeated(argv: list[str]) -> list[str]:
    """A command line in which each of REPEATED stands once, its values joined with semicolons."""
    rest, values, argv = [], {key: [] for key in REPEATED}, list(argv)
    while argv:
        word = argv.pop(0)
        key, equals, value = word.removeprefix("--").partition("=")
        if not word.startswith("--") or key not in REPEATED:
            rest.append(word)
        else:
            if not equals and (not argv or argv[0].startswith("--")):
                raise UsageError(f"--{key}: needs a value")
            values[key].append(value if equals else argv.pop(0))
    return rest + [f"--{key}={';'.join(texts)}" for key, texts in values.items() if texts]


def read_arguments(argv: list[str]) -> tuple[CompareConfig, list[str], list[str]]:
    """compare's own options, the places (runs or config files), and the settings for train.py as words."""
    config, places, given = parse(CompareConfig, join_repeated(argv), HELP, leave_out=("study",))
    if not places:
        raise UsageError("give run directories, or a config file")
    others = [place for place in places if not place.endswith(".py")]
    if others and len(others) < len(places):
        raise UsageError(f"{', '.join(others)}: give run directories or config files, not both")
    for_training = [f"--{key}={text}" for key, text in given.items() if key in settings(TrainConfig)]
    grid = (config.arms, config.depths, config.lrs, config.vary, config.ray, config.list, config.cell)
    if others and (for_training or any(grid)):
        raise UsageError(
            "settings, --arms, --depths, --lrs, --vary, --ray, --list and --cell need a config file to train"
        )
    if not others and (config.map or config.same_data):
        raise UsageError("--map and --same_data are for foreign curves; with a config there are none")
    return config, places, for_training


def title_of(folders: list[Path]) -> str:
    return f"{len(folders)} runs of {folders[0].parent}" if len(folders) > 1 else str(folders[0])


def live_files(folder: Path) -> list[Path]:
    return [path for pattern in LIVE_FILES for path in sorted(folder.glob(pattern))]


@contextlib.contextmanager
def served(config: CompareConfig, folders: list[Path]):
    """While inside, the page of these runs is shown live, if --serve asks for it; runs may begin later."""
    if not config.serve:
        yield None
        return

    def begun() -> list[Path]:
        return [f for f in folders if (f / "config.json").exists() or (f.exists() and foreign.kind_of(f))]

    def changed() -> list:
        files = [f for place in begun() for f in ([place] if place.is_file() else live_files(place))]
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files]

    def read() -> list:
        return load_runs(begun(), config.map, config.same_data)[0] if begun() else []

    from reslab.report.pagedata import page_data
    from reslab.report.serve import PageServer

    def data() -> dict:
        there = set(begun())
        made = page_data(read(), title_of(folders), heading=config.title)
        return made | {"waiting": [f.name for f in folders if f not in there]}

    server = PageServer(config.port, data, changed)
    print(f"live: {server.url} (Ctrl-C ends it)", flush=True)
    try:
        yield server
    finally:
        server.close()


def main(argv: list[str]) -> int:
    config, places, for_training = read_arguments(argv)
    from reslab.report import pictures

    if config.png and (reason := pictures.missing()):
        raise UsageError(f"--png: {reason}")
    if places[0].endswith(".py"):
        return train_and_report(config, places, for_training)
    refuse_inputs_as_outputs(config, places)
    runs = selected(config, find_runs(places), conditions(config))
    with served(config, [run.folder for run in runs]) as server:
        report(config, runs)
        wait(server)
    return 0


def refuse_inputs_as_outputs(config: CompareConfig, places: list[str]) -> None:
    """Raises UsageError where a file that is read would be replaced."""
    inputs = {os.path.realpath(place) for place in places}
    for name, path in outputs(config).items():
        if os.path.realpath(path) in inputs:
            raise UsageError(f"--{name}={path}: is an input; choose another place")


def train_and_report(config: CompareConfig, files: list[str], for_training: list[str]) -> int:
    """Train the cells of a grid that are missing and report on all of them; returns the exit code."""
    from reslab.report import trackers
    from reslab.training import grid
    from reslab.training.init_from import resolve_init_from

    cells = grid.plan(config, files, for_training)
    configs = [cell.config for cell in cells]
    if config.where:  # a shape may be that of a file, whose weights are read for it
        configs = map(resolve_init_from, configs)
    planned = [Run(cell.folder, flat(own), {}, []) for cell, own in zip(cells, configs, strict=True)]
    check_choice(planned, conditions(config), config.sort)
    of_outcome = [one for one in conditions(config) if speaks_of_outcome(one)]
    of_settings = [one for one in conditions(config) if one not in of_outcome]
    wanted = {run.folder for run in told(*choose(planned, of_settings))}
    cells = [cell for cell in cells if cell.folder in wanted]
    for line in grid.without_effect(cells):
        print(f"note: {line}", file=sys.stderr, flush=True)
    if config.list:
        print("\n".join(grid.listing(cells)))
        return 0
    if config.cell:
        return grid.train_cells(config, [grid.cell_number(cells, config.cell)])
    folders = [cell.folder for cell in cells]
    with served(config, folders) as server:
        if code := grid.train_cells(config, cells):
            return code
        report(config, selected(config, folders, of_outcome))
        trackers.publish_page(config.page, load(folders[0]).config.get("log", ""), folders[0].parent)
        wait(server)
    return 0


def wait(server) -> None:
    """Show the page, where it is served, until Ctrl-C."""
    if server:
        with contextlib.suppress(KeyboardInterrupt):
            server.wait()


def conditions(config: CompareConfig) -> list[str]:
    """Those of --where, which may be given several times."""
    return [condition for condition in config.where.split(";") if condition.strip()]


def told(runs: list[Run], notes: list[str]) -> list[Run]:
    """The runs that choose() took, its notes on stderr."""
    for note in notes:
        print(f"note: {note}", file=sys.stderr, flush=True)
    return runs


def selected(config: CompareConfig, folders: list[Path], where: list[str]) -> list[Run]:
    """The runs that meet some conditions, in the order of --sort; what can't be read is named on stderr."""
    runs, left_out = load_runs(folders, config.map, config.same_data)
    for reason in left_out:
        print(f"left out: {reason}", file=sys.stderr, flush=True)
    runs = told(*choose(runs, where))
    return sort_runs(runs, config.sort) if config.sort else runs


@lossy()  # a full disk behind stdout does not cost the files
def report(config: CompareConfig, runs: list[Run]) -> None:
    """Print the table of some runs; write their page, and what else was asked for."""
    from reslab.report import pictures
    from reslab.report.html import write_page

    rows, cautions = print_tables(config, runs)
    write_page(config.page, runs, title_of([run.folder for run in runs]), config.title)
    print(f"\npage: {config.page.resolve()}", flush=True)
    if config.png:
        print(f"pictures: {', '.join(map(str, pictures.write_pictures(config.page, config.png)))}")
    write_files(config, runs, rows, cautions)


def print_tables(config: CompareConfig, runs: list[Run]) -> tuple[list[dict], list[str]]:
    """Print what is compared; returns the rows of the table, and why runs should not be compared."""
    by_seed, cautions = group_rows(runs), warnings(runs)
    rows = by_seed if config.mean else [row(run) for run in runs]
    shown = fitted_table(rows)
    print(f"\n{shown}\n\n{legend(rows, shown)}")
    if len(by_seed) < len(runs) and not config.mean:
        shown = fitted_table(by_seed)
        print(f"\nMeans over seeds of the runs that finished:\n{shown}\n\n{legend(by_seed, shown)}")
    if 1 < len(runs) <= 4:
        print(f"\n{fitted_differences(runs)}")
    if cautions:
        lines = [line for caution in cautions for line in wrapped(f"warning: {caution}")]
        print("\n" + "\n".join(lines), flush=True)
    return rows, cautions


def write_files(config: CompareConfig, runs: list[Run], rows: list[dict], cautions: list[str]) -> None:
    """Write the JSON, the CSVs and the LaTeX table that were asked for."""
    if not (config.json or config.csv or config.tex or config.curves):
        return
    from reslab.report import records

    texts = {
        "table": (config.json, lambda: records.results(runs, command_line())),
        "numbers": (config.csv, lambda: records.runs_csv(runs)),
        "latex": (config.tex, lambda: records.tex_table(rows, COLUMNS | GROUP_COLUMNS, cautions)),
        "curves": (config.curves, lambda: records.curves_csv(runs)),
    }
    for name, (path, text) in texts.items():
        if path:
            write_atomically(path, text())
            print(f"{name}: {path}")


if __name__ == "__main__":
    run_door(main)
