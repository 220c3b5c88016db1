"""Published numbers beside ours, each in units of its own, where a paper's mark is a number."""

import math
from dataclasses import replace

from experiments.degradation.pictures import at_one
from experiments.degradation.table import ONE
from experiments.depth import PLAIN, SKIPS, Line, Seeds, curves, legend, means
from experiments.dots import beside, in_tenths
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, dot, path, text
from experiments.laptop.table import AUTOPSIES
from experiments.marks.table import DEEP, ERRORS, LENGTHS, large_parts
from experiments.rezero.table import PUBLISHED, best, perplexities, seed_by_seed

ARMS = {"plain": PLAIN, "skips": SKIPS}  # of ERRORS
NORMS = {"pre": "pre-norm", "rezero": "ReZero"}
ROW = 34  # pixels


def heading(theme: Theme, x: float, y: float, words: str, unit: str) -> list[str]:
    return [text(x, y, words, theme.ink, 15, weight=700), text(x, y + 20, unit, theme.soft, 13)]


def over_depth(result: dict) -> dict[Line, Seeds]:
    """The training losses of the two stacks that He et al. have as well."""
    return {line: at_one(result)[line] for line in ARMS.values()}


def degradation(theme: Theme, result: dict) -> list[str]:
    """Their errors on the left and the losses here on the right, with axes that have nothing in common."""
    errors = {line: {n: [error] for n, error in ERRORS[arm].items()} for arm, line in ARMS.items()}
    lines = over_depth(result)
    parts = [
        *heading(theme, 40, 66, "He et al. 2015", "ImageNet, top-1 error, percent"),
        *heading(theme, 400, 66, f"here, at one rate, {ONE:g}", "training loss, nats per character"),
    ]
    percents = [error for of_arm in ERRORS.values() for error in of_arm.values()]
    low, high = math.floor(min(percents)), math.ceil(max(percents))
    y = Axis(low, high, 270, 106)
    losses = [loss for seeds in lines.values() for of_depth in seeds.values() for loss in of_depth]
    loss_y, tenths = in_tenths(losses, 270, 106)
    panels = (
        (errors, y, {n: f"{n}" for n in range(low, high + 1)}, 60, 280),
        (lines, loss_y, tenths, 440, WIDTH - 40),
    )
    for panel, height, ticks, left, right in panels:
        depths = sorted({n for seeds in panel.values() for n in seeds})
        x = Axis(depths[0], depths[-1], left, right, log=True)
        parts.append(axes(theme, x, height, ({n: f"{n}" for n in depths}, ticks), ("layers", "")))
        parts += curves(theme, x, height, panel)
    return [*legend(theme, (replace(PLAIN, name="plain"), SKIPS), 40, 28), *parts]


def lengths(theme: Theme, *autopsies: dict) -> list[str]:
    """Their range of path lengths over ours, a row for each seed, as shares of the whole length."""
    branches, seeds = len(autopsies[0]["paths"]) - 1, large_parts(*autopsies)
    top, ink, colour = 410, theme.ink, theme.arms["pre"]
    bottom = top + ROW * (len(seeds) + 0.7)
    fifths = math.ceil(5 * max(LENGTHS[1] / DEEP, *(last / branches for _, _, last in seeds)))
    x, ticks = Axis(0, fifths / 5, 190, 400), {k / 5: f"{k / 5:.0%}" for k in range(fifths + 1)}
    parts = heading(theme, 40, 356, "Veit et al. 2016, and here", "lengths of paths, by two measures")
    parts.append(axes(theme, x, Axis(0, 1, bottom, top - 20), (ticks, {}), ("share of the whole length", "")))
    parts.append(path([(x(length / DEEP), top) for length in LENGTHS], ink, 6))
    parts += beside(180, top, f"theirs, {DEEP} layers: most of the gradient", ink, 22)
    for k, (most, *ends) in enumerate(seeds, 1):
        y = top + ROW * k
        parts.append(path([(x(count / branches), y) for count in ends], colour, 6))
        parts.append(dot(x(most / branches), y, ink))
    words = f"here, {branches} branches, each seed: largest part (dot), at least a tenth of it (bar)"
    return parts + beside(180, top + ROW * (len(seeds) + 1) / 2, words, colour, 22)


def at_their_best(result: dict) -> dict[tuple[str, int], list[float]]:
    """(wiring, layers) -> the perplexities per word of the seeds, at the best rate."""
    return {stack: perplexities(runs) for stack, runs in best(result).items()}


def rezero(theme: Theme, result: dict) -> list[str]:
    """A row for each stack that is published: theirs, and below it the seeds here."""
    ours, top = at_their_best(result), 410
    values = [*PUBLISHED.values(), *(value for stack in PUBLISHED for value in ours.get(stack, []))]
    low, high = 50 * math.floor(min(values) / 50), 50 * math.ceil(max(values) / 50)
    x, bottom = Axis(low, high, 590, WIDTH - 30), top + 46 * len(PUBLISHED) - 20
    ticks = {n: f"{n}" for n in range(low, high + 1, 50 * math.ceil((high - low) / 250))}  # at most six
    parts = heading(theme, 440, 356, "ReZero on WikiText-2", "after one pass:")
    parts += [dot(556, 371, theme.ink), text(566, 376, "the authors", theme.soft, 13)]
    parts += [dot(656, 371, theme.arms["other"]), dot(666, 371, theme.arms["pre"])]
    parts.append(text(676, 376, "here, each seed", theme.soft, 13))
    parts.append(axes(theme, x, Axis(0, 1, bottom, top - 20), (ticks, {}), ("perplexity per word", "")))
    for k, ((wiring, layers), theirs) in enumerate(PUBLISHED.items()):
        y, colour = top + 46 * k, theme.arms["pre" if wiring == "pre" else "other"]
        parts += beside(580, y + 6, f"{NORMS[wiring]}, {layers} layers", theme.ink, 26)
        parts += [path([(x.start, y), (x.end, y)], theme.rule, 1), dot(x(theirs), y, theme.ink)]
        parts.append(path([(x.start, y + 13), (x.end, y + 13)], theme.rule, 1))
        parts += [dot(x(value), y + 13, colour) for value in ours.get((wiring, layers), [])]
    return parts


def marks(theme: Theme, *results: dict) -> str:
    depth, *autopsies, words = results
    parts = [*degradation(theme, depth), *lengths(theme, *autopsies), *rezero(theme, words)]
    return document(theme, 600, alt(*results), *parts)


def alt(*results: dict) -> str:
    depth, *autopsies, words = results
    errors, losses = [], []
    for (arm, error), seeds in zip(ERRORS.items(), over_depth(depth).values(), strict=True):
        name = "plain" if arm == "plain" else SKIPS.name
        errors.append(f"{name} {', '.join(f'{value} at {n}' for n, value in error.items())}")
        (least, first), *_, (most, last) = means(seeds).items()
        losses.append(f"{name} {first:.2f} at {least}, {last:.2f} at {most}")
    branches = len(autopsies[0]["paths"]) - 1
    theirs = " to ".join(f"{length / DEEP:.0%}" for length in LENGTHS)
    ours = ", ".join(
        f"{least / branches:.0%} to {last / branches:.0%} with the largest at {most / branches:.0%}"
        for most, least, last in large_parts(*autopsies)
    )
    here = at_their_best(words)
    per_word = [
        f"{NORMS[wiring]} of {layers} layers {theirs_of} and here {seed_by_seed(here[wiring, layers])}"
        for (wiring, layers), theirs_of in PUBLISHED.items()
        if (wiring, layers) in here
    ]
    return (
        f"Published numbers beside ours. He et al. 2015, top-1 error on ImageNet in percent over the layers: "
        f"{'; '.join(errors)}. Here, training loss at one rate: {'; '.join(losses)}. Veit et al. 2016, paths "
        f"that most of the gradient comes from, in shares of the whole length: {theirs}. Here, parts of at "
        f"least a tenth of the largest, seed by seed: {ours}. ReZero on WikiText-2, perplexity per word "
        f"after one pass: {'; '.join(per_word)}. Lesions and rank collapse are left out: for them the table "
        f"has no number of the papers."
    )


PICTURES = {
    "marks": Picture(
        marks,
        alt,
        ("../degradation/result", *(f"../laptop/{name}" for name in AUTOPSIES["pre"]), "../rezero/result"),
    )
}
