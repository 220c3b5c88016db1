"""The weight of the skip at which a stack begins to learn, beside the prediction."""

import math

from experiments.tables import Table, edge, group_by, markdown, mean_of, of_grid, origin

EDGES = "begins to learn between"
FLOOR = 0.01  # what is left of the difference between tokens, lambda^L, when it is too little


def predicted(layers: float) -> float:
    """The weight lambda at which lambda^L comes down to the floor."""
    return math.exp(math.log(FLOOR) / layers)


def curves(result: dict) -> dict[tuple[int, float], dict[int, dict[float, float | None]]]:
    """(layers, rate of the blocks) -> seed -> the losses by the weight of the skip."""
    found: dict[tuple[int, float], dict] = {}
    runs = [run for run in result["runs"] if run["residual"] == "scaled"]
    for (layers, rate, seed), members in sorted(group_by(runs, "n_layer", "muon_lr", "seed").items()):
        losses = {run["residual_scale"]: run["val/loss"] for run in members}
        found.setdefault((layers, rate), {})[seed] = losses
    return found


def main_rate(result: dict) -> float:
    """That of the grid over all depths."""
    return of_grid(result, "dose")[0]["muon_lr"]


def _edges(seeds: dict[int, dict], silent: float) -> str:
    """Between which weights a stack begins to learn, seed by seed."""
    return "; ".join(edge(losses, silent) for losses in seeds.values())


def dose(result: dict) -> str:
    """By depth: the predicted weight, between which weights a stack begins to learn, and the losses."""
    silent, rows = mean_of(of_grid(result, "silent")), []
    for (layers, rate), seeds in curves(result).items():
        if rate == main_rate(result):
            first = seeds[min(seeds)]
            curve = ", ".join(f"{weight:g}: {_less(first[weight], silent)}" for weight in sorted(first))
            rows.append([f"{layers}", f"{predicted(layers):.2f}", _edges(seeds, silent), curve])
    head = ["layers", "predicted", f"{EDGES}, seed by seed", "lambda: val loss less that of `silent`, seed 1"]
    return markdown(head, rows) + origin(result)


def rates(result: dict) -> str:
    """The same edges at other rates of the blocks."""
    silent, found = mean_of(of_grid(result, "silent")), curves(result)
    several = {layers for layers, rate in found if rate != main_rate(result)}
    rows = [
        [f"{layers}", f"{rate:g}", _edges(seeds, silent)]
        for (layers, rate), seeds in found.items()
        if layers in several
    ]
    return markdown(["layers", "rate of the blocks", f"{EDGES}, seed by seed"], rows) + origin(result)


def _less(loss: float | None, silent: float) -> str:
    return "diverged" if loss is None else f"{loss - silent:+.2f}"


TABLES = {"dose": Table(dose, ("edges",)), "dose_rates": Table(rates, ("edges",))}
