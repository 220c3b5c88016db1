"""Compare runs: a table, and one self-contained page with their curves.

    python compare.py runs/deep runs/deep-none
    python compare.py config/laptop.py --arms pre,none --depths 4,12,24 --lrs 3e-4,1e-3 --seeds 2
    python compare.py config/study.py --jobs 2
    python compare.py config/study.py --ray local              or the address of a cluster
    python compare.py runs/deep runs/deep-none --serve          follow them while they train

With a config it first trains the grid of arms x depths x learning rates x seeds: each run has its own
directory under the config's out_dir; finished ones are kept, broken ones resumed. A config may hold a
`study` instead: a list of such grids over any settings. All other --key=value are settings of train.py,
the same for every run.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path

from reslab import cluster, configure, pictures, sinks
from reslab.page import write_page
from reslab.pagedata import page_data
from reslab.runlog import read_run, write_atomically
from reslab.serve import PORT, PageServer
from reslab.summary import differences, results, row, table

# Settings in which a finished run may differ from what is asked now and still be the same run.
SAME_RUN = {"out_dir", "resume", "overwrite", "print_config", "device", "compile", "log"}
LIVE_FILES = ("config.json", "metrics.jsonl", "autopsy.json")  # of a run, what its page is made of
SHORT = {
    "residual": "",
    "n_layer": "L",
    "learning_rate": "lr",
    "seed": "s",
}  # how run directories name settings


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
    parser.add_argument("--lrs", metavar="X,Y", help="learning rates (default: the config's)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds per cell (default: 1)")
    parser.add_argument(
        "--jobs", type=int, default=1, metavar="N", help="runs at once, on a share of the cores each"
    )
    cluster.add_options(parser)
    page = Path("compare.html")
    parser.add_argument("--page", type=Path, default=page, metavar="FILE", help="(default: %(default)s)")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="also write the table with its origin, as JSON"
    )
    parser.add_argument(
        "--png", type=Path, metavar="DIR", help="also write the page's pictures there, as PNG"
    )
    parser.add_argument(
        "--serve", action="store_true", help="show the page while the runs train, on this machine alone"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=PORT,
        metavar="N",
        help="of --serve; 0 takes a free one (default: %(default)s)",
    )
    args, others = parser.parse_known_args(words)
    settings = [word for word in others if word.startswith("--")]
    places = args.places + [word for word in others if not word.startswith("--")]
    if not places:
        parser.error("give run directories, or a config file")
    if not (1 <= args.seeds <= 10_000 and 1 <= args.jobs <= 10_000):
        parser.error("--seeds and --jobs must be at least 1 and at most 10000")
    return args, places, settings


def read_grids(args: argparse.Namespace, files: list[str], base) -> dict[str, dict[str, list]]:
    """The grids to train: name (empty for the command line's) -> setting -> values."""
    given = {"residual": args.arms, "n_layer": args.depths, "learning_rate": args.lrs}
    written = [configure.read_config_file(path).get("study") for path in files]
    if any(written) and not any(given.values()):
        return {name: grid for study in written if study for name, grid in study.items()}
    grid = {"n_layer": [base.model.n_layer], "residual": [base.model.residual]}
    grid |= {key: values.split(",") for key, values in given.items() if values}
    return {"": grid | {"seed": list(range(base.seed, base.seed + args.seeds))}}


def plan(args: argparse.Namespace, files: list[str], settings: list[str]) -> list[tuple[Path, list[str]]]:
    """The cells of all grids: run directory and command line of each, all of them checked.

    Raises:
        ValueError: a cell can't be trained, or its directory holds a run with other settings.
    """
    from reslab.pretrained import settle_run
    from train import TrainConfig  # here, so that comparing runs starts without torch

    def parse(words):
        return configure.parse(TrainConfig, words, leave_out=("study",))[0]

    base = parse([*files, *settings])
    cells = {}
    for name, grid in read_grids(args, files, base).items():
        for values in product(*grid.values()):
            cell = dict(zip(grid, values, strict=True))
            words = [SHORT.get(key, key) + str(cell[key]) for key in sorted(cell, key="residual".__ne__)]
            folder = Path(base.out_dir) / "-".join([name] * bool(name) + words)
            line = [
                *files,
                *settings,
                *(f"--{key}={value}" for key, value in cell.items()),
                f"--out_dir={folder}",
            ]
            wanted = parse(line)
            if (folder / "config.json").exists():
                _check_same(folder, configure.flat(settle_run(wanted)))
            cells[folder] = line
    return list(cells.items())


def _check_same(folder: Path, wanted: dict) -> None:
    from reslab.dataset import same_data  # here, for the same reason

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
    train = Path(__file__).resolve().parent / "train.py"
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


def train_cells(args: argparse.Namespace, cells: list[tuple[Path, list[str]]]) -> int:
    """Train the missing cells, on Ray where that is asked for and there; see train_grid."""
    lack = args.ray and cluster.missing()
    if lack:
        print(f"--ray={args.ray}: {lack}; training on this machine alone", flush=True)
    if lack or not args.ray or not cells:
        return train_grid(cells, args.jobs)
    script = Path(__file__).resolve().parent / "train.py"
    return cluster.train_on_ray(cells, script, args.ray, args.cpus_per_run, args.gpus_per_run)


def title_of(folders: list[Path]) -> str:
    return f"{len(folders)} runs of {folders[0].parent}" if len(folders) > 1 else str(folders[0])


@contextlib.contextmanager
def served(args: argparse.Namespace, folders: list[Path]):
    """While inside, the page of these runs is shown live, if --serve asks for it; runs may begin later."""
    if not args.serve:
        yield None
        return

    def begun() -> list[Path]:
        return [folder for folder in folders if (folder / "config.json").exists()]

    def changed() -> list:
        files = [folder / name for folder in begun() for name in LIVE_FILES]
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]

    title = title_of(folders)
    server = PageServer(args.port, lambda: page_data([read_run(f) for f in begun()], title), changed)
    print(f"live: {server.url} (Ctrl-C ends it)", flush=True)
    try:
        yield server
    finally:
        server.close()


def main(words: list[str]) -> int:
    args, places, settings = read_arguments(words)
    if args.png and (lack := pictures.missing()):
        raise configure.UsageError(f"--png: {lack}")
    files = [place for place in places if place.endswith(".py")]
    cells = plan(args, places, settings) if files else []
    folders = [folder for folder, _ in cells] or [Path(place) for place in places]
    if not files:
        if settings or args.arms or args.depths or args.lrs or args.ray:
            raise configure.UsageError(
                "settings, --arms, --depths, --lrs and --ray need a config file to train"
            )
        for folder in folders:
            read_run(folder)  # a wrong path is told at once
    with served(args, folders) as server:
        if code := train_cells(args, cells):
            return code
        report(args, folders)
        if files:
            sinks.publish_page(args.page, read_run(folders[0]).config.get("log", ""), folders[0].parent)
        if server:
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
    return 0


def report(args: argparse.Namespace, folders: list[Path]) -> None:
    """Print the table of some runs; write their page, and what else was asked for."""
    runs = [read_run(folder) for folder in folders]
    print("\n" + table([row(run) for run in runs]))
    if 1 < len(runs) <= 4:
        print("\n" + (table(differences(runs)) if differences(runs) else "No setting differs."))
    write_page(args.page, runs, title_of(folders))
    print(f"\npage: {args.page.resolve()}", flush=True)
    if args.png:
        print(f"pictures: {', '.join(map(str, pictures.write_pictures(args.page, args.png)))}")
    if args.json:
        write_atomically(args.json, results(runs, " ".join(sys.argv)))
        print(f"table: {args.json}")


if __name__ == "__main__":
    configure.run_door(main)
