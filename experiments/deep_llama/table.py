"""24 layers of Llama's blocks, with and without skips."""

from experiments.tables import Table, pair

TABLES = {"deepllama": Table(pair, ("result", "silent"))}
