"""What layers are worth: blocks that learn alone, blocks taken out."""

from experiments.tables import BEST_RATE, Table, group_by, markdown, over_seeds, source, spread, starred

NAMES = {
    "pre": "with skips (`pre`)",
    "depth_mup": "with skips (`depth_mup`)",
    "keel": "with skips (`keel`)",
    "none, self": "without skips, init `self`",
    "none": "without skips, standard start",
}
SETS = (2, 4, 6, 8)  # blocks that are taken out together


def alone(result: dict) -> str:
    """Validation loss where all blocks learn, where none does, and what one that learns alone is worth."""
    cells, rows = group_by(result["runs"], "arm", "learns"), []
    blocks = sorted({run["learns"] for run in result["runs"]} - {"all", "no block"})
    for arm, name in ((arm, name) for arm, name in NAMES.items() if (arm, "all") in cells):
        none, whole = cells[arm, "no block"], cells[arm, "all"]
        gains = [_gain(cells[arm, k], none) for k in blocks]
        rows.append([name, _rate(result, whole), over_seeds(whole), over_seeds(none), *gains])
    head = ["", "block rate", "all blocks learn", "none learns", *(f"block {k} alone" for k in blocks)]
    return markdown(head, rows) + f"\n{BEST_RATE}\n" + source(result)


def _rate(result: dict, whole: list[dict]) -> str:
    rate, arm = whole[0]["muon_lr"], whole[0]["arm"]
    return starred(rate, {rate} | {run["muon_lr"] for run in result["tried"] if run["arm"] == arm})


def _gain(one: list[dict], none: list[dict]) -> str:
    """What a block changes the loss by, mean and range over the seeds: each beside its own."""
    of_seed = {run["seed"]: run["val/loss"] for run in none}
    pairs = [(run["val/loss"], of_seed[run["seed"]]) for run in one]
    gains = [loss - base for loss, base in pairs if None not in (loss, base)]
    return spread(gains, "+.3f") if len(gains) == len(pairs) else f"{len(pairs) - len(gains)} diverged"


def taken_out(result: dict) -> str:
    """What the loss rises by without each block, without random sets of them, and how many are needed."""
    rows = []
    whole = [run for run in result["runs"] if "block" in run]
    for (arm, layers), seeds in group_by(whole, "arm", "n_layer").items():
        singles = [rise for run in seeds for rise in run["block"]]
        sets = [spread([run["random"][k - 1] for run in seeds], "+.2f") for k in SETS]
        needed = ", ".join(f"{len(run['needed'])}" for run in seeds)
        rows.append(
            [NAMES[arm], f"{min(singles):+.3f} to {max(singles):+.3f}", *sets, f"{needed} of {layers}"]
        )
    head = ["without", "one block", *(f"{k} at random" for k in SETS), "blocks needed"]
    return markdown(head, rows) + source(result)


TABLES = {"worth_alone": Table(alone), "worth_taken_out": Table(taken_out)}
