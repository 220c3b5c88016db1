"""The weight of the skip at which a stack begins to learn, over depth: predicted and measured."""

import math

from experiments.dose.table import FLOOR, predicted
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, path, rect, text
from experiments.tables import edge, edges, group_by, mean_of, of_grid

GRIDS = ("dose", "deep", "rates")
LAW = f"exp(−{-math.log(FLOOR):.1f} / L)"


def measured(result: dict) -> dict[tuple[int, float], dict[float, float | None]]:
    """(layers, rate) -> the losses by the weight of the skip."""
    runs = [run for grid in GRIDS for run in of_grid(result, grid)]
    return {
        key: {run["residual_scale"]: run["val/loss"] for run in members}
        for key, members in group_by(runs, "n_layer", "muon_lr").items()
    }


def rates(result: dict) -> tuple[float, list[float]]:
    """The rate of the main grid, and the others."""
    main = of_grid(result, "dose")[0]["muon_lr"]
    return main, sorted({rate for _, rate in measured(result)} - {main})


def dose(theme: Theme, result: dict) -> str:
    """The prediction as a line, what was measured as bars: wide at the main rate, thin at others."""
    silent, curves = mean_of(of_grid(result, "silent")), measured(result)
    main, others = rates(result)
    depths = sorted({layers for layers, _ in curves})
    weights = [weight for losses in curves.values() for weight in losses]
    x, y = Axis(0.8 * depths[0], depths[-1], 70, WIDTH - 180, log=True), Axis(min(weights) - 0.1, 1, 330, 64)
    tenths = range(2 * math.ceil(5 * y.low), 11, 2)
    ticks = {n: f"{n}" for n in depths}, {n / 10: f"{n / 10:g}" for n in tenths}
    parts = [axes(theme, x, y, ticks, ("layers", "weight of the skip"))]
    between = [x.low * (x.high / x.low) ** (k / 40) for k in range(41)]
    parts.append(path([(x(n), y(predicted(n))) for n in between], theme.soft, 2))
    for (layers, rate), losses in curves.items():
        side = 0 if rate == main else 15 if rate > main else -15
        wide, colour = (16, theme.arms["pre"]) if rate == main else (6, theme.arms["other"])
        for low, high in edges(losses, silent):
            left = round(x(layers) + side - wide / 2, 1)
            parts.append(rect(left, y(high), wide, y(low) - y(high), colour))
        if rate == main:
            height = y(min([low for low, _ in edges(losses, silent)], default=y.low))
            parts.append(text(x(layers) + 26, height + 9, edge(losses, silent), colour, 14, weight=600))
            told = f"predicted {predicted(layers):.2f}"
            parts.append(text(x(layers) + 26, height + 26, told, theme.soft, 14))
    return document(theme, 385, alt(result), *parts, *legend(theme, main, others))


def legend(theme: Theme, main: float, others: list[float]) -> list[str]:
    left = 470
    parts = [path([(left - 12, 277), (left + 12, 277)], theme.soft, 2)]
    parts.append(text(left + 24, 282, f"predicted, {LAW}", theme.ink, 14))
    parts.append(rect(left - 8, 290, 16, 14, theme.arms["pre"]))
    parts.append(text(left + 24, 302, f"begins to learn between, rate {main:g}", theme.ink, 14))
    if others:
        sides = " and ".join(f"{rate:g} ({'right' if rate > main else 'left'})" for rate in others)
        parts.append(rect(left - 3, 310, 6, 14, theme.arms["other"]))
        parts.append(text(left + 24, 322, f"at rates {sides}", theme.ink, 14))
    return parts


def alt(result: dict) -> str:
    silent, curves = mean_of(of_grid(result, "silent")), measured(result)
    main, others = rates(result)
    told = [
        f"{predicted(layers):.2f} and {edge(losses, silent)} at {layers}"
        for (layers, rate), losses in sorted(curves.items())
        if rate == main
    ]
    beside = [
        f"{edge(losses, silent)} at {layers} layers and rate {rate:g}"
        for (layers, rate), losses in sorted(curves.items())
        if rate != main
    ]
    return (
        f"The weight of the skip at which a stack begins to learn, over the number of layers: predicted by "
        f"{LAW} and measured, {'; '.join(told)} layers." + (f" Also {', '.join(beside)}." if others else "")
    )


PICTURES = {"dose": Picture(dose, alt, ("edges",))}
