"""Three widths: stacks with and without skips, the weight of the skip, and a thousand layers' recipe."""

from experiments.dose.table import predicted
from experiments.tables import ARMS, Table, edge, group_by, markdown, mean_of, of_grid, origin, over_seeds

NAMES = {  # grid -> the name of its row
    "skips": ARMS["pre"],
    "start": "without skips, init `self`",
    "plain": "without skips, standard start",
}
THOUSAND = {"depth_mup": "with skips (`depth_mup`)", "pre": ARMS["pre"], "none": ARMS["none"]}


def of_arm(result: dict, grid: str) -> list[dict]:
    """The runs of an arm, whichever grid holds its best rate."""
    return [run for name in (grid, f"{grid}-fast", f"{grid}-slow") for run in of_grid(result, name)]


def widths(result: dict) -> str:
    """Training loss of each kind of stack over seeds, at its best rate, and of the control."""
    columns, rows = _columns(result), []
    for grid, name in NAMES.items():
        runs = group_by(of_arm(result, grid), "n_layer", "n_embd")
        for layers in sorted({layers for layers, _ in runs}):
            seeds = [runs[layers, width] for width in columns]
            cells = [f"{over_seeds(group, 'train')}, {group[0]['muon_lr']:g}" for group in seeds]
            rows.append([name, str(layers), *cells])
    silent = group_by(of_grid(result, "silent"), "n_embd")
    rows.append([ARMS["silent"], "", *(over_seeds(silent[width,], "train") for width in columns)])
    note = f"\nTraining loss; the unigram baseline is {result['baselines_nats']['unigram']['train']:.3f}. "
    note += "Behind each the rate of the blocks: that of the lowest training loss with seed 1, of five "
    note += "(`self`: of seven).\n"
    return markdown(["", "layers", *(f"{width} wide" for width in columns)], rows) + note + origin(result)


def widths_dose(result: dict) -> str:
    """Between which weights of the skip a stack begins to learn, seed by seed, beside the prediction."""
    columns, rows = _columns(result), []
    silent = group_by(of_grid(result, "silent"), "n_embd")
    runs = [run for run in result["runs"] if run["residual"] == "scaled"]
    of_seed = group_by(runs, "n_layer", "n_embd", "seed")
    for layers in sorted({run["n_layer"] for run in runs}):
        cells = []
        for width in columns:
            seeds = [of_seed[key] for key in sorted(of_seed) if key[:2] == (layers, width)]
            losses = [{run["residual_scale"]: run["val/loss"] for run in members} for members in seeds]
            cells.append("; ".join(edge(each, mean_of(silent[width,])) for each in losses))
        rows.append([str(layers), f"{predicted(layers):.2f}", *cells])
    return markdown(["layers", "predicted", *(f"{width} wide" for width in columns)], rows) + origin(result)


def widths_thousand(result: dict, silent: dict) -> str:
    """Validation loss by wiring and depth over seeds, with the recipe of config/thousand.py."""
    columns, rows = _columns(result), []
    runs = group_by(result["runs"], "residual", "n_layer", "n_embd")
    for residual, name in THOUSAND.items():
        for layers in sorted({run["n_layer"] for run in result["runs"]}):
            seeds = [runs[residual, layers, width] for width in columns]
            rows.append([name, str(layers), *map(over_seeds, seeds)])
    control = group_by(silent["runs"], "n_embd")
    rows.append([ARMS["silent"], "", *(over_seeds(control[width,]) for width in columns)])
    head = ["", "layers", *(f"{width} wide" for width in columns)]
    return markdown(head, rows) + origin(result)


def widths_rates(*results: dict) -> str:
    """The same at other rates of the blocks, one seed: the columns of both corpora."""
    columns, rows = _columns(results[0]), []
    runs = [group_by(result["runs"], "residual", "n_layer", "muon_lr", "n_embd") for result in results]
    for residual, name in THOUSAND.items():
        for layers, rate in sorted({key[1:3] for key in runs[0] if key[0] == residual}):
            cells = [over_seeds(of[residual, layers, rate, width]) for of in runs for width in columns]
            rows.append([name, str(layers), f"{rate:g}", *cells])
    head = [f"{width} wide" for width in columns]
    head = ["", "layers", "rate", *head, *(f"Shakespeare, {words}" for words in head)]
    return markdown(head, rows) + "\nValidation loss.\n" + "".join(map(origin, results))


def _columns(result: dict) -> list[int]:
    return sorted({run["n_embd"] for run in result["runs"]})


TABLES = {
    "widths": Table(widths),
    "widths_dose": Table(widths_dose),
    "widths_rates": Table(widths_rates, ("thousand_rates", "shakespeare_thousand_rates")),
    "widths_thousand": Table(widths_thousand, ("thousand", "thousand_silent")),
    "shakespeare_widths": Table(widths, ("shakespeare",)),
    "shakespeare_dose": Table(widths_dose, ("shakespeare",)),
    "shakespeare_thousand": Table(widths_thousand, ("shakespeare_thousand", "shakespeare_thousand_silent")),
}
