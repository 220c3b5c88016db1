"""Which part of the repair is needed: starts and rates of a plain stack, with two optimizers."""

from experiments.tables import ARMS, Table, at_best_rate, group_by, markdown, mean, of_grid, origin

STARTS = {
    ("plain", "wiring"): "without skips, standard start",
    ("plain", "orthogonal"): "without skips, all matrices orthogonal",
    ("plain", "shared_qk"): "without skips, W_Q = W_K = c times an orthogonal matrix, alone",
    ("plain", "self"): "without skips, both (init `self`)",
    ("skips", "wiring"): ARMS["pre"],
}
RECIPES = {  # the end of a grid's name -> the title of its column, and the rate that differs
    "adamw": ("AdamW, one rate", "learning_rate"),
    "adamw-slow": ("AdamW, slow blocks", "block_lr"),
    "muon": ("Muon, one rate", "learning_rate"),
    "muon-slow": ("Muon, slow blocks", "muon_lr"),
}


Best = tuple[str, list[float]]  # the best rate, and the validation losses there


def chosen(result: dict) -> dict[tuple[str, str], dict[str, Best]]:
    """Start -> the title of a recipe -> the best of its rates."""
    best: dict[tuple[str, str], dict[str, Best]] = {start: {} for start in STARTS}
    for arm, init in STARTS:
        for recipe, (title, setting) in RECIPES.items():
            grids = (f"{arm}-{recipe}", f"{arm}-{recipe}er")  # "slower": more rates, of one start
            runs = [run for grid in grids for run in of_grid(result, grid) if run["init"] == init]
            best[arm, init][title] = at_best_rate(runs, setting)
    return best


def control(result: dict) -> Best:
    """`silent`, which has one rate: that of embeddings and head."""
    return at_best_rate(of_grid(result, "silent"), "learning_rate")


def ladder(result: dict) -> str:
    """Validation loss of each start with each recipe, at the best of its rates."""
    rows = [
        [STARTS[start], *(_cell(*best) for best in cells.values())] for start, cells in chosen(result).items()
    ]
    seeds = group_by(of_grid(result, "silent"), "seed")
    note = f"\nValidation loss, mean of {len(seeds)} seeds, at the rate in brackets: that "
    note += "with the lowest training loss. A star says that it is the smallest or the largest of those "
    note += f"tried. `silent`, without blocks: {_cell(*control(result))}; the unigram baseline is "
    note += f"{result['baselines_nats']['unigram']['val']:.3f}.\n"
    return markdown(["12 layers", *(title for title, _ in RECIPES.values())], rows) + note + origin(result)


def _cell(rate: str, losses: list[float]) -> str:
    return f"{mean(losses):.3f} ({rate})"


TABLES = {"ladder": Table(ladder)}
