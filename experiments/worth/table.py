"""What layers are worth: blocks that learn alone, blocks taken out."""

from experiments.tables import BEST_RATE, Table, group_by, markdown, mean, over_seeds, source, spread, starred

NAMES = {
    "pre": "with skips (`pre`)",
    "depth_mup": "with skips (`depth_mup`)",
    "keel": "with skips (`keel`)",
    "none, self": "without skips, init `self`",
    "none": "without skips, standard start",
    "silent": "no blocks (`silent`)",
}
SETS = (2, 4, 6, 8)  # blocks that are taken out together


def alone(result: dict) -> str:
    """Validation loss where all blocks learn, where none does, and what one that learns alone is worth."""
    cells, rows = group_by(result["runs"], "arm", "learns"), []
    blocks = sorted({run["learns"] for run in result["runs"]} - {"all", "no block"})
    first, last = blocks[0], blocks[-1]
    for arm, name in ((arm, name) for arm, name in NAMES.items() if (arm, "no block") in cells):
        none, whole = cells[arm, "no block"], cells[arm, "all"]
        ends = [_told(cells[arm, block], none) for block in (first, last)]
        means = [mean(gains(cells[arm, block], none)) for block in blocks]
        each = f"{min(means):+.3f} to {max(means):+.3f}"
        rows.append([name, _rate(result, whole), over_seeds(whole), over_seeds(none), *ends, each])
    head = ["", "block rate", "all blocks learn", "none learns"]
    head += [*(f"block {block} alone" for block in (first, last)), "each alone, its mean"]
    control = f"`silent`, the same without blocks, ends on {over_seeds(cells['silent', 'all'])}."
    return markdown(head, rows) + f"\n{control} {BEST_RATE}\n" + source(result)


def _rate(result: dict, whole: list[dict]) -> str:
    rate, arm = whole[0]["muon_lr"], whole[0]["arm"]
    return starred(rate, {rate} | {run["muon_lr"] for run in result["tried"] if run["arm"] == arm})


def gains(one: list[dict], none: list[dict]) -> list[float]:
    """What a block that learns alone changes the loss by, each seed beside its own; those that diverged have
    none."""
    of_seed = {run["seed"]: run["val/loss"] for run in none}
    pairs = [(run["val/loss"], of_seed[run["seed"]]) for run in one]
    return [loss - base for loss, base in pairs if None not in (loss, base)]


def _told(one: list[dict], none: list[dict]) -> str:
    """The same as mean and range over the seeds."""
    found = gains(one, none)
    return spread(found, "+.3f") if len(found) == len(one) else f"{len(one) - len(found)} diverged"


def taken_out(result: dict) -> str:
    """What the loss rises by without each block, without random sets of them, and how many are needed."""
    rows = []
    whole = [run for run in result["runs"] if "block" in run and run["arm"] != "silent"]
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
