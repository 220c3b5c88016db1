"""The control at rates of its own, and what twelve layers add to it at each of them."""

from experiments.tables import (
    Table,
    best_rate,
    final_loss,
    group_by,
    markdown,
    mean,
    mean_of,
    origin,
    over_seeds,
)

NAMES = {"none": "repaired (`none`, init `self`)", "pre": "with skips (`pre`)", "rezero": "`rezero`"}


def over_rates(silent: list[dict], runs: list[dict], setting: str) -> str:
    """Validation loss over the rate of embeddings and head, of `silent` and of each wiring, whose blocks have
    the best of their rates in each cell; and each at its lowest.

    Args:
        setting: the rate of the blocks, muon_lr or block_lr.
    """
    control = {rate: group for (rate,), group in group_by(silent, "learning_rate").items()}
    arms = group_by(runs, "residual", "learning_rate")
    wirings = sorted({name for name, _ in arms}, key=list(NAMES).index)
    least = dict.fromkeys(["silent", *wirings], float("inf"))
    rows = []
    for rate in sorted(control):
        row = [f"{rate:g}", over_seeds(control[rate])]
        least["silent"] = min(least["silent"], mean_of(control[rate]))
        for name in wirings:
            if (name, rate) not in arms:
                row += ["", ""]
                continue
            block_rate, chosen = best_rate(arms[name, rate], setting)
            loss = mean(list(map(final_loss, chosen)))
            least[name] = min(least[name], loss)
            row += [f"{over_seeds(chosen)}, {block_rate:g}", f"{loss - mean_of(control[rate]):+.3f}"]
        rows.append(row)
    lowest = [f"{least['silent']:.3f}"]
    for name in wirings:
        lowest += [f"{least[name]:.3f}", f"{least[name] - least['silent']:+.3f}"]
    head = ["rate of embeddings and head", "no blocks (`silent`)"]
    for name in wirings:
        head += [f"{NAMES[name]}, block rate", "minus `silent`"]
    return markdown(head, [*rows, ["each at its lowest", *lowest]])


def control(result: dict) -> str:
    """With Muon, 32 wide."""
    groups = group_by(result["runs"], "residual")
    blocks = groups["pre",] + groups["none",]
    return over_rates(groups["silent",], blocks, "muon_lr") + origin(result)


def control_adamw(silent: dict, blocks: dict) -> str:
    """With AdamW, 64 wide, by the recipe of the league of wirings."""
    return over_rates(silent["runs"], blocks["runs"], "block_lr") + origin(silent) + origin(blocks)


TABLES = {
    "control": Table(control),
    "control_adamw": Table(control_adamw, ("adamw_silent", "adamw")),
}
