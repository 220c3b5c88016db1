"""Losses in rows, as a picture: each seed as a dot, and dotted lines for what all are compared with."""

import math
import textwrap
from collections.abc import Iterable

from experiments.drawing import Axis, Theme, dot, path, text
from experiments.tables import mean


def in_tenths(losses: Iterable[float], start: float, end: float) -> tuple[Axis, dict[float, str]]:
    """An axis that holds all losses, and the words at its even tenths."""
    ended = [loss for loss in losses if math.isfinite(loss)]
    low, high = math.floor(10 * min(ended)), math.ceil(10 * max(ended))
    ticks = {n / 10: f"{n / 10:.1f}" for n in range(low, high + 1) if n % 2 == 0}
    return Axis(low / 10, high / 10, start, end), ticks


def compared(theme: Theme, x: Axis, known: dict[str, float], above: float, bottom: float) -> list[str]:
    """A dotted line down the rows for each loss that has a name."""
    parts = []
    for name, loss in known.items():
        parts.append(path([(x(loss), above), (x(loss), bottom)], theme.soft, 1.5, "2 5"))
        parts.append(text(x(loss), above - 10, f"{name} {loss:.2f}", theme.soft, 14, at="middle"))
    return parts


def seeds(x: Axis, y: float, colour: str, losses: list[float]) -> list[str]:
    """A row: a dot for each seed that did not diverge, on a line over their range."""
    ended = [loss for loss in losses if math.isfinite(loss)]
    line = [path([(x(min(ended)), y), (x(max(ended)), y)], colour)] if ended else []
    return line + [dot(x(loss), y, colour) for loss in ended]


def mean_and_rate(losses: list[float], rate: str) -> str:
    """The mean of the seeds, or how many diverged, and behind it their rate."""
    lost = losses.count(math.inf)
    return f"{lost} of {len(losses)} diverged ({rate})" if lost else f"{mean(losses):.2f} ({rate})"


def beside(x: float, y: float, words: str, colour: str, most: int) -> list[str]:
    """The name of a row, in as many lines as it needs, around y.

    Args:
        most: letters in a line.
    """
    lines = textwrap.wrap(words.replace("`", ""), most)
    first = y + 5 - 17 * (len(lines) - 1) / 2
    return [text(x, first + 17 * k, line, colour, 14, at="end") for k, line in enumerate(lines)]
