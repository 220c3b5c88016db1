"""What the loss rises by without some blocks, over their number: Veit et al. 2016, arXiv 1605.06431."""

import math

from experiments.depth import PLAIN, REPAIRED, Line, Seeds, at_ends, curves, means
from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document

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
        if run["learns"] == "all":
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


PICTURES = {"worth_lesions": Picture(lesions, alt)}
