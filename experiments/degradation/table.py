"""The training loss over depth, and where a stack learns, over depth and the rate of its blocks."""

from itertools import combinations
from statistics import median

from experiments.degradation.bound import bound, deepest
from experiments.tables import (
    ARMS,
    Table,
    best_rate,
    edge,
    final_loss,
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
RATES = (5e-5, 1.5e-4, 5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2, 1.5e-1)  # of the grid; others are bisected
ONE = 5e-3  # that all have, for losses over depth at one rate


def of_arm(result: dict, grid: str) -> list[dict]:
    """The runs of an arm at every rate."""
    names = (grid, *(f"{grid}-{more}" for more in ("rates", "faster", "fastest", "slower")))
    return [run for name in names for run in of_grid(result, name)]


def at_one_rate(result: dict, grid: str) -> list[dict]:
    """The runs of an arm at the rate of all."""
    return [run for run in of_arm(result, grid) if run["muon_lr"] == ONE]


def with_every_seed(runs: list[dict]) -> list[dict]:
    """The runs of one stack at the rates that each of its seeds has: what is bisected is of some alone."""
    seeds = {run["seed"] for run in runs}
    rates = group_by(runs, "muon_lr").values()
    return [run for members in rates if {one["seed"] for one in members} == seeds for run in members]


def at_best_rates(result: dict, grid: str) -> dict[int, tuple[float, list[dict]]]:
    """Depth -> the best of the rates that each seed of an arm has there, and the runs at it."""
    stacks = sorted(group_by(of_arm(result, grid), "n_layer").items())
    return {layers: best_rate(with_every_seed(runs), "muon_lr") for (layers,), runs in stacks}


def degradation(result: dict) -> str:
    """Training loss of three arms at one rate, over seeds."""
    arms = {NAMES[grid]: at_one_rate(result, grid) for grid in ("skips", "start", "plain")}
    return over_depth(result, "train/loss", arms)


def best_rates(result: dict) -> str:
    """Training loss of every arm over seeds, each depth at the best of the rates that all seeds have."""
    rows, depths = [], sorted({run["n_layer"] for run in of_arm(result, "skips")})
    for grid, name in NAMES.items():
        best = at_best_rates(result, grid)
        cells = (best[layers] for layers in depths)
        rows.append([name, *(f"{over_seeds(runs, 'train')}, {rate:g}" for rate, runs in cells)])
    silent = mean_of(of_grid(result, "silent"), "train/loss")
    note = f"\n`silent`, the same at every depth: {silent:.3f}. Behind each the rate of the blocks: that of "
    note += "the lowest training loss, in the mean of the seeds.\n"
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


def over_silent(result: dict, grid: str) -> dict[int, list[dict]]:
    """The runs of an arm by depth, their validation losses less that of the control."""
    silent, runs = mean_of(of_grid(result, "silent")), of_arm(result, grid)
    runs = [run | {"val/loss": None if run["val/loss"] is None else run["val/loss"] - silent} for run in runs]
    return {layers: members for (layers,), members in sorted(group_by(runs, "n_layer").items())}


def by_seed(runs: list[dict]) -> list[dict[float, float | None]]:
    """For each seed, of one stack: rate -> validation loss."""
    return [
        {run["muon_lr"]: run["val/loss"] for run in of} for _, of in sorted(group_by(runs, "seed").items())
    ]


def trainability(result: dict) -> str:
    """Validation loss less that of the control, over depth and rate, and where the sign changes."""
    rows = []
    for grid, name in NAMES.items():
        for layers, runs in over_silent(result, grid).items():
            rates = group_by(runs, "muon_lr")
            cells = [over_seeds(rates[rate,], form="+.3f") if (rate,) in rates else "" for rate in RATES]
            found = [edge(losses, 0.0) for losses in by_seed(runs)]
            told = found[0] if len(set(found)) == 1 else "; ".join(found)
            rows.append([name, str(layers), *cells, told, predicted(grid, layers)])
    head = ["", "layers", *(f"{rate:g}" for rate in RATES), "begins or stops to learn between", "predicted"]
    note = "\nThe mean of the seeds, and their range. The edges of different seeds are parted by semicolons; "
    note += "one stands alone where all agree. `always` and `never`: at each or none of the rates tried. "
    note += "Predicted is the rate 1 / (a L), or whether the start tells tokens apart.\n"
    return markdown(head, rows) + note + origin(result)


def predicted(grid: str, layers: int) -> str:
    """Up to which rate a stack should learn, or at which rates."""
    if rate := bound(grid, layers):
        return f"{rate:.2g}"
    return "" if deepest(grid) is None else "not excluded" if layers <= deepest(grid) else "never"


def machines(result: dict, other: dict) -> str:
    """How far two runs end from each other that differ in their machine (and commit), and in their seed."""
    stack = ("n_layer", "residual", "init", "attn_residual", "mlp_residual", "muon_lr")
    here = {key: final_loss(run) for key, (run,) in group_by(result["runs"], *stack, "seed").items()}
    by_depth: dict[int, tuple[list[float], list[float]]] = {}
    for key, there in sorted(group_by(other["runs"], *stack).items()):
        machine, seed = by_depth.setdefault(key[0], ([], []))
        losses = [here[*key, run["seed"]] for run in there]
        machine += [abs(final_loss(run) - loss) for run, loss in zip(there, losses, strict=True)]
        seed += [abs(one - another) for one, another in combinations(losses, 2)]
    rows = [
        [str(layers), str(len(apart[0])), *(f"{median(d):.3f} (up to {max(d):.3f})" for d in apart)]
        for layers, apart in by_depth.items()
    ]
    head = ["layers", "runs", "the same seed on another machine", "another seed on the same machine"]
    note = "\nHow far the validation losses end from each other: the median, and the largest.\n"
    return markdown(head, rows) + note + origin(other)


TABLES = {
    "degradation": Table(degradation),
    "best_rates": Table(best_rates),
    "trainability": Table(trainability),
    "machines": Table(machines, ("result", "again")),
}
