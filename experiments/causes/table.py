"""Two causes of collapse: the start, and training."""

from experiments.tables import (
    ARMS,
    Table,
    final_loss,
    group_by,
    markdown,
    mean,
    of_grid,
    origin,
    over_seeds,
    span,
)

LADDER = "../ladder/result"
OWN_RATE = 1e-2  # of embeddings and head where blocks have a rate of their own, and of one-rate rows
STARTS = {"wiring": "standard start", "orthogonal": "all matrices orthogonal", "self": "init `self`"}


def causes(result: dict, ladder: dict) -> str:
    """How different tokens are behind the last layer, before training, early and at the end, and the loss.

    Args:
        ladder: has the same recipe with skips, and without blocks.
    """
    unigram, rows = result["baselines_nats"]["unigram"]["val"], []
    for (init, block_lr), seeds in group_by(result["runs"], "init", "block_lr").items():
        rate = f"slow blocks ({block_lr:g})" if block_lr else "one rate"
        looks = zip(*([probed["token_diversity"] for probed in run["probed"]] for run in seeds), strict=True)
        below = f"{mean([final_loss(run) for run in seeds]) - unigram:+.3f}"
        spans = [span(look, "{:.0e}".format) for look in looks]
        rows.append([f"{STARTS[init]}, {rate}", *spans, over_seeds(seeds), below])
    steps = [f"diversity, step {probed['step']}" for probed in result["runs"][0]["probed"]]
    skips, slow_skips, silent = controls(ladder)
    (slow,) = {run["block_lr"] for run in result["runs"]} - {0.0}
    note = (
        f"\nThe same recipe in `ladder`: with skips (`pre`) {over_seeds(skips[OWN_RATE,])}, with slow blocks "
    )
    note += f"{over_seeds(slow_skips[slow,])}; without blocks (`silent`) {over_seeds(silent[OWN_RATE,])}.\n"
    return markdown(["", *steps, "val loss", "minus unigram"], rows) + note + origin(result)


def controls(ladder: dict) -> tuple[dict, dict, dict]:
    """With skips by the one rate and by that of slow blocks, and without blocks, by their rate."""
    grids = (("skips-adamw", "learning_rate"), ("skips-adamw-slow", "block_lr"), ("silent", "learning_rate"))
    return tuple(group_by(of_grid(ladder, grid), rate) for grid, rate in grids)


def rates(one_rate: dict, slow: dict, ladder: dict) -> str:
    """Validation loss by start and rate: one rate for embeddings and blocks, and blocks with their own; the
    stacks with skips and without blocks are the ladder's."""
    cells = group_by(one_rate["runs"], "init", "learning_rate")
    own = group_by(slow["runs"], "init", "block_lr")
    columns, own_columns = (sorted({key[1] for key in found}) for found in (cells, own))
    rows = [
        [
            name,
            *(over_seeds(cells[init, rate]) for rate in columns),
            *(over_seeds(own[init, rate]) for rate in own_columns),
        ]
        for init, name in STARTS.items()
    ]
    skips, slow_skips, silent = controls(ladder)
    rows.append(
        [
            f"{ARMS['pre']}, in `ladder`",
            *(over_seeds(skips[rate,]) for rate in columns),
            *(over_seeds(slow_skips[rate,]) for rate in own_columns),
        ]
    )
    of_embeddings = [*columns, *(OWN_RATE for _ in own_columns)]
    rows.append([f"{ARMS['silent']}, in `ladder`", *(over_seeds(silent[rate,]) for rate in of_embeddings)])
    head = ["", *(f"one rate {rate:g}" for rate in columns), *(f"blocks {rate:g}" for rate in own_columns)]
    unigram = one_rate["baselines_nats"]["unigram"]["val"]
    note = f"\nValidation loss; the unigram baseline is {unigram:.3f}. Where blocks have a rate of their "
    note += "own, embeddings and head have 1e-2.\n"
    return markdown(head, rows) + note + origin(one_rate) + origin(slow)


def diversity(result: dict, plain: dict, skips: dict) -> str:
    """How different tokens are behind the last layer at the end, by the one rate of all weights.

    Args:
        result: has the plain stacks at OWN_RATE.
        plain: at other rates.
        skips: the stacks with skips at all of them.
    """
    own = [run | {"learning_rate": OWN_RATE} for run in result["runs"] if not run["block_lr"]]
    cells = group_by(own + plain["runs"], "learning_rate", "init")
    cells |= {(rate, "skips"): runs for (rate,), runs in group_by(skips["runs"], "learning_rate").items()}
    rates = sorted({rate for rate, _ in cells})
    rows = [
        [name, *(span(_last_looks(cells[rate, arm]), "{:.0e}".format) for rate in rates)]
        for arm, name in (STARTS | {"skips": ARMS["pre"]}).items()
        if (OWN_RATE, arm) in cells
    ]
    head = ["diversity at the end", *(f"one rate {rate:g}" for rate in rates)]
    return markdown(head, rows) + origin(plain) + origin(skips)


def _last_looks(runs: list[dict]) -> list[float]:
    return [run["probed"][-1]["token_diversity"] for run in runs]


TABLES = {
    "causes": Table(causes, ("result", LADDER)),
    "causes_rates": Table(rates, ("rates", "slow", LADDER)),
    "causes_diversity": Table(diversity, ("result", "diversity", "skips")),
}
