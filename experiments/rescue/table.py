"""A plain stack repaired: what a start and each kind of skip are worth, and at which rates."""

from experiments.tables import (
    BEST_RATE,
    Table,
    at_best_rate,
    by_rate,
    control_line,
    final_loss,
    markdown,
    mean,
    mean_and_range,
    of_grid,
    origin,
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
    """12 layers and Muon: each arm at the best rate of its blocks."""
    silent = mean([final_loss(run) for run in of_grid(result, "silent")])
    references = [result["baselines_nats"][name]["val"] for name in ("unigram", "bigram")] + [silent]
    rows = []
    for arm, name in ROWS.items():
        rate, losses = at_best_rate(with_muon(result, arm), "muon_lr")
        above = [f"{mean(losses) - value:+.3f}" for value in references]
        rows.append([name, "" if arm == "silent" else rate, *mean_and_range(losses), *above])
    head = ["12 layers", "block rate", "val loss, three seeds", "from, to"]
    head += ["minus unigram", "minus bigram", "minus `silent`"]
    return markdown(head, rows) + f"\n{BEST_RATE}\n" + origin(result)


def with_muon(result: dict, arm: str) -> list[dict]:
    """The runs of an arm at all rates of Muon; its grid at the config's own rate is named as the arm is."""
    return [run for end in ("", "-rates", "-slower") for run in of_grid(result, f"{arm}{end}")]


def rescue_rates(result: dict) -> str:
    """The arms over the learning rate of their blocks: Muon, then AdamW."""
    arms = [arm for arm in ROWS if arm != "silent"]
    rows = by_rate([with_muon(result, arm) for arm in arms], "muon_lr", "Muon")
    rows += by_rate([of_grid(result, f"{arm}-adamw") for arm in arms], "block_lr", "AdamW")
    head = ["rate of the blocks", *(ROWS[arm] for arm in arms)]
    return markdown(head, rows) + control_line(result, of_grid(result, "silent")) + origin(result)


def rescue_one_skip(attention: dict, mlp: dict, result: dict) -> str:
    """One of the two skips with init self, over the rate of the blocks."""
    rows = by_rate([attention["runs"], mlp["runs"]], "muon_lr", "Muon")
    head = ["init `self`, rate of the blocks", ROWS["attention-skip-only"], ROWS["mlp-skip-only"]]
    control = control_line(result, of_grid(result, "silent"))
    return markdown(head, rows) + control + origin(attention) + origin(mlp)


TABLES = {
    "rescue": Table(rescue),
    "rescue_one_skip": Table(rescue_one_skip, ("attention_self", "mlp_self", "result")),
    "rescue_rates": Table(rescue_rates),
    "rescue_shakespeare": Table(rescue, ("shakespeare",)),
}
