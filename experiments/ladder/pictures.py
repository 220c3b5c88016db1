"""The starts and recipes of the ladder as rows of dots, each at its best rate."""

from experiments.dots import beside, compared, in_tenths, mean_and_rate, seeds
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, path, text
from experiments.ladder.table import STARTS, chosen, control
from experiments.tables import mean

ROW, GAP, TOP = 19, 18, 76  # pixels: the height of a row, between two starts, and the middle of the first row


def colour_of(theme: Theme, start: tuple[str, str]) -> str:
    """As the repaired stack and the one with skips have them in other pictures."""
    return theme.arms[{("skips", "wiring"): "pre", ("plain", "self"): "other"}.get(start, "none")]


def known(result: dict) -> dict[str, float]:
    """The validation losses of the control at its best rate, and of letter frequencies."""
    return {"silent": mean(control(result)[1]), "unigram": result["baselines_nats"]["unigram"]["val"]}


def ladder(theme: Theme, result: dict) -> str:
    best, references = chosen(result), known(result)
    every = [loss for cells in best.values() for _, losses in cells.values() for loss in losses]
    x, ticks = in_tenths([*every, *references.values()], 350, WIDTH - 150)
    parts, above, y = [], TOP - GAP, TOP
    for start, cells in best.items():
        colour, middle = colour_of(theme, start), y + ROW * (len(cells) - 1) / 2
        parts += beside(190, middle, STARTS[start], colour, 24)
        for recipe, (rate, losses) in cells.items():
            parts.append(text(338, y + 5, recipe, theme.ink, 13, at="end"))
            parts += seeds(x, y, colour, losses)
            parts.append(text(WIDTH - 16, y + 5, mean_and_rate(losses, rate), colour, 13, at="end"))
            y += ROW
        parts.append(path([(16, y), (WIDTH - 16, y)], theme.rule, 1))
        y += GAP
    bottom = y - GAP
    parts.append(text(WIDTH - 16, above - 10, "mean (rate)", theme.soft, 14, at="end"))
    note = (
        "A dot is a seed. A star: the smallest or the largest rate that was tried. silent has its best, too."
    )
    parts.append(text(WIDTH - 16, bottom + 68, note, theme.soft, 14, at="end"))
    names = "validation loss, nats per character", ""
    around = [axes(theme, x, Axis(0, 1, bottom, above), (ticks, {}), names)]
    around += compared(theme, x, references, above, bottom)
    return document(theme, bottom + 84, alt(result), *around, *parts)


def alt(result: dict) -> str:
    layers = max(run["n_layer"] for run in result["runs"])
    told = []
    for start, cells in chosen(result).items():
        each = ", ".join(
            f"{recipe} {mean_and_rate(losses, rate)}" for recipe, (rate, losses) in cells.items()
        )
        told.append(f"{STARTS[start].replace('`', '')}: {each}")
    silent, unigram = known(result).values()
    return (
        f"The validation loss of {layers} layers, mean of the seeds, with four recipes for each start, in "
        f"brackets the best rate: {'; '.join(told)}. Dotted: silent at the best of its rates "
        f"({control(result)[0]}), {silent:.2f}, and the unigram baseline, {unigram:.2f}."
    )


PICTURES = {"ladder": Picture(ladder, alt)}
