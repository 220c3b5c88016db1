"""Token diversity over the first updates: what is lost by the start, and what by training."""

from experiments.causes.table import STARTS
from experiments.depth import Line, Seeds, at_ends, curves
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, power, ten_to
from experiments.laptop.both import probed
from reslab.run.log import Run

LAST = 50  # update; nothing crosses later
COLOURS = {"wiring": "none", "self": "other"}  # of a start


def line_of(run: Run) -> Line:
    rate, dash = ("slow blocks", "") if run.config["block_lr"] else ("one rate", "9 6")
    return Line(COLOURS[run.config["init"]], f"{STARTS[run.config['init']].replace('`', '')}, {rate}", dash)


def diversity(runs: list[Run]) -> dict[Line, Seeds]:
    """Token diversity behind the last layer, by line and update."""
    return {
        line_of(run): {
            step: [values[-1]] for step, values in probed(run, "token_diversity").items() if step <= LAST
        }
        for run in runs
    }


def causes(theme: Theme, runs: list[Run]) -> str:
    lines = diversity(runs)
    x, y = Axis(0, LAST, 66, WIDTH - 300), Axis(1e-8, 1, 330, 64, log=True)
    ticks = {n: f"{n}" for n in range(0, LAST + 1, 10)}, {10.0**n: ten_to(n) for n in range(-8, 1, 2)}
    parts = [axes(theme, x, y, ticks, ("updates", "token diversity behind the last layer"))]
    return document(theme, 385, alt(runs), *parts, *curves(theme, x, y, lines), *at_ends(theme, x, y, lines))


def alt(runs: list[Run]) -> str:
    told = []
    for line, looks in diversity(runs).items():
        told.append(f"{line.name}: " + ", ".join(f"{power(looks[n][0])} at {n}" for n in (0, 10, LAST)))
    layers = runs[0].config["n_layer"]
    return (
        f"Token diversity behind the last of {layers} layers without skips, over the updates. "
        f"{'; '.join(told).capitalize()}."
    )


PICTURES = {"causes": Picture(causes, alt, ("log",))}
