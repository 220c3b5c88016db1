"""Grids of runs: which cells there are, and training those that are missing."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple

from reslab import TOP
from reslab.data.dataset import same_data
from reslab.nn.flops import flops_per_token, tokens_per_update
from reslab.run.children import Children
from reslab.run.config import parse
from reslab.run.configfile import UsageError
from reslab.run.fields import flat, with_role
from reslab.run.log import read_run
from reslab.run.options import CompareConfig
from reslab.run.settings import TrainConfig
from reslab.run.streams import lossy
from reslab.system import cluster
from reslab.training.grid_values import as_typed, read_grids

# Settings in which a finished run may differ from what is asked now and still be the same run.
SAME_RUN = with_role(TrainConfig, "place", "machine")
# How run directories name settings.
SHORT = {"residual": "", "n_layer": "L", "learning_rate": "lr", "seed": "s"}


class Cell(NamedTuple):
    """One run of a grid."""

    folder: Path
    argv: list[str]
    """Its command line for train.py."""
    config: TrainConfig
    grid: str
    """The name of its grid in a study; empty for the command line's."""
    values: dict[str, str]
    """Its value of each setting of the grid, as text."""


def plan(config: CompareConfig, files: list[str], args: list[str]) -> list[Cell]:
    """The cells of all grids, all of them checked.

    Args:
        files: config files.
        args: settings of train.py, the same for every cell.

    Raises:
        ValueError: a cell can't be trained, or its directory holds a run with other settings.
    """
    cells, faults = {}, []
    for name, grid in read_grids(config, files).items():
        for combination in product(*grid.values()):
            values = dict(zip(grid, combination, strict=True))
            order = sorted(values, key="residual".__ne__)
            parts = [SHORT.get(key, key) + values[key].replace("/", "_") for key in order]
            folder = Path(config.train.out_dir) / "-".join([name] * bool(name) + parts)
            own = [f"--{key}={value}" for key, value in values.items()]
            line = [*files, *args, *own, f"--out_dir={folder}", "--end_note="]  # that of one run alone
            try:
                parsed = parse(TrainConfig, line, leave_out=("study",)).config
            except UsageError as error:
                faults += as_typed(str(error), config, values)
                continue
            cells[folder] = Cell(folder, line, parsed, name, values)
    if faults:
        raise UsageError("\n".join(dict.fromkeys(faults)))
    from reslab.residual import check_wirings  # here, so that a fault in the words comes before torch
    from reslab.training.init_from import resolve_init_from

    for cell in cells.values():
        check_wirings(cell.config.model)
        if (cell.folder / "config.json").exists():
            _check_same(cell.folder, flat(resolve_init_from(cell.config)))
    return list(cells.values())


def _has_no_adam(config: dict) -> bool:
    return config["optimizer"] in ("sgd", "adagrad")


# Setting -> when its values change nothing, and what is said about it then; read on a cell's whole config.
WITHOUT_EFFECT = {
    "learning_rate": (
        lambda c: c["optimizer"] == "muon" and c["muon_lr"] > 0,
        "turns only AdamW's part; Muon's matrices follow muon_lr",
    ),
    "muon_lr": (lambda c: c["optimizer"] != "muon", "has no effect without optimizer=muon"),
    "min_lr": (lambda c: c["schedule"] != "cosine", "has no effect without schedule=cosine"),
    "beta1": (lambda c: c["optimizer"] == "adagrad", "has no effect with optimizer=adagrad"),
    "beta2": (_has_no_adam, "has no effect with optimizer=sgd or adagrad"),
    "adam_eps": (_has_no_adam, "has no effect with optimizer=sgd or adagrad"),
    "init_qk_scale": (
        lambda c: c["init"] not in ("self", "shared_qk"),
        "has no effect without init=self or shared_qk",
    ),
    "residual_scale": (
        lambda c: "scaled" not in (c["residual"], c["attn_residual"], c["mlp_residual"]),
        "has no effect without the wiring scaled",
    ),
    "skip_blocks": (
        lambda c: "partial_skips" not in (c["residual"], c["attn_residual"], c["mlp_residual"]),
        "has no effect without the wiring partial_skips",
    ),
    "residual": (
        lambda c: bool(c["attn_residual"] and c["mlp_residual"]),
        "has no effect: attn_residual and mlp_residual stand in its place",
    ),
    "grow_at": (lambda c: c["init_from"] == "scratch", "has no effect with init_from=scratch"),
}


def without_effect(cells: list[Cell]) -> list[str]:
    """A line for each varied setting that changes nothing in some cells of its grid."""
    by_grid: dict[str, list[Cell]] = {}
    for cell in cells:
        by_grid.setdefault(cell.grid, []).append(cell)
    lines = []
    for name, members in by_grid.items():
        varied = [key for key in members[0].values if len({cell.values[key] for cell in members}) > 1]
        for key in filter(WITHOUT_EFFECT.get, varied):
            holds, sentence = WITHOUT_EFFECT[key]
            others = {tuple(v for k, v in cell.values.items() if k != key): cell for cell in members}
            idle = sum(holds(flat(cell.config)) for cell in others.values())
            if idle:
                where = (
                    "" if idle == len(others) else f" in {idle} of {len(others)} combinations of the others"
                )
                lines.append(f"{name + ': ' if name else ''}{key}{where} {sentence}")
    return lines


def cell_number(cells: list[Cell], number: int) -> Cell:
    """One cell by its number of --list, from 1.

    Raises:
        UsageError: there is no such cell.
    """
    if not 1 <= number <= len(cells):
        raise UsageError(f"--cell={number}: must be 1 to {len(cells)}, see --list")
    return cells[number - 1]


def listing(cells: list[Cell]) -> list[str]:
    """A line for each cell: its number, directory, state, and how long it will train; the sum stands last.

    The time is that of the finished cells together, in proportion to their FLOPs without the head's; so the
    longest count most, since a short one takes most of its time to begin.
    """
    states, works, elapsed, done = [], [], 0.0, 0
    for cell in cells:
        works.append(_work(cell.config))
        run = read_run(cell.folder) if (cell.folder / "config.json").exists() else None
        states.append(run.status if run else "not begun")
        if run and run.status == "finished" and run.last("elapsed_s"):
            elapsed, done = elapsed + run.last("elapsed_s"), done + works[-1]
    rate = elapsed / done if done else None
    lines, total = [], 0.0
    for number, (cell, state, work) in enumerate(zip(cells, states, works, strict=True), 1):
        open_ = state in ("not begun", "unfinished")
        total += work * rate if rate and open_ else 0
        estimate = (f", about {work * rate:,.0f} s" if rate else "") if open_ else ""
        lines.append(f"{number}  {cell.folder}  {state}{estimate}")
    known = (
        f"about {total:,.0f} s on this machine, one after the other"
        if rate
        else "unknown until one has finished"
    )
    return [*lines, f"{len(cells)} cells; time left: {known}"]


def _work(config: TrainConfig) -> float:
    """What a run's time is in proportion to, nearly: its FLOPs, but for those of the head."""
    return max(1, config.optim.max_iters) * tokens_per_update(config) * flops_per_token(config.model)


def _check_same(folder: Path, wanted: dict) -> None:
    run = read_run(folder)
    saved, same = flat(TrainConfig()) | run.config, SAME_RUN  # a setting that was not there yet: its default
    dataset = run.facts.get("dataset", {})
    if "splits" in dataset and same_data(dataset, wanted["dataset"]):
        same = same | {"dataset"}
    faults = [
        f"{folder}: made with {key}={saved.get(key)}, now {key}={value}; give another --out_dir, or delete it"
        for key, value in wanted.items()
        if key not in same and saved.get(key) != value
    ]
    from reslab.training.same_wiring import other_version, wiring_names

    names, told = wiring_names(saved), run.facts.get("wiring", {})
    versions = {names[kind]: one.get("version", 1) for kind, one in told.items()}
    if reason := other_version(saved, versions):
        faults.append(f"{folder}: {reason} in another --out_dir")
    if faults:
        raise ValueError("\n".join(faults))


def train_cell(folder: Path, argv: list[str], jobs: int, children: Children) -> int | None:
    """Train one cell, or go on with it, in a process of its own; returns train.py's exit code, None when
    everything was to end before it could start."""
    begun = (folder / "config.json").exists()
    train = TOP / "train.py"
    command = [sys.executable, str(train), *argv, *(["--resume"] if begun else [])]
    if jobs == 1:
        done = children.run(command)
        return done and done.returncode
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONIOENCODING": "utf-8:replace"}
    both = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    done = children.run(command, env=environment, text=True, encoding="utf-8", errors="replace", **both)
    if done:
        print("\n".join(done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-1:]), flush=True)
    return done and done.returncode


def train_grid(cells: list[tuple[Path, list[str]]], jobs: int) -> int:
    """Train the missing cells, `jobs` at once; returns 0, or the exit code of what ended it.

    What ends this process, a signal or an exception, reaches the trainings, and they save.
    """
    codes, children = [], Children()

    def run_cell(number: int, folder: Path, argv: list[str]) -> None:
        if children.stopping or any(code not in (0, 3) for code in codes):
            return  # stopped, or broken: the others wait for the same command
        begun = (folder / "config.json").exists()
        if begun and read_run(folder).status != "unfinished":
            print(f"[{number}/{len(cells)}] {folder}: kept", flush=True)
            return
        print(f"[{number}/{len(cells)}] {folder}: {'resuming' if begun else 'training'}", flush=True)
        code = train_cell(folder, argv, jobs, children)
        if children.stopping or code is None:
            return
        codes.append(code)
        if code not in (0, 3):  # a run that diverged is a result
            how = f"exit code {code}" if code > 0 else f"signal {-code}"
            then = "" if code == 2 else "; the same command goes on from here"  # 2: it would be refused again
            print(f"{folder}: ended with {how}{then}", file=sys.stderr)

    def safely(item) -> None:
        try:
            run_cell(item[0], *item[1])
        except BaseException:
            children.stop()
            raise

    with lossy(), children:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(safely, enumerate(cells, 1)))
        if children.signal_number:
            tell_stopped(cells)
            return 128 + children.signal_number
    code = next((code for code in codes if code not in (0, 3)), 0)
    return code if code >= 0 else 128 - code


def tell_stopped(cells: list[tuple[Path, list[str]]]) -> None:
    """Print how many cells of a grid are done, and how many are begun, saved up to where they stopped."""
    begun = [read_run(folder).status for folder, _ in cells if (folder / "config.json").exists()]
    unfinished = begun.count("unfinished")
    done = f"{len(begun) - unfinished} of {len(cells)} runs are done, {unfinished} saved on their way"
    print(f"stopped: {done}; the same command goes on from here", file=sys.stderr)


def train_cells(config: CompareConfig, cells: list[Cell]) -> int:
    """Train the missing cells, on Ray where that is asked for and there; see train_grid."""
    reason, pairs = config.ray and cluster.missing(), [(cell.folder, cell.argv) for cell in cells]
    if reason:
        print(f"--ray={config.ray}: {reason}; training on this machine alone", flush=True)
    if reason or not config.ray or not pairs:
        return train_grid(pairs, config.jobs)
    code = cluster.train_on_ray(pairs, TOP / "train.py", config.ray, config.cpus_per_run, config.gpus_per_run)
    if code > 128:
        tell_stopped(pairs)
    return code
