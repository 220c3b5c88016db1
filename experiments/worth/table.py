"""What layers are worth: blocks that learn alone, blocks taken out."""

from experiments.tables import Table, group_by, markdown, mean, over_seeds, source, spread

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
    shown = blocks[0], blocks[(len(blocks) - 1) // 2], blocks[-1]
    for arm, name in ((arm, name) for arm, name in NAMES.items() if (arm, "all") in cells):
        whole, none = cells[arm, "all"], cells[arm, "no block"]
        gains = {k: _gains(cells[arm, k], none) for k in blocks}
        ends = sorted((mean(gain), k) for k, gain in gains.items())
        most, least = (f"{gain:+.3f} (block {k})" for gain, k in (ends[0], ends[-1]))
        row = [name, _rate(result, arm, whole), over_seeds(whole), over_seeds(none)]
        rows.append([*row, *(spread(gains[k], "+.3f") for k in shown), most, least])
    head = ["", "block rate", "all blocks learn", "none learns", *(f"block {k} alone" for k in shown)]
    note = f"\nOf all {len(blocks)} blocks, each alone, the last columns have the two that gain the most and "
    note += (
        "least in the mean of the seeds. The rate is that of the lowest training loss with the first seed; a "
    )
    note += "star says that it is the smallest or the largest of those tried.\n"
    return markdown([*head, "the most", "the least"], rows) + note + source(result)


def _rate(result: dict, arm: str, runs: list[dict]) -> str:
    """The rate of some runs, with a star where it lies at an end of those that their arm had."""
    tried, rate = [one["muon_lr"] for one in result["tried"] if one["arm"] == arm], runs[0]["muon_lr"]
    return f"{rate:g}" + "*" * (rate in (min(tried), max(tried)))


def _gains(one: list[dict], none: list[dict]) -> list[float]:
    """What a block changes the loss by, beside the same seed."""
    of_seed = {run["seed"]: run["val/loss"] for run in none}
    return [run["val/loss"] - of_seed[run["seed"]] for run in one]


def taken_out(result: dict) -> str:
    """What the loss rises by without each block, without random sets of them, and how many are needed."""
    rows = []
    whole = [run for run in result["runs"] if run["learns"] == "all"]
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
