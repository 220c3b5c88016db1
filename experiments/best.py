"""Trains further seeds of each kind of stack of a study, at the best value of a setting.

    python -m experiments.best config/widths.py --setting=muon_lr --json experiments/widths/result.json

First the study of the config is trained, as compare.py trains it. Of stacks that differ in the setting alone,
the one whose training loss is lowest with the study's first seed is trained with the others. The result holds
the best alone, with all seeds, and the control. Runs that are there are kept, so the same command goes on.
"""

from pathlib import Path

from experiments.bisect import changed, command, families, parser, read_options, study, train
from reslab.report.records import results
from reslab.run.config import run_door
from reslab.run.files import write_atomically
from reslab.run.log import Run
from reslab.training.grid import Cell

SEEDS = (1, 2, 3)  # the first one chooses


def chosen(cells: list[Cell], runs: dict[Path, Run], setting: str) -> list[Cell]:
    """The best cell of each family, by its training loss with the first seed, and the same with the others.
    A run that diverged is never the best."""
    best = []
    for family in families([c for c in cells if c.config.seed == SEEDS[0]], setting).values():
        ended = [cell for cell in family.values() if runs[cell.folder].status == "finished"]
        if ended:
            first = min(ended, key=lambda cell: runs[cell.folder].last("train/loss"))
            best += [first, *(changed(first, "seed", seed) for seed in SEEDS[1:])]
    return best


def main(argv: list[str]) -> None:
    options = read_options(parser(__doc__), argv)
    cells = study(options, seed=SEEDS[0])
    runs = train(cells, options.jobs)
    best = chosen(cells, runs, options.setting)
    others = [runs[c.folder] for c in cells if options.setting not in c.values]
    kept = [*others, *train(best, options.jobs).values()]
    write_atomically(options.json, results(kept, command("best", options)))


if __name__ == "__main__":
    run_door(main)
