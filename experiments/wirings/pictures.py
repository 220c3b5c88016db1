"""All wirings at 12 layers as a dot plot: the mean over seeds, its interval, and each seed."""

import math

from experiments.dots import compared
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, dot, path, rect, text
from experiments.tables import mean
from experiments.wirings.table import league, noise

ROW, TOP = 22, 76  # pixels: the height of a row, and the middle of the first


def known(result: dict) -> dict[str, float]:
    """The losses that have a line: of the stack that all are compared with, of no blocks, and a baseline."""
    best, _ = league(result)
    unigram = result["baselines_nats"]["unigram"]["val"]
    return {"pre": mean(best["pre"][1]), "silent": mean(best["silent"][1]), "unigram": unigram}


def wirings(theme: Theme, result: dict) -> str:
    best, error = league(result)
    lines, within = known(result), noise(error)
    low, high = limits([*(seeds for _, seeds in best.values()), list(lines.values())], within)
    bottom = TOP + ROW * len(best)
    x, y = Axis(low / 10, high / 10, 180, WIDTH - 40), Axis(len(best), 0, bottom, TOP)
    ticks = {n / 10: f"{n / 10:.1f}" for n in range(low, high + 1, 2)}, dict(enumerate(best))
    left, right, above = x(lines["pre"] - within), x(lines["pre"] + within), TOP - ROW / 2
    parts = [rect(left, above, right - left, bottom - above, theme.rule)]
    parts.append(axes(theme, x, y, ticks, ("validation loss, nats per character", "")))
    parts += compared(theme, x, lines, above, bottom)
    for row, (name, (_, seeds)) in enumerate(best.items()):
        parts += one(theme, x, y(row), theme.arms.get(name, theme.arms["other"]), seeds, 2 * error)
    return document(theme, bottom + 88, alt(result), *parts, *legend(theme, bottom + 70))


def limits(groups: list[list[float]], within: float) -> tuple[int, int]:
    """The ends of the axis in tenths of a nat: all losses are between them, and all that is around a mean."""
    means = [mean(losses) for losses in groups]
    values = [loss for losses in groups for loss in losses] + [m + k * within for m in means for k in (-1, 1)]
    finite = [value for value in values if math.isfinite(value)]
    return math.floor(10 * min(finite)), math.ceil(10 * max(finite))


def one(theme: Theme, x: Axis, y: float, colour: str, seeds: list[float], reach: float) -> list[str]:
    """A row: each seed as a small dot, the mean as a large one in the middle of its interval."""
    parts, middle = [dot(x(loss), y, theme.soft, 3) for loss in seeds if math.isfinite(loss)], mean(seeds)
    if math.isfinite(middle):
        return [
            *parts,
            path([(x(middle - reach), y), (x(middle + reach), y)], colour),
            dot(x(middle), y, colour, 5),
        ]
    lost = f"{seeds.count(math.inf)} of {len(seeds)} seeds diverged"
    return [*parts, text(x.end, y - 4, lost, colour, 14, "end")]


def legend(theme: Theme, y: float) -> list[str]:
    """What a large dot, its line, a small dot and the band are."""
    colour = theme.arms["other"]
    parts = [path([(46, y), (86, y)], colour), dot(66, y, colour, 5)]
    parts.append(text(96, y + 5, "mean ± two standard errors", theme.ink, 14))
    parts += [dot(336, y, theme.soft, 3), text(346, y + 5, "a seed", theme.ink, 14)]
    parts += [rect(440, y - 9, 26, 18, theme.rule), text(476, y + 5, "equal to pre", theme.ink, 14)]
    return parts


def alt(result: dict) -> str:
    best, error = league(result)
    lines, means = known(result), {name: mean(seeds) for name, (_, seeds) in best.items()}
    named = [
        f"{name} {loss:.2f}" if math.isfinite(loss) else f"{name} diverged" for name, loss in means.items()
    ]
    equal = [
        name for name, loss in means.items() if name != "pre" and abs(loss - lines["pre"]) <= noise(error)
    ]
    return (
        f"The validation loss of each wiring at its best rate, the lowest first, mean of the seeds "
        f"± {2 * error:.3f}: {', '.join(named)}. Equal to pre: {', '.join(equal) or 'none'}. "
        f"Dotted: pre, silent and the unigram baseline, {lines['unigram']:.2f}."
    )


PICTURES = {"wirings": Picture(wirings, alt)}
