"""Two causes of collapse: the start, and training."""

from experiments.tables import Table, final_loss, group_by, markdown, mean, origin, over_seeds, span

STARTS = {"wiring": "standard start", "orthogonal": "all matrices orthogonal", "self": "init `self`"}


def causes(result: dict) -> str:
    """How different tokens are behind the last layer, before training, early and at the end, and the loss."""
    unigram, rows = result["baselines_nats"]["unigram"]["val"], []
    for (init, block_lr), seeds in group_by(result["runs"], "init", "block_lr").items():
        rate = f"slow blocks ({block_lr:g})" if block_lr else "one rate"
        looks = zip(*([probed["token_diversity"] for probed in run["probed"]] for run in seeds), strict=True)
        below = f"{mean([final_loss(run) for run in seeds]) - unigram:+.3f}"
        spans = [span(look, "{:.0e}".format) for look in looks]
        rows.append([f"{STARTS[init]}, {rate}", *spans, over_seeds(seeds), below])
    steps = [f"diversity, step {probed['step']}" for probed in result["runs"][0]["probed"]]
    return markdown(["", *steps, "val loss", "minus unigram"], rows) + origin(result)


def rates(one_rate: dict, slow: dict) -> str:
    """Validation loss by start and rate: one rate for embeddings and blocks, and blocks with their own."""
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
    head = ["", *(f"one rate {rate:g}" for rate in columns), *(f"blocks {rate:g}" for rate in own_columns)]
    unigram = one_rate["baselines_nats"]["unigram"]["val"]
    note = f"\nValidation loss; the unigram baseline is {unigram:.3f}. Where blocks have a rate of their "
    note += "own, embeddings and head have 1e-2.\n"
    return markdown(head, rows) + note + origin(one_rate) + origin(slow)


TABLES = {"causes": Table(causes), "causes_rates": Table(rates, ("rates", "slow"))}
