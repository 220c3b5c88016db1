"""The weight of the skip at which a stack begins to learn, beside the prediction."""

import math

from experiments.tables import Table, edge, group_by, markdown, mean_of, of_grid, origin

FLOOR = 0.01  # what is left of the difference between tokens, lambda^L, when it is too little


def predicted(layers: float) -> float:
    """The weight lambda at which lambda^L comes down to the floor."""
    return math.exp(math.log(FLOOR) / layers)


def dose(result: dict) -> str:
    """By depth: the predicted weight, between which weights a stack begins to learn, and the losses."""
    silent, rows = mean_of(of_grid(result, "silent")), []
    runs = group_by([run for grid in ("dose", "deep") for run in of_grid(result, grid)], "n_layer")
    for (layers,), members in sorted(runs.items()):
        losses = {run["residual_scale"]: run["val/loss"] for run in members}
        curve = ", ".join(f"{weight:g}: {_less(losses[weight], silent)}" for weight in sorted(losses))
        rows.append([str(layers), f"{predicted(layers):.2f}", edge(losses, silent), curve])
    head = ["layers", "predicted", "begins to learn between", "lambda: val loss less that of `silent`"]
    return markdown(head, rows) + origin(result)


def rates(result: dict) -> str:
    """The same edges at other rates of the blocks."""
    silent, rows = mean_of(of_grid(result, "silent")), []
    runs = [run for grid in ("dose", "rates") for run in of_grid(result, grid)]
    for (layers, rate), members in sorted(group_by(runs, "n_layer", "muon_lr").items()):
        if layers in {run["n_layer"] for run in of_grid(result, "rates")}:
            losses = {run["residual_scale"]: run["val/loss"] for run in members}
            rows.append([str(layers), f"{rate:g}", edge(losses, silent)])
    return markdown(["layers", "rate of the blocks", "begins to learn between"], rows) + origin(result)


def _less(loss: float | None, silent: float) -> str:
    return "diverged" if loss is None else f"{loss - silent:+.2f}"


TABLES = {"dose": Table(dose, ("edges",)), "dose_rates": Table(rates, ("edges",))}
