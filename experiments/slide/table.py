"""The stacks of a talk: how many layers a signal reaches, and the loss, over depth."""

from experiments.tables import ARMS, Table, control_line, final_loss, group_by, markdown, origin, span, spread


def slide(result: dict, silent: dict) -> str:
    """Layers that a signal reaches at the end, from the least to the most of the seeds, and the validation
    loss."""
    cells = group_by(result["runs"], "residual", "n_layer")
    depths = sorted({run["n_layer"] for run in result["runs"]})
    rows = []
    for arm in ("pre", "none"):
        seeds = [cells[arm, depth] for depth in depths]
        reached = [span([run["layers_that_learn"] for run in runs], str) for runs in seeds]
        losses = [spread([final_loss(run) for run in runs], ".2f") for runs in seeds]
        rows.append([ARMS[arm], *(f"{a}; {b}" for a, b in zip(reached, losses, strict=True))])
    note = (
        "\nLayers that a signal reaches, from the least to the most of the seeds, and the validation loss, "
    )
    note += "its mean and range.\n" + control_line(result, silent["runs"])
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


TABLES = {"slide": Table(slide, ("result", "silent"))}
