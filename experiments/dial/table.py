"""The dial: the gradient at layer 0 over the weight of the skip and the depth, after the last update."""

from experiments.tables import Table, markdown, source


def reach(result: dict) -> str:
    """The gradient at layer 0 over that at the head, after the last update; a row for each weight."""
    cells = {(run["residual_scale"], run["n_layer"]): run["probed"][-1] for run in result["runs"]}
    weights, depths = (sorted({key[k] for key in cells}) for k in (0, 1))
    rows = [
        [f"{weight:g}", *(_ratio(cells[weight, depth]["gradient"]) for depth in depths)]
        for weight in reversed(weights)
    ]
    step = result["runs"][0]["probed"][-1]["step"]
    note = f"\nThe gradient at layer 0 divided by that at the head, after {step} updates.\n"
    return markdown(["λ \\ layers", *map(str, depths)], rows) + note + source(result)


def _ratio(gradient: list[float]) -> str:
    return "0" if not gradient[0] else f"{gradient[0] / gradient[-1]:.0e}"


TABLES = {"dial": Table(reach)}
