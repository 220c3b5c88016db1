"""How often stacks say rightly where arrows lead, over layers and hops."""

from experiments.tables import Table, best_rate, group_by, markdown, source, spread

NAMES = {
    ("pre", "wiring"): "with skips (`pre`)",
    ("none", "wiring"): "without skips, standard start",
    ("none", "self"): "without skips, init `self`",
    ("silent", "wiring"): "no blocks (`silent`)",
}


def title(hop: str) -> str:
    """What stands above the answers after some hops."""
    return f"{hop} hop{'s' * (hop != '1')}"


def khop(result: dict) -> str:
    """The share of right answers by arm, depth and hops, each at the rate of the lowest training loss."""
    cells = group_by(result["runs"], "residual", "init", "n_layer")
    hops = sorted({hop for run in result["runs"] for hop in run.get("accuracy", {})})
    rows = []
    for arm, name in NAMES.items():
        for depth in sorted(key[2] for key in cells if key[:2] == arm):
            rate, runs = chosen(cells[*arm, depth])
            shares = [[run["accuracy"][hop] for run in runs if "accuracy" in run] for hop in hops]
            rows.append([name, str(depth), f"{rate:g}", *map(_share, shares)])
    head = ["", "layers", "block rate", *map(title, hops)]
    return markdown(head, rows) + source(result)


def chosen(runs: list[dict]) -> tuple[float, list[dict]]:
    """The rate of the lowest training loss with the first seed, which has every rate, and all runs there."""
    first = min(run["seed"] for run in runs)
    rate, _ = best_rate([run for run in runs if run["seed"] == first], "muon_lr")
    return rate, [run for run in runs if run["muon_lr"] == rate]


def _share(values: list[float]) -> str:
    return spread(values, ".2f") if values else "diverged"


TABLES = {"khop": Table(khop)}
