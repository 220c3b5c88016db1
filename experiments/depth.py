"""Losses over the number of layers, as a picture, and its parts: a line for each kind of stack."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from experiments.drawing import WIDTH, Axis, Theme, axes, document, dot, path, text

Seeds = dict[int, list[float]]  # number of layers -> the losses of the seeds, infinite where one diverged


@dataclass(frozen=True)
class Line:
    """How a line looks, and what stands at its end."""

    colour: str  # a key of Theme.arms
    name: str
    dash: str = ""


SKIPS = Line("pre", "with skips")
REPAIRED = Line("other", "without skips, repaired")
PLAIN = Line("none", "without skips, standard")


def over_depth(
    theme: Theme, lines: dict[Line, Seeds], baselines: dict[str, float], name: str, words: str
) -> str:
    """Means as lines, each seed as a dot, baselines dotted. Each line has its name at its right end.

    Args:
        baselines: name -> loss.
        name: of the loss.
        words: the alternative text.
    """
    losses = [loss for line in lines.values() for seeds in line.values() for loss in seeds]
    ended = [loss for loss in losses if loss < math.inf]
    depths = sorted({depth for line in lines.values() for depth in line})
    low, high = min([*ended, *baselines.values()]), max([*ended, *baselines.values()])
    x, y = Axis(depths[0], depths[-1], 60, WIDTH - 270, log=True), Axis(low - 0.05, high + 0.05, 330, 64)
    tenths = range(round(10 * low) // 2 * 2, round(10 * high) + 1, 2)
    ticks = (
        {n: f"{n}" for n in depths},
        {n / 10: f"{n / 10:.1f}" for n in tenths if y.low <= n / 10 <= y.high},
    )
    parts = [axes(theme, x, y, ticks, ("layers", name))]
    ends = {f"{known} {loss:.2f}": (y(loss), theme.soft) for known, loss in baselines.items()}
    for loss in baselines.values():
        parts.append(level(theme, x, y, loss))
    parts += curves(theme, x, y, lines)
    for line, seeds in lines.items():
        *_, last = means(seeds).values()
        ends[line.name] = y(last), theme.arms[line.colour]
    for label, (place, colour) in apart(ends).items():
        parts.append(text(x.end + 14, place + 5, label, colour, 16, weight=600))
    if len(ended) < len(losses):
        parts.append(text(x.end + 30, y.end - 14, "×: a seed that diverged", theme.soft, 14))
    return document(theme, 385, words, *parts)


def means(line: Seeds) -> dict[int, float]:
    """Depth -> the mean of the seeds that did not diverge."""
    ended = {depth: [loss for loss in line[depth] if loss < math.inf] for depth in sorted(line)}
    return {depth: sum(losses) / len(losses) for depth, losses in ended.items() if losses}


def curves(theme: Theme, x: Axis, y: Axis, lines: dict[Line, Seeds]) -> list[str]:
    """The lines and dots alone; a cross above for each seed that diverged."""
    parts = []
    for line, seeds in lines.items():
        colour = theme.arms[line.colour]
        parts.append(path([(x(n), y(mean)) for n, mean in means(seeds).items()], colour, dash=line.dash))
        for n, losses in seeds.items():
            parts += [dot(x(n), y(loss), colour) for loss in losses if loss < math.inf]
            if lost := losses.count(math.inf):
                parts.append(text(x(n), y.end - 14, "×" * lost, colour, 16, "middle", 700))
    return parts


def at_ends(theme: Theme, x: Axis, y: Axis, lines: dict[Line, Seeds]) -> list[str]:
    """The names of lines at their right ends, each behind a piece of its line."""
    parts, dashes, ends = [], {line.name: line.dash for line in lines}, {}
    for line, seeds in lines.items():
        *_, last = means(seeds).values()
        ends[line.name] = y(last), theme.arms[line.colour]
    for name, (place, colour) in apart(ends).items():
        parts.append(path([(x.end + 14, place), (x.end + 42, place)], colour, dash=dashes[name]))
        parts.append(text(x.end + 52, place + 5, name, colour, weight=600))
    return parts


def legend(theme: Theme, lines: Iterable[Line], left: float, y: float) -> list[str]:
    """The names of lines in a row, each behind a piece of its line, for pictures of several panels."""
    parts = []
    for line in lines:
        colour = theme.arms[line.colour]
        parts.append(path([(left, y - 5), (left + 28, y - 5)], colour, dash=line.dash))
        parts.append(text(left + 36, y, line.name, colour, 14, weight=600))
        left += 64 + 8.2 * len(line.name)  # the letters of most fonts are narrower
    return parts


def level(theme: Theme, x: Axis, y: Axis, loss: float) -> str:
    """A dotted line across a panel."""
    return path([(x.start, y(loss)), (x.end, y(loss))], theme.soft, 1.5, "2 5")


def apart(labels: dict[str, tuple[float, str]], gap: float = 21) -> dict[str, tuple[float, str]]:
    """Labels at their heights, moved down where two would lie on each other."""
    moved: dict[str, tuple[float, str]] = {}
    below = -gap
    for label, (height, colour) in sorted(labels.items(), key=lambda entry: entry[1][0]):
        below = max(height, below + gap)
        moved[label] = below, colour
    return moved
