"""One model on several ranks: what system/memory.py works out, and what was measured beside it."""

from experiments.tables import Table, markdown, origin


def memory() -> str:
    """The table of `python -m reslab.system.memory`."""
    from reslab.system.memory import SHAPES, table  # here, because it brings in torch

    return table(SHAPES, 8) + "\n"


def scale(result: dict) -> str:
    """Memory of each rank, worked out and measured."""
    rows = []
    for row in result["rows"]:
        expected = f"{row['state_MB']} state + {row['activations_MB']} activations = {row['expected_MB']} MB"
        measured = [f"{size} MB" for size in row["measured_MB"]]
        if copy := row.get("copy_of_rank_0_MB"):
            measured[0] += f", of which {copy} MB are its copy of the weights"
        rows.append([row["run"], expected, *measured, *[""] * (2 - len(measured))])
    return markdown(["", "worked out", "measured, rank 0", "measured, rank 1"], rows) + origin(result)


TABLES = {"memory": Table(memory, ()), "scale": Table(scale)}
