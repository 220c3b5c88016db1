"""Compare runs: a table, and one self-contained page with their curves."""

import contextlib
import sys
from pathlib import Path

from reslab.report.summary import differences, results, row, table
from reslab.run.config import UsageError, parse, run_door
from reslab.run.fields import settings
from reslab.run.log import read_run, write_atomically
from reslab.run.options import CompareConfig
from reslab.run.settings import TrainConfig

LIVE_FILES = ("config.json", "metrics.jsonl", "autopsy.json")  # of a run, what its page is made of
HELP = """
    python compare.py runs/deep runs/deep-none
    python compare.py config/laptop.py --arms pre,none --depths 4,12,24 --lrs 3e-4,1e-3 --seeds 2
    python compare.py config/study.py --jobs 2
    python compare.py config/study.py --ray local              or the address of a cluster
    python compare.py runs/deep runs/deep-none --serve          follow them while they train

With a config it first trains the grid of arms x depths x learning rates x seeds: each run has its own
directory under the config's out_dir; finished ones are kept, broken ones resumed. A config may hold a
`study` instead: a list of such grids over any settings. The settings of train.py are the same for every run.

Exit codes: 0 done; 2 what was asked can't be done; 130 Ctrl-C; else that of the run that ended the grid.
"""


def read_arguments(words: list[str]) -> tuple[CompareConfig, list[str], list[str]]:
    """compare's own options, the places (runs or config files), and the settings for train.py as words."""
    config, places, given = parse(CompareConfig, words, HELP, leave_out=("study",))
    if not places:
        raise UsageError("give run directories, or a config file")
    others = [place for place in places if not place.endswith(".py")]
    if others and len(others) < len(places):
        raise UsageError(f"{', '.join(others)}: give run directories or config files, not both")
    for_training = [f"--{key}={text}" for key, text in given.items() if key in settings(TrainConfig)]
    trains = for_training or config.arms or config.depths or config.lrs or config.ray
    if others and trains:
        raise UsageError("settings, --arms, --depths, --lrs and --ray need a config file to train")
    return config, places, for_training


def title_of(folders: list[Path]) -> str:
    return f"{len(folders)} runs of {folders[0].parent}" if len(folders) > 1 else str(folders[0])


@contextlib.contextmanager
def served(config: CompareConfig, folders: list[Path]):
    """While inside, the page of these runs is shown live, if --serve asks for it; runs may begin later."""
    if not config.serve:
        yield None
        return

    def begun() -> list[Path]:
        return [folder for folder in folders if (folder / "config.json").exists()]

    def changed() -> list:
        files = [folder / name for folder in begun() for name in LIVE_FILES]
        return [(str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files if f.exists()]

    from reslab.report.pagedata import page_data
    from reslab.report.serve import PageServer

    title = title_of(folders)
    server = PageServer(config.port, lambda: page_data([read_run(f) for f in begun()], title), changed)
    print(f"live: {server.url} (Ctrl-C ends it)", flush=True)
    try:
        yield server
    finally:
        server.close()


def main(words: list[str]) -> int:
    config, places, for_training = read_arguments(words)
    from reslab.report import pictures, trackers
    from reslab.training import grid

    if config.png and (lack := pictures.missing()):
        raise UsageError(f"--png: {lack}")
    trains = places[0].endswith(".py")
    cells = grid.plan(config, places, for_training) if trains else []
    folders = [folder for folder, _ in cells] or [Path(place) for place in places]
    if not trains:
        for folder in folders:
            read_run(folder)  # a wrong path is told at once
    with served(config, folders) as server:
        if code := grid.train_cells(config, cells):
            return code
        report(config, folders)
        if trains:
            trackers.publish_page(config.page, read_run(folders[0]).config.get("log", ""), folders[0].parent)
        if server:
            with contextlib.suppress(KeyboardInterrupt):
                server.wait()
    return 0


def report(config: CompareConfig, folders: list[Path]) -> None:
    """Print the table of some runs; write their page, and what else was asked for."""
    from reslab.report import pictures
    from reslab.report.html import write_page

    runs = [read_run(folder) for folder in folders]
    print("\n" + table([row(run) for run in runs]))
    if 1 < len(runs) <= 4:
        print("\n" + (table(differences(runs)) if differences(runs) else "No setting differs."))
    write_page(config.page, runs, title_of(folders))
    print(f"\npage: {config.page.resolve()}", flush=True)
    if config.png:
        print(f"pictures: {', '.join(map(str, pictures.write_pictures(config.page, config.png)))}")
    if config.json:
        write_atomically(config.json, results(runs, " ".join(sys.argv)))
        print(f"table: {config.json}")


if __name__ == "__main__":
    run_door(main)
