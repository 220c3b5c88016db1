"""The usual recipe with one thing changed at a time: learning rates, depth, seeds, and everything else."""

from experiments.tables import ARMS, Table, final_loss, group_by, markdown, mean_and_range, origin, pair

RATE, LAYERS = 3e-3, 12  # of the recipe
UNCHANGED = {"none": "nothing", "pre": "nothing, with skips (`pre`)"}
TRIED = {  # grid -> the name of its rows
    "warmup": "half of the run is warmup",
    "ten-times": "ten times the updates",
    "sgd": "SGD, learning rate {learning_rate:g}",
    "muon": "Muon, learning rate {learning_rate:g}",
    "adam-eps": "Adam's eps 1e-16",
    "init": "{init} init",
    "norm-eps": "norm eps 1e-12",
    "fp64": "float64",
    "untied": "head not tied",
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
    "dose": "{residual_scale:g} x + F(N(x))",
    "control": "repaired, no skip: `identity_start`, learning rate {learning_rate:g}",
}


def of_grid(result: dict, *names: str) -> list[dict]:
    """The runs of some grids of config/study.py."""
    return [run for run in result["runs"] if run["run"].startswith(tuple(f"{name}-" for name in names))]


def skips_before(group: tuple) -> tuple:
    """Sorts (residual, number): with skips first, then by the number."""
    return group[0] != "pre", group[1]


def rates(result: dict) -> str:
    """Final validation loss over the learning rate, for each arm and depth; the lowest is bold."""
    groups = group_by(of_grid(result, "lr"), "residual", "n_layer")
    columns = sorted({run["learning_rate"] for runs in groups.values() for run in runs})
    rows = []
    for arm, layers in sorted(groups, key=skips_before):
        curve = {run["learning_rate"]: final_loss(run) for run in groups[arm, layers]}
        best = min(curve.values())
        cells = [f"{curve[r]:.2f}" if curve[r] > best else f"**{curve[r]:.2f}**" for r in columns]
        rows.append([f"`{arm}`, {layers} layer{'s' * (layers > 1)}", *cells])
    unigram, bigram = (result["baselines_nats"][name]["val"] for name in ("unigram", "bigram"))
    note = f"\nThe unigram baseline is {unigram:.3f}, the bigram baseline {bigram:.3f}.\n"
    return markdown(["learning rate", *(f"{rate:g}" for rate in columns)], rows) + note + origin(result)


def best_rates(result: dict) -> dict[tuple[str, int], dict]:
    """(wiring, number of layers) -> the run of the rate with the lowest training loss."""
    groups = group_by(of_grid(result, "lr", "deep"), "residual", "n_layer")
    return {key: min(runs, key=lambda run: run["train/loss"]) for key, runs in groups.items()}


def train_depth(result: dict) -> str:
    """Final training loss of each arm over depth, at the best of its learning rates."""
    best = best_rates(result)
    depths = sorted({layers for _, layers in best})
    rows = []
    for arm in ("pre", "none"):
        runs = [best[arm, layers] for layers in depths]
        rows.append([ARMS[arm], *(f"{run['train/loss']:.3f} ({run['learning_rate']:g})" for run in runs)])
    return markdown(["layers", *map(str, depths)], rows)


def seeds(result: dict) -> str:
    """Mean and range over three fresh seeds, around the best learning rate."""
    groups = group_by(of_grid(result, "seeds"), "residual", "learning_rate")
    rows = [
        [f"`{arm}`", f"{rate:g}", *mean_and_range([final_loss(run) for run in groups[arm, rate]])]
        for arm, rate in sorted(groups, key=skips_before)
    ]
    return markdown(["arm", "learning rate", "mean of three seeds", "from, to"], rows)


def sceptic(result: dict) -> str:
    """Every other change that was made to the recipe of the plain stack, below what has none of them."""
    bigram, unigram = (result["baselines_nats"][name]["val"] for name in ("bigram", "unigram"))
    usual = [run for run in of_grid(result, "lr") if (run["learning_rate"], run["n_layer"]) == (RATE, LAYERS)]
    named = [(UNCHANGED[run["residual"]], run) for run in sorted(usual, key=lambda run: run["residual"])]
    named += [(name.format(**run), run) for grid, name in TRIED.items() for run in of_grid(result, grid)]
    rows = [
        [name, f"{loss:.3f}", f"{loss - unigram:+.3f}", f"{loss - bigram:+.3f}"]
        for name, loss in ((name, final_loss(run)) for name, run in named)
    ]
    return markdown(["changed", "val loss", "minus unigram", "minus bigram"], rows)


TABLES = {
    "rates": Table(rates),
    "train_depth": Table(train_depth),
    "seeds": Table(seeds),
    "sceptic": Table(sceptic),
    "llama": Table(pair, ("llama", "llama-silent")),
}
