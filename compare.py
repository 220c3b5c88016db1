"""Compare runs: a table, and one self-contained page with their loss curves.

    python compare.py runs/deep runs/deep-none
    python compare.py config/laptop.py --arms pre,none --depths 4,12,24 --seeds 2

With a config it first trains the grid of arms x depths x seeds: each run has its own directory
under the config's out_dir; finished ones are kept, broken ones resumed. All other --key=value are
settings of train.py, the same for every run.
"""

import argparse
import signal
import subprocess
import sys
from itertools import product
from pathlib import Path

from reslab import configure
from reslab.page import write_page
from reslab.runlog import read_run
from reslab.summary import differences, row, table

# Settings in which a finished run may differ from what is asked now and still be the same run.
SAME_RUN = {"out_dir", "resume", "overwrite", "print_config", "device", "compile"}


def read_arguments(words: list[str]) -> tuple[argparse.Namespace, list[str], list[str]]:
    """compare's own options, the places (runs or config files), and the settings for train.py."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "places", nargs="*", metavar="RUN | CONFIG.py", help="run directories, or config files"
    )
    parser.add_argument("--arms", metavar="A,B", help="wirings, e.g. pre,none (default: the config's)")
    parser.add_argument("--depths", metavar="N,M", help="numbers of layers (default: the config's)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds per cell (default: 1)")
    parser.add_argument(
        "--page", type=Path, default=Path("compare.html"), metavar="FILE", help="(default: %(default)s)"
    )
    args, others = parser.parse_known_args(words)
    settings = [word for word in others if word.startswith("--")]
    places = args.places + [word for word in others if not word.startswith("--")]
    if not places:
        parser.error("give run directories, or a config file")
    return args, places, settings


def plan(args: argparse.Namespace, files: list[str], settings: list[str]) -> list[tuple[Path, list[str]]]:
    """The grid: run directory and command line of each cell, all of them checked.

    Raises:
        ValueError: a cell can't be trained, or its directory holds a run with other settings.
    """
    from train import TrainConfig  # here, so that comparing runs starts without torch

    base, rest = configure.parse(TrainConfig, [*files, *settings])
    if rest:
        raise configure.UsageError(f"{rest[0]}: mixes runs with config files; give one kind")
    if args.seeds < 1:
        raise configure.UsageError(f"seeds={args.seeds}: must be at least 1")
    arms = args.arms.split(",") if args.arms else [base.model.residual]
    depths = args.depths.split(",") if args.depths else [str(base.model.n_layer)]
    cells = []
    for depth, arm, seed in product(depths, arms, range(base.seed, base.seed + args.seeds)):
        folder = Path(base.out_dir) / f"{arm}-L{depth}-s{seed}"
        cell = [f"--residual={arm}", f"--n_layer={depth}", f"--seed={seed}", f"--out_dir={folder}"]
        wanted, _ = configure.parse(TrainConfig, [*files, *settings, *cell])
        if (folder / "config.json").exists():
            _check_same(folder, configure.flat(wanted))
        cells.append((folder, [*files, *settings, *cell]))
    return cells


def _check_same(folder: Path, wanted: dict) -> None:
    saved = read_run(folder).config
    faults = [
        f"{folder}: made with {key}={saved.get(key)}, now {key}={value}; give another --out_dir, or delete it"
        for key, value in wanted.items()
        if key not in SAME_RUN and saved.get(key) != value
    ]
    if faults:
        raise ValueError("\n".join(faults))


def train_cell(folder: Path, words: list[str]) -> int:
    """Train one cell, or go on with it, in a process of its own; returns train.py's exit code."""
    begun = (folder / "config.json").exists()
    train = Path(__file__).resolve().parent / "train.py"
    # Ctrl-C reaches the child too, which saves; this process waits for it.
    before = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run(
            [sys.executable, str(train), *words, *(["--resume"] if begun else [])]
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)


def train_grid(cells: list[tuple[Path, list[str]]]) -> int:
    """Train the missing cells; returns 0, or the exit code that ended it."""
    for number, (folder, words) in enumerate(cells, 1):
        begun = (folder / "config.json").exists()
        if begun and read_run(folder).status != "unfinished":
            print(f"[{number}/{len(cells)}] {folder}: kept", flush=True)
            continue
        print(f"[{number}/{len(cells)}] {folder}: {'resuming' if begun else 'training'}", flush=True)
        code = train_cell(folder, words)
        if code not in (0, 3):  # a run that diverged is a result
            print(
                f"{folder}: ended with exit code {code}; the same command goes on from here", file=sys.stderr
            )
            return code
    return 0


def main(words: list[str]) -> int:
    args, places, settings = read_arguments(words)
    files = [place for place in places if place.endswith(".py")]
    if files:
        cells = plan(args, places, settings)
        if code := train_grid(cells):
            return code
        folders = [folder for folder, _ in cells]
    else:
        if settings or args.arms or args.depths:
            raise configure.UsageError("settings, --arms and --depths need a config file to train")
        folders = [Path(place) for place in places]
    runs = [read_run(folder) for folder in folders]
    print("\n" + table([row(run) for run in runs]))
    if len(runs) > 1:
        print("\n" + (table(differences(runs)) if differences(runs) else "No setting differs."))
    write_page(
        args.page, runs, f"{len(runs)} runs of {folders[0].parent}" if len(runs) > 1 else str(folders[0])
    )
    print(f"\npage: {args.page.resolve()}")
    return 0


if __name__ == "__main__":
    configure.run_door(main)
