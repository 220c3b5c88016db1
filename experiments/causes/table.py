"""Two causes of collapse: the start, and training."""

from experiments.tables import Table, final_loss, group_by, markdown, origin

STARTS = {"wiring": "standard start", "orthogonal": "all matrices orthogonal", "self": "init `self`"}


def causes(result: dict) -> str:
    """How different tokens are behind the last layer, before training, early and at the end, and the loss."""
    unigram, rows = result["baselines_nats"]["unigram"]["val"], []
    for run in result["runs"]:
        rate = f"slow blocks ({run['block_lr']:g})" if run["block_lr"] else "one rate"
        diversity = [f"{probed['token_diversity']:.0e}" for probed in run["probed"]]
        below = f"{final_loss(run) - unigram:+.3f}"
        rows.append([f"{STARTS[run['init']]}, {rate}", *diversity, f"{final_loss(run):.3f}", below])
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
            *(f"{final_loss(cells[init, rate][0]):.3f}" for rate in columns),
            *(f"{final_loss(own[init, rate][0]):.3f}" for rate in own_columns),
        ]
        for init, name in STARTS.items()
    ]
    head = ["", *(f"one rate {rate:g}" for rate in columns), *(f"blocks {rate:g}" for rate in own_columns)]
    unigram = one_rate["baselines_nats"]["unigram"]["val"]
    note = f"\nValidation loss; the unigram baseline is {unigram:.3f}. Where blocks have a rate of their "
    note += "own, embeddings and head have 1e-2.\n"
    return markdown(head, rows) + note + origin(one_rate) + origin(slow)


TABLES = {"causes": Table(causes), "causes_rates": Table(rates, ("rates", "slow"))}
