"""The training loss over depth, and where a stack learns, over depth and the rate of its blocks."""

from experiments.degradation.bound import bound
from experiments.tables import (
    ARMS,
    Table,
    edge,
    group_by,
    markdown,
    mean_of,
    of_grid,
    origin,
    over_depth,
    over_seeds,
)

NAMES = {  # grid -> the name of its row
    "skips": ARMS["pre"],
    "start": "without skips, init `self`",
    "plain": "without skips, standard start",
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
}
RATES = (5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2)  # those of the grid; others are bisected


def degradation(result: dict) -> str:
    """Training loss of three arms at one rate, over seeds."""
    arms = {NAMES[grid]: of_grid(result, grid) for grid in ("skips", "start", "plain")}
    return over_depth(result, "train/loss", arms)


def of_arm(result: dict, grid: str) -> dict[tuple, list[dict]]:
    """The runs of an arm with the seed that has every rate, by depth."""
    return group_by([run for run in _every(result, grid) if run["seed"] == 1], "n_layer")


def _every(result: dict, grid: str) -> list[dict]:
    return [run for name in (grid, f"{grid}-rates", f"{grid}-slower") for run in of_grid(result, name)]


def further(result: dict, grid: str) -> dict[tuple[int, int], list[dict]]:
    """(depth, seed) -> the runs of an arm with further seeds, where they have an edge of their own."""
    depths = {run["n_layer"] for run in result["runs"]}
    again = [run for n in depths for run in of_grid(result, f"{grid}-again-{n}")]
    found = group_by([*of_grid(result, grid), *again], "n_layer", "seed")
    return {key: runs for key, runs in found.items() if key[1] != 1 and len(runs) > 1}


def best_rates(result: dict) -> str:
    """Training loss of every arm over seeds, each depth at the best rate of the grid and of the bisection."""
    rows, depths = [], sorted({run["n_layer"] for run in _every(result, "skips")})
    for grid, name in NAMES.items():
        seeds = group_by(_every(result, grid), "n_layer")
        cells = [f"{over_seeds(seeds[n,], 'train')}, {seeds[n,][0]['muon_lr']:g}" for n in depths]
        rows.append([name, *cells])
    silent = mean_of(of_grid(result, "silent"), "train/loss")
    note = f"\n`silent`, the same at every depth: {silent:.3f}. Behind each the rate of the blocks: that of "
    note += "the lowest training loss with seed 1.\n"
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


def trainability(result: dict) -> str:
    """Validation loss less that of the control, over depth and rate, and where the sign changes."""
    silent = mean_of(of_grid(result, "silent"))
    tried = {run["muon_lr"] for members in of_arm(result, "plain").values() for run in members}
    columns, rows = [rate for rate in RATES if rate in tried], []
    for grid, name in NAMES.items():
        others = sorted(further(result, grid).items())
        for (layers,), runs in sorted(of_arm(result, grid).items()):
            seeds = [runs, *(members for (n, _), members in others if n == layers)]
            first, *_ = each = [{run["muon_lr"]: run["val/loss"] for run in members} for members in seeds]
            cells = ["" if first.get(r) is None else f"{first[r] - silent:+.3f}" for r in columns]
            limit = bound(grid, layers)
            cells += ["; ".join(edge(losses, silent) for losses in each), f"{limit:.2g}" if limit else ""]
            rows.append([name, str(layers), *cells])
    head = ["", "layers", *(f"{rate:g}" for rate in columns), "begins or stops to learn between", "1 / (a L)"]
    note = "\nThe losses are of seed 1; where there are three edges, they are those of seeds 1, 2 and 3. "
    note += "`always` and `never`: at each or none of the rates tried; seeds 2 and 3 have few, around the "
    note += "edge of seed 1.\n"
    return markdown(head, rows) + (note if any("; " in row[-2] for row in rows) else "") + origin(result)


TABLES = {
    "degradation": Table(degradation),
    "best_rates": Table(best_rates, ("best",)),
    "trainability": Table(trainability, ("edges",)),
}
