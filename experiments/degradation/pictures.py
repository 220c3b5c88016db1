"""The training loss over depth of three kinds of stacks, and where five kinds learn."""

from experiments.degradation import trainability
from experiments.degradation.table import ONE, at_best_rates, at_one_rate
from experiments.depth import PLAIN, REPAIRED, SKIPS, Line, Seeds, curves, legend, level, means
from experiments.dots import in_tenths
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, text
from experiments.tables import final_loss, group_by, mean_of, of_grid, span

LINES = {  # grid -> its line
    "plain": PLAIN,
    "start": REPAIRED,
    "skips": SKIPS,
}


def at_best(result: dict) -> dict[Line, Seeds]:
    """The training losses of all seeds, by line and depth, each depth at its best rate."""
    return {
        line: {
            layers: [final_loss(run, "train") for run in runs]
            for layers, (_, runs) in at_best_rates(result, grid).items()
        }
        for grid, line in LINES.items()
    }


def at_one(result: dict) -> dict[Line, Seeds]:
    """The same at the one rate that all have."""
    return {
        line: {
            layers: [final_loss(run, "train") for run in runs]
            for (layers,), runs in sorted(group_by(at_one_rate(result, grid), "n_layer").items())
        }
        for grid, line in LINES.items()
    }


def baselines(result: dict) -> dict[str, float]:
    """The training losses of the control and of letter frequencies, by name."""
    silent = mean_of(of_grid(result, "silent"), "train/loss")
    return {"no blocks": silent, "letter frequencies": result["baselines_nats"]["unigram"]["train"]}


def degradation(theme: Theme, result: dict) -> str:
    """Each depth at its best rate, and beside it all at one rate, with one axis of losses."""
    panels = {"each depth at its best rate": at_best(result), f"all at one rate, {ONE:g}": at_one(result)}
    known = baselines(result)
    losses = [
        loss for lines in panels.values() for seeds in lines.values() for of in seeds.values() for loss in of
    ]
    y, tenths = in_tenths([*losses, *known.values()], 400, 122)
    parts = legend(theme, LINES.values(), 60, 32)
    for (title, lines), (left, right) in zip(panels.items(), ((60, 520), (600, WIDTH - 20)), strict=True):
        depths = sorted({layers for seeds in lines.values() for layers in seeds})
        x = Axis(depths[0], depths[-1], left, right, log=True)
        parts.append(axes(theme, x, y, ({n: f"{n}" for n in depths}, tenths), ("layers", "")))
        parts.append(text(left, y.end - 42, title, theme.ink, 16, weight=700))
        parts += [level(theme, x, y, loss) for loss in known.values()]
        parts += curves(theme, x, y, lines)
    for name, loss in known.items():  # on the left, where no curve of the first panel is
        parts.append(text(64, y(loss) - 7, f"{name} {loss:.2f}", theme.soft, 13))
    parts.append(text(60, y.end - 22, "training loss, nats per character", theme.soft, 13))
    return document(theme, 455, alt(result), *parts)


def alt(result: dict) -> str:
    lines, one = at_best(result), at_one(result)
    told = []
    for grid, line in LINES.items():
        each = ", ".join(f"{loss:.2f} at {n}" for n, loss in means(lines[line]).items())
        rates = span([rate for rate, _ in at_best_rates(result, grid).values()], "{:g}".format)
        told.append(f"{line.name} {each}, best rate {rates}")
    beside = []
    for line, seeds in one.items():
        first, *_, last = means(seeds).values()
        beside.append(f"{line.name} from {first:.2f} to {last:.2f}")
    below = ", ".join(f"{name} {loss:.2f}" for name, loss in baselines(result).items())
    return (
        f"The training loss after {result['runs'][0]['step']} updates over the number of layers, each depth "
        f"at its best rate, mean of the seeds: {'; '.join(told)}. Beside it, all at the rate {ONE:g}: "
        f"{'; '.join(beside)}. Dotted: {below}."
    )


PICTURES = {
    "degradation": Picture(degradation, alt),
    "trainability": Picture(trainability.draw, trainability.alt),
}
