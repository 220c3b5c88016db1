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


def rates(result: dict) -> str:
    """Validation loss where embeddings and blocks learn at one rate, by start and rate."""
    cells = group_by(result["runs"], "init", "learning_rate")
    columns = sorted({run["learning_rate"] for run in result["runs"]})
    rows = [
        [name, *(f"{final_loss(cells[init, rate][0]):.3f}" for rate in columns)]
        for init, name in STARTS.items()
    ]
    note = f"\nThe unigram baseline is {result['baselines_nats']['unigram']['val']:.3f}.\n"
    return markdown(["one rate for all", *(f"{rate:g}" for rate in columns)], rows) + note + origin(result)


TABLES = {"causes": Table(causes), "causes_rates": Table(rates, ("rates",))}
