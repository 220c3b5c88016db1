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

ARMS = {"none": "repaired (`none`, init `self`)", "pre": "with skips (`pre`)"}


def control(result: dict) -> str:
    """Validation loss of `silent` and of 12 layers, over the rate of embeddings and head; the blocks have the
    best of their rates in each cell."""
    arms = {
        name: group_by(runs, "learning_rate")
        for (name,), runs in group_by(result["runs"], "residual").items()
    }
    rows, chosen = [], {}
    for rate in sorted(arms["silent"]):
        chosen[rate] = {"silent": arms["silent"][rate]}
        row = [f"{rate[0]:g}", over_seeds(chosen[rate]["silent"])]
        for name in ARMS:
            block_rate, runs = best_rate(arms[name][rate], "muon_lr")
            chosen[rate][name] = runs
            gain = mean(list(map(final_loss, runs))) - mean_of(chosen[rate]["silent"])
            row += [f"{over_seeds(runs)}, {block_rate:g}", f"{gain:+.3f}"]
        rows.append(row)
    least = {name: min(mean_of(runs[name]) for runs in chosen.values()) for name in ("silent", *ARMS)}
    best = [f"{least['silent']:.3f}"]
    for name in ARMS:
        best += [f"{least[name]:.3f}", f"{least[name] - least['silent']:+.3f}"]
    rows.append(["each at its lowest", *best])
    head = ["rate of embeddings and head", "no blocks (`silent`)"]
    head += [cell for name in ARMS.values() for cell in (f"{name}, block rate", "minus `silent`")]
    return markdown(head, rows) + origin(result)


TABLES = {"control": Table(control)}
