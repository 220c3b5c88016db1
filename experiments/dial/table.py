"""The dial: the gradient at layer 0 over the weight of the skip and the depth, after the last update."""

from experiments.tables import Table, group_by, markdown, source, span


def reach(result: dict) -> str:
    """The gradient at layer 0 over that at the head, after the last update; a row for each weight, and in a
    cell the seeds from the smallest to the largest."""
    cells = group_by(result["runs"], "residual_scale", "n_layer")
    weights, depths = (sorted({key[k] for key in cells}) for k in (0, 1))
    rows = [
        [f"{weight:g}", *(_ratios(cells[weight, depth]) for depth in depths)] for weight in reversed(weights)
    ]
    step, seeds = result["runs"][0]["probed"][-1]["step"], len({run["seed"] for run in result["runs"]})
    note = (
        f"\nThe gradient at layer 0 divided by that at the head, after {step} updates; the smallest and the "
    )
    note += f"largest of {seeds} seeds.\n"
    return markdown(["λ \\ layers", *map(str, depths)], rows) + note + source(result)


def _ratios(runs: list[dict]) -> str:
    gradients = [run["probed"][-1]["gradient"] for run in runs]
    ratios = [gradient[0] / gradient[-1] if gradient[0] else 0.0 for gradient in gradients]
    return span(ratios, lambda ratio: f"{ratio:.0e}" if ratio else "0")


TABLES = {"dial": Table(reach)}
