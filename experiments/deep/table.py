"""48 layers, with and without skips, and at other learning rates."""

from experiments.tables import ARMS, Table, by_rate, markdown, origin, pair, with_rates

# The results, and the learning rate of all runs of one, which its rows don't repeat.
RATES = {"result": 1e-3, "silent": 1e-3, "rates": None, "best": 3e-3, "silent_rates": None}


def rates(*results: dict) -> str:
    """The validation loss over the one learning rate of all weights."""
    every = with_rates(RATES, results)
    runs = {(run["arm"], run["learning_rate"], run["seed"]): run for run in every}
    columns = [[run for run in runs.values() if run["arm"] == arm] for arm in ARMS]
    table = markdown(["learning rate", *ARMS.values()], by_rate(columns, "learning_rate"))
    unigram = results[0]["baselines_nats"]["unigram"]["val"]
    note = "\nValidation loss, mean and range of three seeds, or one; bold where an arm's training loss is "
    note += f"lowest. The unigram baseline is {unigram:.3f}.\n"
    return table + note + "".join(map(origin, results[2:]))


TABLES = {"deep": Table(pair, ("result", "silent")), "deep_rates": Table(rates, tuple(RATES))}
