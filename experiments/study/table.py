"""The usual recipe with one thing changed at a time: learning rates, depth, and everything else."""

import math
from statistics import median

from experiments.tables import (
    ARMS,
    Table,
    best_rate,
    final_loss,
    group_by,
    markdown,
    mean,
    mean_and_range,
    of_grid,
    origin,
    over_seeds,
    pair,
)

RATE, LAYERS = 3e-3, 12  # of the recipe
UNCHANGED = {"none": "nothing", "pre": "nothing, with skips (`pre`)", "silent": ARMS["silent"]}
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


def of_rates(result: dict) -> dict[tuple[str, int], dict[float, list[float]]]:
    """(wiring, layers), skips first -> learning rate -> the final validation losses of its seeds."""
    groups = group_by(of_grid(result, "lr") + of_grid(result, "silent"), "residual", "n_layer")
    curves = {}
    for arm, layers in sorted(groups, key=lambda key: (list(ARMS).index(key[0]), key[1])):
        tried = sorted(group_by(groups[arm, layers], "learning_rate").items())
        curves[arm, layers] = {rate: [final_loss(run) for run in runs] for (rate,), runs in tried}
    return curves


def rates(result: dict) -> str:
    """Final validation loss over the learning rate by arm and depth, a mean of seeds; the lowest is bold."""
    groups, rows, apart = of_rates(result), [], []
    columns = sorted({rate for losses in groups.values() for rate in losses})
    for (arm, layers), losses in groups.items():
        curve = {rate: mean(seeds) for rate, seeds in losses.items()}
        best = min(curve.values())
        written = {rate: f"{loss:.2f}" if loss > best else f"**{loss:.2f}**" for rate, loss in curve.items()}
        cells = [written.get(rate, "") for rate in columns]
        depth = "no blocks" if arm == "silent" else f"{layers} layer{'s' * (layers > 1)}"
        rows.append([f"`{arm}`, {depth}", *cells])
        apart += [max(seeds) - min(seeds) for seeds in losses.values() if max(seeds) < math.inf]
    unigram, bigram = (result["baselines_nats"][name]["val"] for name in ("unigram", "bigram"))
    note = f"\nThe unigram baseline is {unigram:.3f}, the bigram baseline {bigram:.3f}. "
    note += f"The seeds of a cell are up to {max(apart):.2f} apart, and in half of the cells no more than "
    note += f"{median(apart):.2f}.\n"
    return markdown(["learning rate", *(f"{rate:g}" for rate in columns)], rows) + note + origin(result)


def seeds(result: dict) -> str:
    """Mean and range over the seeds of the deep stacks, at the best learning rate and its neighbours, and of
    no blocks at those rates."""
    rows, shown = [], set()
    for (arm, layers), losses in of_rates(result).items():
        if layers == LAYERS:
            tried = list(losses)
            best = tried.index(min(losses, key=lambda rate: mean(losses[rate])))
            near = tried[max(best - 1, 0) : best + 2]
            rows += [[f"`{arm}`", f"{rate:g}", *mean_and_range(losses[rate])] for rate in near]
            shown |= set(near)
        if arm == "silent":
            rows += [["`silent`", f"{rate:g}", *mean_and_range(losses[rate])] for rate in sorted(shown)]
    return markdown(["arm", "learning rate", "mean of the seeds", "from, to"], rows)


def best_rates(result: dict) -> dict[tuple[str, int], tuple[float, list[dict]]]:
    """(wiring, number of layers) -> the rate with the lowest training loss, and its runs."""
    runs = [run for grid in ("lr", "deep", "silent") for run in of_grid(result, grid)]
    groups = group_by(runs, "residual", "n_layer")
    return {key: best_rate(group, "learning_rate") for key, group in groups.items()}


def train_depth(result: dict) -> str:
    """Final training loss of each arm over depth, at the best of its learning rates."""
    best = best_rates(result)
    depths = sorted({layers for _, layers in best})
    rows = []
    for arm in ("pre", "none"):
        chosen = [best[arm, layers] for layers in depths]
        rows.append([ARMS[arm], *(f"{over_seeds(runs, 'train')}, {rate:g}" for rate, runs in chosen)])
    rate, runs = best["silent", 1]
    note = f"\n`silent`, the same at every depth: {over_seeds(runs, 'train')}, {rate:g}.\n"
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)


def sceptic(result: dict) -> str:
    """Every other change that was made to the recipe of the plain stack, below what has none of them."""
    bigram, unigram = (result["baselines_nats"][name]["val"] for name in ("bigram", "unigram"))
    usual = [run for run in of_grid(result, "lr") if run["n_layer"] == LAYERS] + of_grid(result, "silent")
    groups: dict[str, list[dict]] = {}
    for arm, name in UNCHANGED.items():
        groups[name] = [run for run in usual if (run["residual"], run["learning_rate"]) == (arm, RATE)]
    for grid, name in TRIED.items():
        for run in of_grid(result, grid):
            whole = grid in ("sgd", "muon") and run["residual"] == "pre"
            groups.setdefault(name.format(**run) + ", with skips (`pre`)" * whole, []).append(run)
    rows = []
    for name, runs in groups.items():
        loss = mean([final_loss(run) for run in runs])
        rows.append([name, over_seeds(runs), f"{loss - unigram:+.3f}", f"{loss - bigram:+.3f}"])
    return markdown(["changed", "val loss", "minus unigram", "minus bigram"], rows) + origin(result)


def llama(result: dict) -> str:
    """The arms and the control with the blocks of Llama, each at the best of its learning rates."""
    groups = group_by(of_grid(result, "llama"), "residual")
    best = {arm: best_rate(groups[arm,], "learning_rate") for arm in ARMS}
    told = ", ".join(f"`{arm}` {best[arm][0]:g}" for arm in ARMS)
    arms = result | {"runs": best["pre"][1] + best["none"][1]}
    return pair(arms, {"runs": best["silent"][1]}) + f"\nEach at the best of its learning rates: {told}.\n"


TABLES = {table.__name__: Table(table) for table in (rates, train_depth, seeds, sceptic, llama)}
