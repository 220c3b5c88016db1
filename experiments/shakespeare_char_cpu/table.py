"""Tiny Shakespeare on a CPU: the fast recipe over three seeds, and as many updates as nanoGPT's."""

from experiments.tables import Table, markdown, origin


def char(fast: dict, longer: dict) -> str:
    """A row for each run, with the standard error over its evaluation sequences."""
    rows = [
        [f"{run['step']:,}", f"{run.get('seed', 1337)}", f"{run['val/loss']:.3f} ± {run['val/loss_se']:.3f}"]
        for run in (*fast["runs"], *longer["runs"])
    ]
    return markdown(["updates", "seed", "val loss"], rows) + origin(fast) + origin(longer)


TABLES = {"char": Table(char, ("result", "updates-2000"))}
