"""Grids of runs: which cells there are, and training those that are missing."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from reslab.data.dataset import same_data
from reslab.run.config import parse
from reslab.run.configfile import read_config_file
from reslab.run.fields import ROOT, flat, with_role
from reslab.run.log import read_run
from reslab.run.options import CompareConfig
from reslab.run.settings import TrainConfig
from reslab.system import cluster

# Settings in which a finished run may differ from what is asked now and still be the same run.
SAME_RUN = with_role(TrainConfig, "place", "machine")
# How run directories name settings.
SHORT = {"residual": "", "n_layer": "L", "learning_rate": "lr", "seed": "s"}


def read_grids(config: CompareConfig, files: list[str]) -> dict[str, dict[str, list]]:
    """The grids to train: name (empty for the command line's) -> setting -> values."""
    given = {"residual": config.arms, "n_layer": config.depths, "learning_rate": config.lrs}
    written = [read_config_file(path).get("study") for path in files]
    if any(written) and not any(given.values()):
        return {name: grid for study in written if study for name, grid in study.items()}
    grid = {"n_layer": [config.train.model.n_layer], "residual": [config.train.model.residual]}
    grid |= {key: values.split(",") for key, values in given.items() if values}
    return {"": grid | {"seed": list(range(config.train.seed, config.train.seed + config.seeds))}}


def plan(config: CompareConfig, files: list[str], settings: list[str]) -> list[tuple[Path, list[str]]]:
    """The cells of all grids: run directory and command line of each, all of them checked.

    Args:
        files: config files.
        settings: of train.py, as words, the same for every cell.

    Raises:
        ValueError: a cell can't be trained, or its directory holds a run with other settings.
    """
    cells = {}
    for name, grid in read_grids(config, files).items():
        for values in product(*grid.values()):
            cell = dict(zip(grid, values, strict=True))
            words = [SHORT.get(key, key) + str(cell[key]) for key in sorted(cell, key="residual".__ne__)]
            folder = Path(config.train.out_dir) / "-".join([name] * bool(name) + words)
            own = [f"--{key}={value}" for key, value in cell.items()]
            line = [*files, *settings, *own, f"--out_dir={folder}"]
            cells[folder] = line, parse(TrainConfig, line, leave_out=("study",)).config
    from model import check_wirings  # here, so that a fault in the words comes before torch
    from reslab.training.init_from import resolve_init_from

    for folder, (_, wanted) in cells.items():
        check_wirings(wanted.model)
        if (folder / "config.json").exists():
            _check_same(folder, flat(resolve_init_from(wanted)))
    return [(folder, line) for folder, (line, _) in cells.items()]


def _check_same(folder: Path, wanted: dict) -> None:
    run = read_run(folder)
    saved, same = run.config, SAME_RUN
    if same_data(run.facts["dataset"], wanted["dataset"]):
        same = same | {"dataset"}
    faults = [
        f"{folder}: made with {key}={saved.get(key)}, now {key}={value}; give another --out_dir, or delete it"
        for key, value in wanted.items()
        if key not in same and saved.get(key) != value
    ]
    if faults:
        raise ValueError("\n".join(faults))


def train_cell(folder: Path, words: list[str], jobs: int) -> int:
    """Train one cell, or go on with it, in a process of its own; returns train.py's exit code."""
    begun = (folder / "config.json").exists()
    train = ROOT / "train.py"
    command = [sys.executable, str(train), *words, *(["--resume"] if begun else [])]
    if jobs == 1:
        return subprocess.run(command).returncode
    threads = str(max(1, (os.cpu_count() or 1) // jobs))
    environment = os.environ | {"OMP_NUM_THREADS": threads}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8")
    print("\n".join(done.stdout.splitlines()[-1:] + done.stderr.splitlines()[-1:]), flush=True)
    return done.returncode


def train_grid(cells: list[tuple[Path, list[str]]], jobs: int) -> int:
    """Train the missing cells, `jobs` at once; returns 0, or the exit code of a cell that ended it."""
    codes = []

    def one(number: int, folder: Path, words: list[str]) -> None:
        if any(code not in (0, 3) for code in codes):
            return  # stopped, or broken: the others wait for the same command
        begun = (folder / "config.json").exists()
        if begun and read_run(folder).status != "unfinished":
            print(f"[{number}/{len(cells)}] {folder}: kept", flush=True)
            return
        print(f"[{number}/{len(cells)}] {folder}: {'resuming' if begun else 'training'}", flush=True)
        codes.append(train_cell(folder, words, jobs))
        if codes[-1] not in (0, 3):  # a run that diverged is a result
            print(
                f"{folder}: ended with exit code {codes[-1]}; the same command goes on from here",
                file=sys.stderr,
            )

    # Ctrl-C reaches the children too, which save; this process waits for them.
    before = signal.signal(signal.SIGINT, lambda number, frame: codes.append(130))
    try:
        with ThreadPoolExecutor(jobs) as pool:
            list(pool.map(lambda item: one(item[0], *item[1]), enumerate(cells, 1)))
    finally:
        signal.signal(signal.SIGINT, before)
    return next((code for code in codes if code not in (0, 3)), 0)


def train_cells(config: CompareConfig, cells: list[tuple[Path, list[str]]]) -> int:
    """Train the missing cells, on Ray where that is asked for and there; see train_grid."""
    lack = config.ray and cluster.missing()
    if lack:
        print(f"--ray={config.ray}: {lack}; training on this machine alone", flush=True)
    if lack or not config.ray or not cells:
        return train_grid(cells, config.jobs)
    return cluster.train_on_ray(
        cells, ROOT / "train.py", config.ray, config.cpus_per_run, config.gpus_per_run
    )
