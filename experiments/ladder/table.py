"""Which part of the repair is needed: starts and rates of a plain stack, with two optimizers."""

from experiments.tables import ARMS, Table, at_best_rate, group_by, markdown, mean, of_grid, origin

STARTS = {
    ("plain", "wiring"): "without skips, standard start",
    ("plain", "orthogonal"): "without skips, all matrices orthogonal",
    ("plain", "shared_qk"): "without skips, W_Q = W_K = c times an orthogonal matrix, alone",
    ("plain", "self"): "without skips, both (init `self`)",
    ("skips", "wiring"): ARMS["pre"],
}
RECIPES = {  # grid -> the title of its column, and the rate that differs
    "adamw": ("AdamW, one rate", "learning_rate"),
    "adamw-slow": ("AdamW, slow blocks", "block_lr"),
    "muon": ("Muon, one rate", "learning_rate"),
    "muon-slow": ("Muon, slow blocks", "muon_lr"),
}


def ladder(result: dict) -> str:
    """Validation loss of each start with each recipe, at the best of its rates."""
    rows = []
    for (arm, init), name in STARTS.items():
        grids = {recipe: of_grid(result, f"{arm}-{recipe}") for recipe in RECIPES}
        cells = [
            _cell([run for run in grids[recipe] if run["init"] == init], setting)
            for recipe, (_, setting) in RECIPES.items()
        ]
        rows.append([name, *cells])
    silent = of_grid(result, "silent")
    note = f"\nValidation loss, mean of {len(group_by(silent, 'seed'))} seeds, at the rate in brackets: that "
    note += "with the lowest training loss. A star says that it is the smallest or the largest of those "
    note += f"tried. `silent`, without blocks: {_cell(silent, 'learning_rate')}; the unigram baseline is "
    note += f"{result['baselines_nats']['unigram']['val']:.3f}.\n"
    return markdown(["12 layers", *(title for title, _ in RECIPES.values())], rows) + note + origin(result)


def _cell(runs: list[dict], setting: str) -> str:
    rate, losses = at_best_rate(runs, setting)
    return f"{mean(losses):.3f} ({rate})"


TABLES = {"ladder": Table(ladder)}
