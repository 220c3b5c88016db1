"""The training loss over depth, and where a stack learns, over depth and the rate of its blocks."""

from experiments.tables import ARMS, Table, edge, group_by, markdown, mean_of, of_grid, origin, over_depth

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
    runs = [run for name in (grid, f"{grid}-rates", f"{grid}-slower") for run in of_grid(result, name)]
    return group_by([run for run in runs if run["seed"] == 1], "n_layer")


def best_rates(result: dict) -> str:
    """Training loss of every arm, each depth at its best rate of the grid and of the bisection."""
    rows, depths = [], sorted({run["n_layer"] for run in of_grid(result, "plain")})
    for grid, name in NAMES.items():
        runs = of_arm(result, grid)
        best = [
            min((r for r in runs[(n,)] if r["train/loss"]), key=lambda r: r["train/loss"]) for n in depths
        ]
        rows.append([name, *(f"{run['train/loss']:.3f} ({run['muon_lr']:g})" for run in best)])
    silent = mean_of(of_grid(result, "silent"), "train/loss")
    note = f"\n`silent`, the same at every depth: {silent:.3f}. In brackets the rate of the blocks.\n"
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


def trainability(result: dict) -> str:
    """Validation loss less that of the control, over depth and rate, and where the sign changes."""
    silent = mean_of(of_grid(result, "silent"))
    tried = {run["muon_lr"] for members in of_arm(result, "plain").values() for run in members}
    columns, rows = [rate for rate in RATES if rate in tried], []
    for grid, name in NAMES.items():
        for (layers,), runs in sorted(of_arm(result, grid).items()):
            losses = {run["muon_lr"]: run["val/loss"] for run in runs}
            cells = ["" if losses.get(r) is None else f"{losses[r] - silent:+.3f}" for r in columns]
            rows.append([name, str(layers), *cells, edge(losses, silent)])
    head = ["", "layers", *(f"{rate:g}" for rate in columns), "begins or stops to learn between"]
    return markdown(head, rows) + origin(result)


TABLES = {
    "degradation": Table(degradation),
    "best_rates": Table(best_rates, ("edges",)),
    "trainability": Table(trainability, ("edges",)),
}
