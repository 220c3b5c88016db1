"""What the loss rises by without some blocks, over their number (Veit et al. 2016, arXiv 1605.06431), and
what each block is worth that learns alone."""

import math

from experiments.depth import PLAIN, REPAIRED, Line, Seeds, at_ends, curves, means
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document
from experiments.tables import group_by
from experiments.worth.table import gains

LINES = {
    "pre": Line("pre", "with skips (pre)"),
    "depth_mup": Line("pre", "with skips (depth_mup)", "9 6"),
    "keel": Line("pre", "with skips (keel)", "2 6"),
    "none, self": REPAIRED,
    "none": PLAIN,
}


def rises(result: dict) -> dict[Line, Seeds]:
    """What the loss rises by with each seed, by line and number of blocks taken out."""
    lines: dict[Line, Seeds] = {}
    for run in result["runs"]:
        if run["learns"] == "all" and run["arm"] in LINES:
            for k, rise in enumerate([0.0, *run["random"]]):
                lines.setdefault(LINES[run["arm"]], {}).setdefault(k, []).append(rise)
    return lines


def lesions(theme: Theme, result: dict) -> str:
    lines = rises(result)
    layers = max(max(line) for line in lines.values())
    high = math.ceil(max(rise for line in lines.values() for seeds in line.values() for rise in seeds))
    x, y = Axis(0, layers, 60, WIDTH - 290), Axis(0, high, 330, 64)
    ticks = {n: f"{n}" for n in range(0, layers + 1, 2)}, {n: f"{n}" for n in range(high + 1)}
    names = f"blocks taken out at random, of {layers}", "rise of the validation loss, nats"
    parts = [axes(theme, x, y, ticks, names), *curves(theme, x, y, lines), *at_ends(theme, x, y, lines)]
    return document(theme, 385, alt(result), *parts)


def alt(result: dict) -> str:
    told, lines = [], rises(result)
    layers = max(max(line) for line in lines.values())
    for line, rise in lines.items():
        told.append(f"{line.name} " + ", ".join(f"{means(rise)[k]:.2f}" for k in (1, layers // 2, layers)))
    return (
        f"The rise of the loss, in nats, with 1, {layers // 2} and all {layers} blocks taken out at random: "
        f"{'; '.join(told)}."
    )


def worths(result: dict) -> dict[Line, Seeds]:
    """What a block lowers the loss by with each seed, by line and block."""
    cells, lines = group_by(result["runs"], "arm", "learns"), {}
    for arm, learns in cells:
        if learns not in ("all", "no block"):
            worth = [-gain for gain in gains(cells[arm, learns], cells[arm, "no block"])]
            lines.setdefault(LINES[arm], {})[learns] = worth
    return lines


def alone(theme: Theme, result: dict) -> str:
    lines = worths(result)
    last = max(max(line) for line in lines.values())
    every = [worth for line in lines.values() for seeds in line.values() for worth in seeds]
    tenths = range(min(0, math.floor(10 * min(every))), math.ceil(10 * max(every)) + 1)
    x, y = Axis(0, last, 60, WIDTH - 290), Axis(tenths[0] / 10, tenths[-1] / 10, 330, 64)
    ticks = {n: f"{n}" for n in range(last + 1)}, {n / 10: f"{n / 10:g}" for n in tenths if n % 2 == 0}
    names = "the block that learns", "it lowers the validation loss by, nats"
    parts = [axes(theme, x, y, ticks, names), *curves(theme, x, y, lines), *at_ends(theme, x, y, lines)]
    return document(theme, 385, alone_alt(result), *parts)


def alone_alt(result: dict) -> str:
    told = []
    for line, worth in worths(result).items():
        means_of = means(worth).values()
        told.append(f"{line.name} {min(means_of):.2f} to {max(means_of):.2f}")
    return f"What each block that learns alone lowers the validation loss by, in nats: {'; '.join(told)}."


PICTURES = {"worth_lesions": Picture(lesions, alt), "worth_alone": Picture(alone, alone_alt)}
