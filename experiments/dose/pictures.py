"""The weight of the skip at which a stack begins to learn, over depth: predicted and measured."""

import math

from experiments.dose.table import FLOOR, curves, main_rate, predicted
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, path, rect, text
from experiments.tables import edges, mean_of, of_grid

LAW = f"exp(−{-math.log(FLOOR):.1f} / L)"


def spans(result: dict) -> dict[tuple[int, float], list[tuple[float, float]]]:
    """(layers, rate) -> between which weights a stack begins to learn, or stops, with any seed."""
    silent = mean_of(of_grid(result, "silent"))
    return {
        key: [ends for losses in seeds.values() for ends in edges(losses, silent)]
        for key, seeds in curves(result).items()
    }


def words(found: list[tuple[float, float]]) -> str:
    """The range of all seeds."""
    lows, highs = zip(*found, strict=True) if found else ((), ())
    return f"{min(lows):g} to {max(highs):g}" if found else "nowhere"


def dose(theme: Theme, result: dict) -> str:
    """The prediction as a line, what was measured as bars: wide at the main rate, thin at others."""
    found, main = spans(result), main_rate(result)
    others = sorted({rate for _, rate in found} - {main})
    depths = sorted({layers for layers, _ in found})
    weights = [run["residual_scale"] for run in result["runs"] if run["residual"] == "scaled"]
    x, y = Axis(0.8 * depths[0], depths[-1], 70, WIDTH - 180, log=True), Axis(min(weights) - 0.1, 1, 330, 64)
    tenths = range(2 * math.ceil(5 * y.low), 11, 2)
    ticks = {n: f"{n}" for n in depths}, {n / 10: f"{n / 10:g}" for n in tenths}
    parts = [axes(theme, x, y, ticks, ("layers", "weight of the skip"))]
    steps = [x.low * (x.high / x.low) ** (k / 40) for k in range(41)]
    parts.append(path([(x(n), y(predicted(n))) for n in steps], theme.soft, 2))
    for (layers, rate), between in found.items():
        side = 0 if rate == main else 15 if rate > main else -15
        wide, colour = (16, theme.arms["pre"]) if rate == main else (6, theme.arms["other"])
        for low, high in between:
            left = round(x(layers) + side - wide / 2, 1)
            parts.append(rect(left, y(high), wide, y(low) - y(high), colour))
        if rate == main:
            height = y(min([low for low, _ in between], default=y.low))
            parts.append(text(x(layers) + 26, height + 9, words(between), colour, 14, weight=600))
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
    found, main = spans(result), main_rate(result)
    told = [
        f"{predicted(layers):.2f} and {words(between)} at {layers}"
        for (layers, rate), between in found.items()
        if rate == main
    ]
    beside = [
        f"{words(between)} at {layers} layers and rate {rate:g}"
        for (layers, rate), between in found.items()
        if rate != main
    ]
    return (
        f"The weight of the skip at which a stack begins to learn, over the number of layers: predicted by "
        f"{LAW} and measured, {'; '.join(told)} layers." + (f" Also {', '.join(beside)}." if beside else "")
    )


PICTURES = {"dose": Picture(dose, alt, ("edges",))}
