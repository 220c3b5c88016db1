"""Where five kinds of stacks learn, over depth and the rate of their blocks: maps, side by side."""

import math
from itertools import pairwise

from experiments.degradation.bound import WITHOUT_SKIP, bound
from experiments.degradation.table import RATES, of_arm
from experiments.depth import PLAIN, REPAIRED, SKIPS
from experiments.drawing import Axis, Theme, document, rect, text
from experiments.tables import edges, learned, mean_of, of_grid

PANELS = {
    "skips": SKIPS.name,
    "start": REPAIRED.name,
    "plain": PLAIN.name,
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
}
Losses = dict[float, float | None]  # rate -> loss less that of `silent`, None where the run diverged

# The same in light and dark: blue and orange are apart for those who see no red or no green as well.
BLUE, WHITE, ORANGE = (0, 114, 178), (255, 255, 255), (213, 94, 0)
BOUND = "#d81b9c"  # on blue, on white and on orange
ROW, WIDE, ACROSS = 26, 244, 278  # pixels: height of a row, width of a panel, from one panel to the next
HALF = math.sqrt(max(high / low for low, high in pairwise(RATES)))  # a cell is at most so far from its rate


def panels(result: dict) -> dict[str, dict[int, Losses]]:
    """Arm -> depth -> the losses over the rates."""
    silent, found = mean_of(of_grid(result, "silent")), {}
    for grid in PANELS:
        found[grid] = {
            layers: {r["muon_lr"]: None if r["val/loss"] is None else r["val/loss"] - silent for r in runs}
            for (layers,), runs in sorted(of_arm(result, grid).items())
        }
    return found


def colour(loss: float | None, limit: float) -> tuple[int, ...]:
    """White where a stack ends on `silent`, blue where it ends below, orange above and where it diverged."""
    share = 1.0 if loss is None else min(1.0, abs(loss) / limit)
    end = BLUE if learned(loss, 0.0) else ORANGE
    return tuple(round(a + share * (b - a)) for a, b in zip(WHITE, end, strict=True))


def css(parts: tuple[int, ...]) -> str:
    return "#" + "".join(f"{part:02x}" for part in parts)


def on(ground: tuple[int, ...]) -> str:
    """Black or white, whichever is easier to read on a colour (contrast of WCAG 2: at least 4.5)."""
    parts = [(v / 255 + 0.055) ** 2.4 / 1.055**2.4 if v > 10 else v / 255 / 12.92 for v in ground]
    luminance = sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))
    return "#000000" if luminance > 0.179 else "#ffffff"


def row(x: Axis, top: float, losses: Losses, limit: float) -> list[str]:
    """A depth: a cell around each rate, up to half-way to its neighbours, and its edges in black."""
    rates, parts = sorted(losses), []
    middles = [math.sqrt(low * high) for low, high in pairwise(rates)]
    for rate, low, high in zip(rates, [0.0, *middles], [*middles, math.inf], strict=True):
        left, right = round(x(max(low, rate / HALF))), round(x(min(high, rate * HALF)))
        ground = colour(losses[rate], limit)
        parts.append(rect(left, top, right - left, ROW - 1, css(ground)))
        if right - left >= 34:  # so wide are the figures
            words = "div." if losses[rate] is None else f"{losses[rate]:+.2f}".replace("-", "−")
            parts.append(text((left + right) / 2, top + 17, words, on(ground), 12, "middle"))
    for low, high in edges(losses, 0.0):
        parts.append(rect(round(x(low), 1), top, round(x(high) - x(low), 1), ROW - 1, "#000000"))
    return parts


def panel(theme: Theme, place: tuple[float, float], grid: str, rows: dict[int, Losses], limit: float) -> str:
    """A kind of stack: the rates from left to right, the depths downward, and the bound where it has one."""
    left, top = place
    x = Axis(RATES[0] / HALF, RATES[-1] * HALF, left, left + WIDE, log=True)
    parts = [text(left, top - 12, PANELS[grid], theme.ink, 15, weight=700)]
    for k, (layers, losses) in enumerate(rows.items()):
        parts.append(text(left - 7, top + ROW * k + 18, f"{layers}", theme.soft, 13, "end"))
        parts += row(x, top + ROW * k, losses, limit)
        parts += mark(x, top + ROW * k, bound(grid, layers))
    bottom = top + ROW * len(rows) + 15
    parts += [text(x(rate), bottom, f"{rate:g}", theme.soft, 12, "middle") for rate in RATES]
    return "\n".join(parts)


def mark(x: Axis, top: float, rate: float | None) -> list[str]:
    """The bound of a depth, where the map has it."""
    inside = rate and RATES[0] / HALF < rate < RATES[-1] * HALF
    return [rect(round(x(rate) - 1.5, 1), top + ROW - 8, 3, 8, BOUND)] if inside else []  # below the figures


def legend(theme: Theme, place: tuple[float, float], limit: float) -> str:
    left, top = place
    parts = [text(left, top - 12, "validation loss less that of silent", theme.ink)]
    x = Axis(-limit, limit, left, left + WIDE)
    steps = WIDE // 4
    for k in range(steps):
        parts.append(
            rect(left + 4 * k, top, 4, ROW - 1, css(colour(limit * (2 * k / (steps - 1) - 1), limit)))
        )
    for value, at in ((-limit, "start"), (0, "middle"), (limit, "end")):
        words = f"{value:+.2f}".replace("-", "−") if value else "0"
        parts.append(text(x(value), top + ROW + 15, words, theme.soft, 13, at))
    told = ("blue learns, orange does not", "downward: layers", "to the right: rate of the blocks")
    parts += [text(left, top + 72 + 22 * k, words, theme.ink, 14) for k, words in enumerate(told)]
    sides = (
        (0, 12, css(colour(-limit / 4, limit))),
        (12, 6, "#000000"),
        (18, 12, css(colour(limit / 4, limit))),
    )
    parts += [rect(left + start, top + 125, wide, ROW - 1, filled) for start, wide, filled in sides]
    parts.append(text(left + 40, top + 142, "the edge, found by bisection", theme.ink, 14))
    parts.append(rect(left + 14, top + 163, 3, 8, BOUND))
    parts.append(text(left + 40, top + 172, "the rate 1 / (a L)", theme.ink, 14))
    return "\n".join(parts)


def draw(theme: Theme, result: dict) -> str:
    """Three panels above, two and the legend below."""
    every = panels(result)
    lines = [losses for rows in every.values() for losses in rows.values()]
    limit = max(abs(loss or 0) for losses in lines for loss in losses.values())
    down = ROW * max(map(len, every.values())) + 72
    places = [(40 + ACROSS * (k % 3), 46 + down * (k // 3)) for k in range(6)]
    drawn = [panel(theme, place, *entry, limit) for place, entry in zip(places, every.items(), strict=False)]
    return document(theme, 2 * down, alt(result), *drawn, legend(theme, places[5], limit))


def where(losses: Losses) -> str:
    """At which rates a stack learns."""
    sides = [
        f"{'below' if learned(losses[low], 0.0) else 'above'} {low:g} to {high:g}"
        for low, high in edges(losses, 0.0)
    ]
    if not sides:
        return "at every rate" if all(learned(loss, 0.0) for loss in losses.values()) else "at no rate"
    return " and ".join(sides)


def marked(grid: str) -> str:
    return f"{bound(grid, 12):.2g} at 12 layers of {PANELS[grid]}"


def alt(result: dict) -> str:
    told, every = [], panels(result)
    least = min(rate for rows in every.values() for losses in rows.values() for rate in losses)
    slower = f" (some tried from {least:g} on, left of the map)" if least < RATES[0] else ""
    for grid, rows in every.items():
        known = [loss for losses in rows.values() for loss in losses.values() if loss is not None]
        at: dict[str, list[str]] = {}
        for layers, losses in rows.items():
            at.setdefault(where(losses), []).append(f"{layers}")
        each = ", ".join(f"{rates} ({', '.join(depths)})" for rates, depths in at.items())
        told.append(f"{PANELS[grid]} ({min(known):+.2f} to {max(known):+.2f}): {each}")
    return (
        f"Validation loss less that of silent, over the number of layers and rates of the blocks from "
        f"{RATES[0]:g} to {RATES[-1]:g}{slower}, and at which rates it is below 0 (at how many layers): "
        f"{'; '.join(told)}. Marked is the rate 1 / (a L): {'; '.join(map(marked, WITHOUT_SKIP))}."
    )
