"""Predictions over what is measured of fresh stacks: tokens, the stream, and the gradient at layer 0."""

import math

from experiments.depth import Line, Seeds, at_ends, curves
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, dot, path, power, ten_to, text
from experiments.tables import group_by, mean

LAYERS = 24  # of the stacks whose tokens and stream are drawn
BLOCKS = {n: f"{n}" for n in range(0, LAYERS + 1, 4)}  # ticks
TOLD = (1, 6, LAYERS)  # blocks whose values are in the alternative texts


def seeds(result: dict, residual: str, key: str) -> list[list[float]]:
    """A probe over the blocks, of each seed."""
    return [run[key] for run in group_by(result["runs"], "residual", "n_layer")[residual, LAYERS]]


def shares(result: dict) -> list[list[float]]:
    """The share on the first token over the blocks that the gradient has passed, the last block first."""
    return [values[::-1] for values in seeds(result, "none", "position0_share")]


def over_measured(
    theme: Theme, x: Axis, y: Axis, colour: str, predicted: list[float], measured: list[list[float]]
) -> list[str]:
    """Over the blocks passed, each seed as dots and the prediction as a line."""
    parts = [dot(x(k), y(value), colour, 3) for values in measured for k, value in enumerate(values)]
    return [*parts, path([(x(k), y(value)) for k, value in enumerate(predicted)], theme.ink, 2)]


def legend(theme: Theme, colour: str) -> list[str]:
    line = [path([(66, 394), (96, 394)], theme.ink, 2), text(104, 399, "predicted", theme.ink)]
    return [*line, dot(230, 394, colour), text(244, 399, "measured, each seed", theme.ink)]


def tokens(theme: Theme, result: dict) -> str:
    """Token diversity on the left, the first token's share of the gradient on the right."""
    predicted, colour = result["predicted"], theme.arms["none"]
    measured = seeds(result, "none", "token_diversity")
    powers = range(math.floor(math.log10(min(map(min, [predicted["token_diversity"], *measured])))), 1)
    tens, quarters = {10.0**n: ten_to(n) for n in powers}, {k / 4: f"{k / 4:.0%}" for k in range(5)}
    x, y = Axis(0, LAYERS, 66, 410), Axis(10.0 ** powers[0], 1, 330, 64, log=True)
    parts = [axes(theme, x, y, (BLOCKS, tens), ("blocks passed", ""))]
    parts.append(text(x.start, 40, "token diversity", theme.ink, 17, weight=700))
    parts += over_measured(theme, x, y, colour, predicted["token_diversity"], measured)
    x, y = Axis(0, LAYERS, 506, WIDTH - 20), Axis(0, 1, 330, 64)
    parts.append(axes(theme, x, y, (BLOCKS, quarters), ("blocks that the gradient has passed", "")))
    parts.append(text(x.start, 40, "gradient: share on the first token", theme.ink, 17, weight=700))
    parts += over_measured(theme, x, y, colour, predicted["position0_share"], shares(result))
    return document(theme, 415, tokens_alt(result), *parts, *legend(theme, colour))


def told(predicted: list[float], measured: list[list[float]], words=power) -> str:
    """Prediction and mean of the seeds behind some blocks."""
    return ", ".join(
        f"{words(predicted[k])} and {words(mean([values[k] for values in measured]))} behind {k}"
        for k in TOLD
    )


def tokens_alt(result: dict) -> str:
    predicted = result["predicted"]
    diversity = told(predicted["token_diversity"], seeds(result, "none", "token_diversity"))
    share = told(predicted["position0_share"], shares(result), "{:.0%}".format)
    return (
        f"A fresh stack of {LAYERS} blocks without skips, predicted and measured (mean of the seeds). Token "
        f"diversity falls: {diversity} blocks. The first token's share of the gradient rises: {share} blocks."
    )


def stream(theme: Theme, result: dict) -> str:
    predicted, measured = result["predicted"]["resid_rms"], seeds(result, "pre", "resid_rms")
    colour, steps = theme.arms["pre"], math.ceil(20 * max(map(max, [predicted, *measured])))
    x, y = Axis(0, LAYERS, 66, WIDTH - 30), Axis(0, steps / 20, 330, 64)
    ticks = BLOCKS, {n / 20: f"{n / 20:.2f}" for n in range(steps + 1)}
    parts = [axes(theme, x, y, ticks, ("blocks passed", "rms of the stream, with skips"))]
    parts += over_measured(theme, x, y, colour, predicted, measured)
    return document(theme, 415, stream_alt(result), *parts, *legend(theme, colour))


def stream_alt(result: dict) -> str:
    values = told(result["predicted"]["resid_rms"], seeds(result, "pre", "resid_rms"), "{:.3f}".format)
    return (
        f"The rms of the stream in a fresh stack of {LAYERS} blocks with skips, predicted as "
        f"sqrt(v0 + k v) and measured (mean of the seeds): {values} blocks."
    )


LINES = {
    "none": Line("none", "without skips"),
    "pre": Line("pre", "with skips"),
    "rezero": Line("other", "x + a F(x), a = 0"),
}


def at_layer_0(result: dict) -> dict[Line, Seeds]:
    """The gradient's norm at layer 0, of all seeds, by line and depth."""
    lines: dict[Line, Seeds] = {line: {} for line in LINES.values()}
    for run in result["runs"]:
        norms = lines[LINES[run["residual"]]].setdefault(run["n_layer"], [])
        norms.append(run["resid_gradient"][0])
    return lines


def untouched(result: dict) -> float:
    """What is predicted at layer 0 where a = 0: the norm behind the last layer, of all depths and seeds."""
    return mean([run["resid_gradient"][-1] for run in result["runs"] if run["residual"] == "rezero"])


def gradient(theme: Theme, result: dict) -> str:
    lines, predicted = at_layer_0(result), untouched(result)
    norms = [norm for line in lines.values() for of_depth in line.values() for norm in of_depth]
    low, high = math.floor(math.log10(min(norms))), math.ceil(math.log10(max(norms)))
    depths = sorted(lines[LINES["pre"]])
    x = Axis(depths[0], depths[-1], 66, WIDTH - 270, log=True)
    y = Axis(10.0**low, 10.0**high, 330, 64, log=True)
    ticks = {n: f"{n}" for n in depths}, {10.0**k: f"{10.0**k:g}" for k in range(low, high + 1)}
    parts = [axes(theme, x, y, ticks, ("layers", "norm of the gradient at layer 0"))]
    parts += [*curves(theme, x, y, lines), *at_ends(theme, x, y, lines)]
    parts.append(path([(x.start, y(predicted)), (x.end, y(predicted))], theme.ink, 2))
    words = f"predicted where a = 0: {predicted:.2g}, the norm behind the last layer"
    parts += [path([(66, 394), (96, 394)], theme.ink, 2), text(104, 399, words, theme.ink)]
    return document(theme, 415, gradient_alt(result), *parts)


def gradient_alt(result: dict) -> str:
    lines = [
        f"{line.name} " + ", ".join(f"{mean(values):.2g} at {n}" for n, values in sorted(norms.items()))
        for line, norms in at_layer_0(result).items()
    ]
    return (
        "The norm of the gradient at layer 0 over the number of layers, before training, mean of the seeds: "
        f"{'; '.join(lines)}. Where a = 0 it is predicted to be what it is behind the last layer, "
        f"{untouched(result):.2g}."
    )


PICTURES = {
    "theory_tokens": Picture(tokens, tokens_alt),
    "theory_stream": Picture(stream, stream_alt),
    "theory_gradient": Picture(gradient, gradient_alt),
}
