"""Three widths: stacks with and without skips, the weight of the skip, and a thousand layers' recipe."""

from experiments.dose.table import predicted
from experiments.tables import ARMS, Table, edge, final_loss, group_by, markdown, of_grid, origin

NAMES = {  # grid -> the name of its row
    "skips": ARMS["pre"],
    "start": "without skips, init `self`",
    "plain": "without skips, standard start",
}


def widths(result: dict) -> str:
    """Training loss of each kind of stack at its best rate, and of the control."""
    columns, rows = _columns(result), []
    for grid, name in NAMES.items():
        runs = group_by(of_grid(result, grid), "n_layer", "n_embd")
        for layers in sorted({layers for layers, _ in runs}):
            trained = [[run for run in runs[layers, width] if run["train/loss"]] for width in columns]
            best = [min(group, key=lambda run: run["train/loss"]) for group in trained]
            cells = [f"{run['train/loss']:.3f} ({run['muon_lr']:g})" for run in best]
            rows.append([name, str(layers), *cells])
    silent = {run["n_embd"]: run for run in of_grid(result, "silent")}
    rows.append([ARMS["silent"], "", *(f"{silent[width]['train/loss']:.3f}" for width in columns)])
    note = f"\nTraining loss; the unigram baseline is {result['baselines_nats']['unigram']['train']:.3f}. In "
    note += "brackets the rate of the blocks, the best of three.\n"
    return markdown(["", "layers", *(f"{width} wide" for width in columns)], rows) + note + origin(result)


def widths_dose(result: dict) -> str:
    """Between which weights of the skip a stack begins to learn, beside the prediction."""
    columns, rows = _columns(result), []
    silent = {run["n_embd"]: final_loss(run) for run in of_grid(result, "silent")}
    runs = [run for run in result["runs"] if run["residual"] == "scaled"]
    for (layers,), members in sorted(group_by(runs, "n_layer").items()):
        cells = []
        for width in columns:
            losses = {run["residual_scale"]: run["val/loss"] for run in members if run["n_embd"] == width}
            cells.append(edge(losses, silent[width]))
        rows.append([str(layers), f"{predicted(layers):.2f}", *cells])
    return markdown(["layers", "predicted", *(f"{width} wide" for width in columns)], rows) + origin(result)


def widths_thousand(result: dict, silent: dict) -> str:
    """Validation loss by wiring and depth with the recipe of config/thousand.py."""
    columns, rows = _columns(result), []
    names = {"depth_mup": "with skips (`depth_mup`)", "none": ARMS["none"]}
    runs = group_by(result["runs"], "residual", "n_layer", "n_embd")
    for residual, name in names.items():
        for layers in sorted({run["n_layer"] for run in result["runs"]}):
            losses = [final_loss(runs[residual, layers, width][0]) for width in columns]
            rows.append([name, str(layers), *(f"{loss:.3f}" for loss in losses)])
    control = group_by(silent["runs"], "n_embd")
    rows.append([ARMS["silent"], "", *(f"{final_loss(control[(width,)][0]):.3f}" for width in columns)])
    head = ["", "layers", *(f"{width} wide" for width in columns)]
    return markdown(head, rows) + origin(result)


def _columns(result: dict) -> list[int]:
    return sorted({run["n_embd"] for run in result["runs"]})


TABLES = {
    "widths": Table(widths),
    "widths_dose": Table(widths_dose),
    "widths_thousand": Table(widths_thousand, ("thousand", "thousand_silent")),
    "shakespeare_widths": Table(widths, ("shakespeare",)),
    "shakespeare_dose": Table(widths_dose, ("shakespeare",)),
    "shakespeare_thousand": Table(widths_thousand, ("shakespeare_thousand", "shakespeare_thousand_silent")),
}
