"""Charts as SVG text, in light and in dark colours: what the pictures of the texts are drawn with.

The same numbers give the same text on every machine, so a test can tell whether a picture is what the results
say.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape

WIDTH = 860  # of every picture, in pixels: a page of text on GitHub is a little narrower


@dataclass(frozen=True)
class Theme:
    """The colours of a picture. Those of the arms are the same on the page of compare.py."""

    paper: str
    ink: str
    soft: str
    rule: str
    arms: dict[str, str]


THEMES = {
    "light": Theme(
        "#ffffff", "#1b2230", "#56606e", "#d9dde1", {"pre": "#0072b2", "none": "#c44e00", "other": "#007a59"}
    ),
    "dark": Theme(
        "#0d1117", "#e9ecf1", "#a4aebd", "#30363d", {"pre": "#6db8f2", "none": "#ff9655", "other": "#3ccf9f"}
    ),
}


@dataclass(frozen=True)
class Picture:
    """A picture of the texts, made from results alone.

    Args:
        draw: from a Theme and the loaded results to SVG.
        alt: from the results to what one sees, in a sentence or two.
        results: the JSON files of the experiment's folder, without their ending, in the order of the
            arguments; `log` stands for the runs whose logs are kept.
    """

    draw: Callable[..., str]
    alt: Callable[..., str]
    results: tuple[str, ...] = ("result",)


@dataclass(frozen=True)
class Axis:
    """From a value to a pixel: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, value = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        share = min(1.0, max(0.0, (value - low) / (high - low)))
        return self.start + share * (self.end - self.start)


def power(value: float) -> str:
    """A number as people write it: 0.32, or 1.4×10⁻¹⁷."""
    if value == 0 or 0.01 <= abs(value) < 1000:
        return f"{float(f'{value:.2g}'):g}"  # two digits, and 150 not as 1.5e+02
    digits, exponent = f"{value:.1e}".split("e")
    return f"{digits}×{ten_to(int(exponent))}"


def ten_to(exponent: int) -> str:
    """A power of ten."""
    return (
        "1" if exponent == 0 else "10" + f"{exponent}".translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))
    )


def text(
    x: float, y: float, words: str, colour: str, size: int = 15, at: str = "start", weight: int = 400
) -> str:
    """Words whose start, middle or end lies at x."""
    style = f'font-size="{size}" fill="{colour}"'
    style += "" if at == "start" else f' text-anchor="{at}"'
    style += "" if weight == 400 else f' font-weight="{weight}"'
    return f'<text x="{x:g}" y="{y:.1f}" {style}>{escape(words, quote=False)}</text>'


def code(x: float, y: float, words: str, colour: str) -> str:
    """Words with all their spaces, in letters of one width."""
    style = "white-space:pre;font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace"
    words = escape(words, quote=False)
    return f'<text x="{x:g}" y="{y:.1f}" font-size="13" fill="{colour}" style="{style}">{words}</text>'


def rect(x: float, y: float, width: float, height: float, colour: str) -> str:
    return f'<rect x="{x:g}" y="{y:.1f}" width="{width:g}" height="{height:.1f}" fill="{colour}"/>'


def path(points: Iterable[tuple[float, float]], colour: str, width: float = 2.5, dash: str = "") -> str:
    """A line through points."""
    joined = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    style = 'fill="none" stroke-linejoin="round" stroke-linecap="round"'
    return f'<path d="M{joined}" {style} stroke="{colour}" stroke-width="{width:g}"{dashes}/>'


def dot(x: float, y: float, colour: str, radius: float = 4) -> str:
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" fill="{colour}"/>'


def axes(theme: Theme, x: Axis, y: Axis, ticks: tuple[dict, dict], names: tuple[str, str]) -> str:
    """Grid lines, the words at them, and the names of the two axes.

    Args:
        ticks: value -> words, of x and of y.
    """
    parts = []
    for value, words in ticks[1].items():
        parts.append(path([(x.start, y(value)), (x.end, y(value))], theme.rule, 1))
        parts.append(text(x.start - 8, y(value) + 5, words, theme.soft, 14, at="end"))
    for value, words in ticks[0].items():
        parts.append(text(x(value), y.start + 22, words, theme.soft, 14, at="middle"))
    parts.append(path([(x.start, y.start), (x.end, y.start)], theme.soft, 1))
    middle = (x.start + x.end) / 2
    parts.append(text(middle, y.start + 44, names[0], theme.soft, 14, at="middle"))
    parts.append(text(x.start, y.end - 14, names[1], theme.soft, 14))
    return "\n".join(parts)


def document(theme: Theme, height: float, words: str, *parts: str, top: float = 0) -> str:
    """The whole picture, from `top` down to `height`; `words` are for those who can't see it."""
    fonts = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', 'DejaVu Sans', sans-serif"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 {top:g} {WIDTH} {height - top:g}" role="img" '
    head += f'width="{WIDTH}" height="{height - top:g}" font-family="{fonts}">'
    ground = f'<rect width="{WIDTH}" height="{height:g}" fill="{theme.paper}"/>'
    return "\n".join([head, f"<title>{escape(words)}</title>", ground, *parts, "</svg>"]) + "\n"
