"""All wirings at 12 layers: 300 updates at one learning rate, and for the slow ones 600."""

from experiments.tables import Table, final_loss, group_by, markdown, mean_and_range, origin


def wirings(result: dict) -> str:
    """A row for each wiring, the lowest mean of three seeds first; then the better of its longer runs."""
    bigram = result["baselines_nats"]["bigram"]["val"]
    short = [run for run in result["runs"] if run["run"].startswith("short-")]
    longer = group_by([run for run in result["runs"] if run["run"].startswith("long-")], "residual")
    rows = []
    for (name,), runs in group_by(short, "residual").items():
        losses = [final_loss(run) for run in runs]
        best = min(longer.get((name,), []), key=final_loss, default=None)
        after = f"{final_loss(best) - bigram:+.3f} (rate {best['learning_rate']:g})" if best else ""
        gap = f"{sum(losses) / len(losses) - bigram:+.3f}"
        rows.append([f"`{name}`", *mean_and_range(losses), gap, after])
    head = ["wiring", "val loss, three seeds", "from, to", "minus bigram", "minus bigram after 600 updates"]
    return markdown(head, sorted(rows, key=lambda cells: float(cells[1]))) + origin(result)


TABLES = {"wirings": Table(wirings)}
