"""Each choice of skips as a row of dots, at the best rate of its blocks."""

from experiments.dots import beside, compared, in_tenths, mean_and_rate, seeds
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, path, text
from experiments.tables import mean, spread
from experiments.which_skip.table import chosen, known

ROW, TOP = 36, 84  # pixels: the height of a row, and the middle of the first
NAME, COUNT = 236, 318  # where the words of a row end


def which_skip(theme: Theme, result: dict) -> str:
    best, references = chosen(result), known(result)
    losses = [loss for _, of_choice in best.values() for loss in of_choice]
    x, ticks = in_tenths([*losses, *references.values()], 336, WIDTH - 150)
    above, bottom = TOP - ROW / 2, TOP + ROW * len(best) - ROW / 2
    y = Axis(0, len(best), TOP, TOP + ROW * len(best))
    names = "validation loss, nats per character", ""
    parts = [axes(theme, x, Axis(0, 1, bottom, above), (ticks, {}), names)]
    parts += compared(theme, x, references, above, bottom)
    heads = {NAME: "skips around", COUNT: "how many", WIDTH - 16: "mean (rate)"}
    parts += [text(left, above - 10, words, theme.soft, 14, at="end") for left, words in heads.items()]
    most = max(skips for _, skips in best)
    for k, ((name, skips), (rate, of_choice)) in enumerate(best.items()):
        colour = theme.arms["none" if not skips else "pre" if skips == most else "other"]
        parts.append(path([(x.start, y(k)), (x.end, y(k))], theme.rule, 1))
        parts += beside(NAME, y(k), name, theme.ink, 34)
        parts.append(text(COUNT, y(k) + 5, f"{skips}", theme.soft, 14, at="end"))
        parts += seeds(x, y(k), colour, of_choice)
        parts.append(text(WIDTH - 16, y(k) + 5, mean_and_rate(of_choice, rate), colour, 14, at="end"))
    note = "A dot is a seed. A star: the smallest or the largest rate that was tried."
    parts.append(text(x.start, bottom + 68, note, theme.soft, 14))
    return document(theme, bottom + 84, alt(result), *parts)


def alt(result: dict) -> str:
    best, references = chosen(result), known(result)
    layers = max(run["n_layer"] for run in result["runs"])
    told = [
        f"{name.replace('`', '')}, {skips} skips, {spread(losses, '.2f')}"
        for (name, skips), (_, losses) in best.items()
    ]
    means = {name.replace("`", ""): mean(losses) for (name, _), (_, losses) in best.items()}
    below = [name for name, loss in means.items() if loss < references["silent"]]
    lines = ", ".join(f"{name} {loss:.2f}" for name, loss in references.items())
    return (
        f"The validation loss of {layers} layers by the place of their skips, each choice at the best rate "
        f"of its blocks, mean and range of the seeds: {'; '.join(told)}. Dotted: {lines}. "
        f"Below silent: {'; '.join(below) or 'none'}."
    )


PICTURES = {"which_skip": Picture(which_skip, alt)}
