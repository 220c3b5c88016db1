"""What layers are worth: blocks that learn alone, blocks taken out."""

from experiments.tables import Table, group_by, markdown, source

NAMES = {
    "pre": "with skips (`pre`)",
    "depth_mup": "with skips (`depth_mup`)",
    "keel": "with skips (`keel`)",
    "none, self": "without skips, init `self`",
    "none": "without skips, standard start",
}


def alone(result: dict) -> str:
    """Validation loss where all blocks learn, where none does, and what one that learns alone is worth."""
    cells, rows = group_by(result["runs"], "arm", "learns"), []
    blocks = sorted({run["learns"] for run in result["runs"]} - {"all", "no block"})
    for arm, name in ((arm, name) for arm, name in NAMES.items() if (arm, "all") in cells):
        (every,), (none,) = cells[arm, "all"], cells[arm, "no block"]
        gains = [f"{cells[arm, k][0]['val/loss'] - none['val/loss']:+.3f}" for k in blocks]
        rows.append([name, f"{every['val/loss']:.3f}", f"{none['val/loss']:.3f}", *gains])
    head = ["", "all blocks learn", "none learns", *(f"block {k} alone" for k in blocks)]
    return markdown(head, rows) + source(result)


def taken_out(result: dict) -> str:
    """What the loss rises by without each block, without random sets of them, and how many are needed."""
    rows = []
    for run in (run for run in result["runs"] if run["learns"] == "all"):
        single = f"{min(run['block']):+.3f} to {max(run['block']):+.3f}"
        sets = [f"{run['random'][k - 1]:+.2f}" for k in (2, 4, 6, 8)]
        rows.append([NAMES[run["arm"]], single, *sets, f"{len(run['needed'])} of {run['n_layer']}"])
    head = ["without", "one block", *(f"{k} at random" for k in (2, 4, 6, 8)), "blocks needed"]
    return markdown(head, rows) + source(result)


TABLES = {"worth_alone": Table(alone), "worth_taken_out": Table(taken_out)}
