"""48 layers, with and without skips, and at other learning rates."""

from experiments.tables import ARMS, Table, by_rate, markdown, origin, pair

RATES = ("result", "silent", "rates", "best", "silent_rates")


def rates(*results: dict) -> str:
    """The validation loss over the one learning rate of all weights."""
    runs = {(r["residual"], r["learning_rate"], r["seed"]): r for result in results for r in result["runs"]}
    columns = [[run for run in runs.values() if run["residual"] == arm] for arm in ARMS]
    table = markdown(["learning rate", *ARMS.values()], by_rate(columns, "learning_rate"))
    unigram = results[0]["baselines_nats"]["unigram"]["val"]
    note = f"\nBold at an arm's lowest training loss. The unigram baseline is {unigram:.3f}.\n"
    return table + note + "".join(map(origin, results[2:]))


TABLES = {"deep": Table(pair, ("result", "silent")), "deep_rates": Table(rates, RATES)}
