"""48 layers, with and without skips."""

from experiments.tables import Table, pair

TABLES = {"deep": Table(pair, ("result", "silent"))}
