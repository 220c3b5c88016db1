"""A plain stack repaired: what a start and each kind of skip are worth, and at which rates."""

from experiments.tables import (
    Table,
    best_rate,
    final_loss,
    markdown,
    mean,
    mean_and_range,
    of_grid,
    origin,
    over_seeds,
)

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
    """The arms over the learning rate of their blocks: Muon, then AdamW."""
    rows = []
    for optimizer, rate, name in (("muon", "muon_lr", "Muon"), ("adamw", "block_lr", "AdamW")):
        arms = {arm: [] for arm in ROWS if arm != "silent"}
        for arm in arms:
            for grid in (arm, f"{arm}-rates", f"{arm}-adamw"):
                arms[arm] += [run for run in of_grid(result, grid) if run["optimizer"] == optimizer]
        rows += by_rate(list(arms.values()), rate, name)
    head = ["rate of the blocks", *(ROWS[arm] for arm in arms)]
    return markdown(head, rows) + control(result) + origin(result)


def rescue_one_skip(attention: dict, mlp: dict, result: dict) -> str:
    """One of the two skips with init self, over the rate of the blocks."""
    rows = by_rate([attention["runs"], mlp["runs"]], "muon_lr", "Muon")
    head = ["init `self`, rate of the blocks", ROWS["attention-skip-only"], ROWS["mlp-skip-only"]]
    return markdown(head, rows) + control(result) + origin(attention) + origin(mlp)


def control(result: dict) -> str:
    """The line under a table that says where no blocks end."""
    unigram = result["baselines_nats"]["unigram"]["val"]
    silent = over_seeds(of_grid(result, "silent"))
    return f"\n`silent`, without blocks, has {silent}; the unigram baseline is {unigram:.3f}.\n"


def by_rate(columns: list[list[dict]], rate: str, name: str) -> list[list[str]]:
    """A row for each value of a rate: the losses of each column's runs there, bold at the rate of its lowest
    training loss."""
    best = [best_rate(runs, rate)[0] if runs else None for runs in columns]
    rows = []
    for value in sorted({run[rate] for runs in columns for run in runs}):
        cells = [over_seeds([run for run in runs if run[rate] == value]) for runs in columns]
        marks = ["**" if value == at else "" for at in best]
        rows.append([f"{name} {value:g}", *(f"{m}{cell}{m}" for m, cell in zip(marks, cells, strict=True))])
    return rows


TABLES = {
    "rescue": Table(rescue),
    "rescue_one_skip": Table(rescue_one_skip, ("attention_self", "mlp_self", "result")),
    "rescue_rates": Table(rescue_rates),
    "rescue_shakespeare": Table(rescue, ("shakespeare",)),
}
