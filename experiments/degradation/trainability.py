"""Where five kinds of stacks learn, over depth and the rate of their blocks: maps, side by side."""

import math
from itertools import pairwise

from experiments.degradation.bound import UNIFORM, WITHOUT_SKIP, bound, deepest
from experiments.degradation.table import by_seed, over_silent
from experiments.depth import PLAIN, REPAIRED, SKIPS
from experiments.drawing import Axis, Theme, document, rect, text
from experiments.tables import edges, learned, mean

PANELS = {
    "skips": SKIPS.name,
    "start": REPAIRED.name,
    "plain": PLAIN.name,
    "attention-skip-only": "skips around attention only",
    "mlp-skip-only": "skips around the MLP only",
}
RATES = (5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2, 1.5e-1)  # those at which most stacks were tried
Losses = dict[float, float | None]  # rate -> loss less that of `silent`, None where the run diverged
Seeds = list[Losses]

# The same in light and dark: blue and orange are apart for those who see no red or no green as well.
BLUE, WHITE, ORANGE = (0, 114, 178), (255, 255, 255), (213, 94, 0)
BOUND = "#d81b9c"  # on blue, on white and on orange
ROW, WIDE, ACROSS = 32, 244, 278  # pixels: height of a row, width of a panel, from one panel to the next
STRIP = 12  # pixels at the foot of a row, below its figures: the edges and the bound
HALF = math.sqrt(max(high / low for low, high in pairwise(RATES)))  # a cell is at most so far from its rate


def panels(result: dict) -> dict[str, dict[int, Seeds]]:
    """Arm -> depth -> the losses over the rates, seed by seed, up to the largest of the map."""
    return {
        grid: {
            layers: by_seed([run for run in runs if run["muon_lr"] <= RATES[-1]])
            for layers, runs in over_silent(result, grid).items()
        }
        for grid in PANELS
    }


def means(seeds: Seeds) -> Losses:
    """Over the rates of the map the mean of the seeds; None where one of them diverged."""
    at = {rate: [losses[rate] for losses in seeds if rate in losses] for rate in RATES}
    return {rate: None if None in losses else mean(losses) for rate, losses in at.items() if losses}


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


def row(x: Axis, top: float, seeds: Seeds, limit: float) -> list[str]:
    """A depth: a cell around each rate, and in the strip below the edges of each seed in black."""
    parts = []
    for rate, loss in means(seeds).items():
        left, right = round(x(rate / HALF)), round(x(rate * HALF))
        ground = colour(loss, limit)
        parts.append(rect(left, top, right - left, ROW - 1, css(ground)))
        words = "div." if loss is None else f"{loss:+.2f}".replace("-", "−")
        parts.append(text((left + right) / 2, top + 15, words, on(ground), 11, "middle"))
    high = STRIP / len(seeds)
    for k, losses in enumerate(seeds):
        foot = top + ROW - 1 - STRIP + k * high
        for low, up in edges(losses, 0.0):
            parts.append(rect(round(x(low), 1), round(foot, 1), round(x(up) - x(low), 1), high, "#000000"))
    return parts


def panel(theme: Theme, place: tuple[float, float], grid: str, rows: dict[int, Seeds], limit: float) -> str:
    """A kind of stack: the rates from left to right, the depths downward, and the bound where it has one."""
    left, top = place
    x = Axis(RATES[0] / HALF, RATES[-1] * HALF, left, left + WIDE, log=True)
    parts = [text(left, top - 12, PANELS[grid], theme.ink, 15, weight=700)]
    for k, (layers, seeds) in enumerate(rows.items()):
        parts.append(text(left - 7, top + ROW * k + 15, f"{layers}", theme.soft, 13, "end"))
        parts += row(x, top + ROW * k, seeds, limit)
        parts += mark(x, top + ROW * k, bound(grid, layers))
    if shallow := [layers for layers in rows if layers <= (deepest(grid) or 0)]:
        parts.append(rect(left, top + ROW * len(shallow) - 2, WIDE, 3, BOUND))
    bottom = top + ROW * len(rows) + 15
    parts += [text(x(rate), bottom, f"{rate:g}", theme.soft, 10, "middle") for rate in RATES]
    return "\n".join(parts)


def mark(x: Axis, top: float, rate: float | None) -> list[str]:
    """The bound of a depth, where the map has it."""
    inside = rate and RATES[0] / HALF < rate < RATES[-1] * HALF
    return [rect(round(x(rate) - 1.5, 1), top + ROW - 1 - STRIP, 3, STRIP, BOUND)] if inside else []


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
    for k in range(2):
        side, foot = colour((k - 0.5) * limit / 2, limit), top + 125
        parts.append(rect(left + 15 * k, foot, 15, ROW - 1, css(side)))
    parts += [rect(left + 10 + 2 * k, top + 125 + ROW - 1 - STRIP + 4 * k, 6, 4, "#000000") for k in range(3)]
    parts.append(text(left + 40, top + 146, "edges of the seeds, bisected", theme.ink, 14))
    parts.append(rect(left + 14, top + 169, 3, STRIP, BOUND))
    parts.append(text(left + 40, top + 180, "the rate 1 / (a L)", theme.ink, 14))
    parts.append(rect(left, top + 196, 30, 3, BOUND))
    parts.append(text(left + 40, top + 202, "above: tokens differ at first", theme.ink, 14))
    return "\n".join(parts)


def draw(theme: Theme, result: dict) -> str:
    """Three panels above, two and the legend below."""
    every = panels(result)
    losses = [loss for rows in every.values() for seeds in rows.values() for loss in means(seeds).values()]
    limit = max(abs(loss or 0) for loss in losses)
    down = ROW * max(map(len, every.values())) + 72
    places = [(40 + ACROSS * (k % 3), 46 + down * (k // 3)) for k in range(6)]
    drawn = [panel(theme, place, *entry, limit) for place, entry in zip(places, every.items(), strict=False)]
    return document(theme, 2 * down, alt(result), *drawn, legend(theme, places[5], limit))


def where(seeds: Seeds) -> str:
    """At which rates a stack learns; of edges that all seeds have, from the lowest to the highest."""
    found = [edges(losses, 0.0) for losses in seeds]
    kinds = {(learned(losses[min(losses)], 0.0), len(at)) for losses, at in zip(seeds, found, strict=True)}
    if len(kinds) > 1:
        return "not with each seed at the same rates"
    ((slowest, number),) = kinds
    if not number:
        return "at every rate" if slowest else "at no rate"
    return " and ".join(
        f"{'below' if slowest == (k % 2 == 0) else 'above'} {min(at)[0]:g} to {max(high for _, high in at):g}"
        for k, at in enumerate(zip(*found, strict=True))
    )


def marked(grid: str) -> str:
    return f"{bound(grid, 12):.2g} at 12 layers of {PANELS[grid]}"


def alike(grid: str) -> str:
    return f"{deepest(grid)} layers of {PANELS[grid]}"


def alt(result: dict) -> str:
    told = []
    for grid, rows in panels(result).items():
        known = [loss for seeds in rows.values() for loss in means(seeds).values() if loss is not None]
        at: dict[str, list[str]] = {}
        for layers, seeds in rows.items():
            at.setdefault(where(seeds), []).append(f"{layers}")
        each = ", ".join(f"{rates} ({', '.join(depths)})" for rates, depths in at.items())
        told.append(f"{PANELS[grid]} ({min(known):+.2f} to {max(known):+.2f}): {each}")
    return (
        f"Validation loss less that of silent, the mean of the seeds, over the number of layers and rates of "
        f"the blocks from {RATES[0]:g} to {RATES[-1]:g}, and at which rates it is below 0 with each seed (at "
        f"how many layers): {'; '.join(told)}. Marked is the rate 1 / (a L): "
        f"{'; '.join(map(marked, WITHOUT_SKIP))}. And the depth up to which the start tells tokens apart: "
        f"{'; '.join(map(alike, UNIFORM))}."
    )
