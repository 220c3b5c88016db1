"""The training loss over the width, of two depths, a panel for each corpus."""

from dataclasses import replace

from experiments.depth import PLAIN, REPAIRED, SKIPS, Line, Seeds, curves, legend, level, means
from experiments.dots import in_tenths
from experiments.drawing import Axis, Picture, Theme, axes, document, dot, path, text
from experiments.tables import final_loss, group_by, of_grid, span
from experiments.widths.table import of_arm

LINES = {"skips": SKIPS, "start": REPAIRED, "plain": PLAIN}  # grid -> its line
CORPORA = "Python's standard library", "tiny Shakespeare"  # of the results, in their order
APART = 9  # pixels between the dots of the two depths, whose lines are often on each other
DASHES = "7 7", ""  # of the shallower stacks and of the deeper ones


def losses(runs: list[dict]) -> Seeds:
    """Width -> the training losses of the seeds."""
    widths = sorted(group_by(runs, "n_embd").items())
    return {width: [final_loss(run, "train") for run in of_width] for (width,), of_width in widths}


def stacks(result: dict) -> dict[int, dict[Line, Seeds]]:
    """Number of layers -> line -> width -> the training losses of the seeds at the best rate."""
    depths = dict(zip(layer_counts(result), DASHES, strict=True))
    return {
        layers: {
            replace(line, dash=dash): losses([r for r in of_arm(result, grid) if r["n_layer"] == layers])
            for grid, line in LINES.items()
        }
        for layers, dash in depths.items()
    }


def layer_counts(result: dict) -> list[int]:
    return sorted({run["n_layer"] for grid in LINES for run in of_arm(result, grid)})


def known(result: dict) -> tuple[Seeds, float]:
    """The training losses of the control over the width, and of letter frequencies."""
    return losses(of_grid(result, "silent")), result["baselines_nats"]["unigram"]["train"]


def precision(result: dict) -> str:
    """Which widths were not trained in float32."""
    trained = sorted({(run["n_embd"], run["dtype"]) for run in result["runs"]})
    return ", ".join(f"{width} in {dtype}" for width, dtype in trained if dtype != "float32")


def panel(theme: Theme, left: float, y: Axis, tenths: dict[float, str], result: dict) -> list[str]:
    silent, unigram = known(result)
    around, x = Axis(0, 1, left, left + 330), Axis(min(silent), max(silent), left + 14, left + 316, log=True)
    parts = [axes(theme, around, y, ({}, tenths), (f"width ({precision(result)})", ""))]
    parts += [text(x(width), y.start + 22, f"{width}", theme.soft, 14, at="middle") for width in silent]
    control = means(silent)
    levels = f"no blocks {span(list(control.values()), '{:.2f}'.format)}", f"letter frequencies {unigram:.2f}"
    for words, loss in zip(levels, (max(control.values()), unigram), strict=True):
        parts.append(text(around.end, y(loss) - 7, words, theme.soft, 13, at="end"))
    parts.append(level(theme, around, y, unigram))
    parts.append(path([(x(width), y(loss)) for width, loss in control.items()], theme.soft, 1.5, "2 5"))
    parts += [dot(x(width), y(loss), theme.soft, 2.5) for width, seeds in silent.items() for loss in seeds]
    for k, lines in enumerate(stacks(result).values()):
        shift = APART * (k - 0.5)
        parts += curves(theme, replace(x, start=x.start + shift, end=x.end + shift), y, lines)
    return parts


def widths(theme: Theme, *results: dict) -> str:
    every = []
    for result in results:
        silent, unigram = known(result)
        seeds = [silent, *(seeds for lines in stacks(result).values() for seeds in lines.values())]
        every += [unigram, *(loss for widths in seeds for losses in widths.values() for loss in losses)]
    y, tenths = in_tenths(every, 410, 126)
    shallow, deep = layer_counts(results[0])
    parts = legend(theme, LINES.values(), 60, 28)
    parts.append(text(60, 52, f"dashed: {shallow} layers; solid: {deep} layers", theme.ink, 14))
    for k, (corpus, result) in enumerate(zip(CORPORA, results, strict=True)):
        left = 60 + 440 * k
        parts.append(text(left, y.end - 32, corpus, theme.ink, 16, weight=700))
        parts += panel(theme, left, y, tenths, result)
    parts.append(text(60, y.end - 12, "training loss, nats per character", theme.soft, 13))
    return document(theme, 465, alt(*results), *parts)


def alt(*results: dict) -> str:
    told = []
    for corpus, result in zip(CORPORA, results, strict=True):
        silent, unigram = known(result)
        each = []
        for layers, lines in stacks(result).items():
            for line, seeds in lines.items():
                values = ", ".join(f"{loss:.2f}" for loss in means(seeds).values())
                each.append(f"{layers} layers {line.name} {values}")
        below = ", ".join(f"{loss:.2f}" for loss in means(silent).values())
        told.append(f"{corpus}: {'; '.join(each)}; no blocks {below}; letter frequencies {unigram:.2f}")
    columns = ", ".join(map(str, known(results[0])[0]))
    return (
        f"The training loss at the widths {columns} ({precision(results[0])}), each stack at its best rate, "
        f"mean of the seeds. {'. '.join(told)}."
    )


PICTURES = {"widths": Picture(widths, alt, ("result", "shakespeare"))}
