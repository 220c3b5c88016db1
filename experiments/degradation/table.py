"""The training loss over depth."""

from functools import partial

from experiments.tables import ARMS, Table, over_depth

ROWS = {
    ("pre", "wiring"): ARMS["pre"],
    ("none", "self"): "without skips, init `self`",
    ("none", "wiring"): "without skips, standard start",
}
TABLES = {"degradation": Table(partial(over_depth, figure="train/loss", arms=ROWS))}
