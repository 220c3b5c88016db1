"""24 layers of Llama's blocks, with and without skips, and at other learning rates."""

from experiments.deep.table import RATES, rates
from experiments.tables import Table, pair

TABLES = {
    "deepllama": Table(pair, ("result", "silent")),
    "deepllama_rates": Table(rates, tuple(RATES)),
}
