"""Token diversity over the first updates: what is lost by the start, and what by training."""

import math

from experiments.causes.table import STARTS
from experiments.depth import Line, at_ends, curves
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, power, ten_to
from experiments.laptop.both import probed
from experiments.tables import mean, span
from reslab.run.log import Run

LAST = 50  # update; nothing crosses later
COLOURS = {"wiring": "none", "self": "other"}  # of a start


def line_of(run: Run) -> Line:
    rate, dash = ("slow blocks", "") if run.config["block_lr"] else ("one rate", "9 6")
    return Line(COLOURS[run.config["init"]], f"{STARTS[run.config['init']].replace('`', '')}, {rate}", dash)


def diversity(runs: list[Run]) -> dict[Line, list[dict[int, float]]]:
    """Token diversity behind the last layer by update, a curve for each seed of a line."""
    lines: dict[Line, list[dict[int, float]]] = {}
    for run in runs:
        looks = probed(run, "token_diversity").items()
        lines.setdefault(line_of(run), []).append({n: values[-1] for n, values in looks if n <= LAST})
    return lines


def causes(theme: Theme, runs: list[Run]) -> str:
    lines = diversity(runs)
    x, y = Axis(0, LAST, 66, WIDTH - 300), Axis(1e-8, 1, 330, 64, log=True)
    ticks = {n: f"{n}" for n in range(0, LAST + 1, 10)}, {10.0**n: ten_to(n) for n in range(-8, 1, 2)}
    parts = [axes(theme, x, y, ticks, ("updates", "token diversity behind the last layer"))]
    for line, seeds in lines.items():
        for seed in seeds:
            parts += curves(theme, x, y, {line: {n: [value] for n, value in seed.items()}})
    ends = {
        line: {LAST: [math.exp(mean([math.log(s[LAST]) for s in seeds]))]} for line, seeds in lines.items()
    }
    return document(theme, 385, alt(runs), *parts, *at_ends(theme, x, y, ends))


def alt(runs: list[Run]) -> str:
    told, most = [], 0
    for line, seeds in diversity(runs).items():
        looks = [f"{span([seed[n] for seed in seeds], power)} at {n}" for n in (0, 10, LAST)]
        told.append(f"{line.name}: {', '.join(looks)}")
        most = max(most, len(seeds))
    layers, each = runs[0].config["n_layer"], f", {most} seeds each" if most > 1 else ""
    return (
        f"Token diversity behind the last of {layers} layers without skips, over the updates{each}. "
        f"{'; '.join(told).capitalize()}."
    )


PICTURES = {"causes": Picture(causes, alt, ("log",))}
