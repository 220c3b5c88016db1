"""The stacks of a talk: how many layers a signal reaches, and the loss, over depth."""

from experiments.tables import ARMS, Table, final_loss, group_by, markdown, origin


def slide(result: dict) -> str:
    """Layers that a signal reaches at the end, and in brackets the validation loss."""
    cells = group_by(result["runs"], "residual", "n_layer")
    depths = sorted({run["n_layer"] for run in result["runs"]})
    rows = []
    for arm in ("pre", "none"):
        runs = [cells[arm, depth][0] for depth in depths]
        rows.append([ARMS[arm], *(f"{run['layers_that_learn']} ({final_loss(run):.2f})" for run in runs)])
    unigram = result["baselines_nats"]["unigram"]["val"]
    note = (
        f"\nLayers that a signal reaches, and the validation loss. The unigram baseline is {unigram:.2f}.\n"
    )
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


TABLES = {"slide": Table(slide)}
