"""A plain stack repaired: what a start and each kind of skip are worth, and at which rates."""

from experiments.tables import Table, final_loss, group_by, markdown, mean, mean_and_range, of_grid, origin

ROWS = {  # grid -> the name of its row
    "plain": "without skips, standard start",
    "start": "without skips, init `self`",
    "skips": "with skips",
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
    "silent": "no blocks (`silent`)",
}


def rescue(result: dict) -> str:
    """12 layers and slow blocks: each arm over three seeds."""
    losses = {arm: [final_loss(run) for run in of_grid(result, arm)] for arm in ROWS}
    means = {arm: mean(values) for arm, values in losses.items()}
    references = [result["baselines_nats"][name]["val"] for name in ("unigram", "bigram")]
    references.append(means["silent"])
    rows = [
        [name, *mean_and_range(losses[arm]), *(f"{means[arm] - value:+.3f}" for value in references)]
        for arm, name in ROWS.items()
    ]
    head = ["12 layers", "val loss, three seeds", "from, to"]
    head += ["minus unigram", "minus bigram", "minus `silent`"]
    return markdown(head, rows) + origin(result)


def rescue_rates(result: dict) -> str:
    """The same arms over the learning rate of their blocks, one seed: Muon, then AdamW."""
    columns = sorted({("muon", r["muon_lr"]) for r in result["runs"] if r["optimizer"] == "muon"})
    columns += sorted({("adamw", r["block_lr"]) for r in result["runs"] if r["optimizer"] == "adamw"})
    rows = []
    for arm, name in ROWS.items():
        cells = {}
        grids = (arm, f"{arm}-rates", f"{arm}-adamw")
        for run in (run for grid in grids for run in of_grid(result, grid)):
            rate = run["muon_lr"] if run["optimizer"] == "muon" else run["block_lr"]
            if run["seed"] == 1:
                cells[run["optimizer"], rate] = f"{final_loss(run):.3f}"
        if arm != "silent":
            rows.append([name, *(cells.get(column, "") for column in columns)])
    titles = {"muon": "Muon", "adamw": "AdamW"}
    return markdown(["", *(f"{titles[optimizer]} {rate:g}" for optimizer, rate in columns)], rows)


def rescue_mlp(result: dict) -> str:
    """The MLP's skip alone with init self, over the rate of the blocks."""
    rows = []
    for (rate,), runs in sorted(group_by(result["runs"], "muon_lr").items()):
        losses = [final_loss(run) for run in runs]
        rows.append([f"{rate:g}", *mean_and_range(losses)])
    head = ["rate of the blocks", "val loss, three seeds", "from, to"]
    return markdown(head, rows) + origin(result)


TABLES = {
    "rescue": Table(rescue),
    "rescue_mlp": Table(rescue_mlp, ("mlp_self",)),
    "rescue_rates": Table(rescue_rates),
    "rescue_shakespeare": Table(rescue, ("shakespeare",)),
}
