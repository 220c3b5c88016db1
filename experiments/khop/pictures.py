"""The share of right answers over depth, a panel for each number of hops."""

from experiments.depth import PLAIN, REPAIRED, SKIPS, Line, Seeds, curves, means
from experiments.drawing import Axis, Picture, Theme, axes, document, path, text
from experiments.khop.table import chosen, title
from experiments.tables import group_by

LINES = {  # wiring and init -> its line
    ("none", "wiring"): PLAIN,
    ("none", "self"): REPAIRED,
    ("pre", "wiring"): SKIPS,
}
GUESS = 1 / 6  # a circle of seven does not lead back within three hops


def shares(result: dict) -> dict[str, dict[Line, Seeds]]:
    """Hops -> line -> depth -> the shares of the seeds that did not diverge, at the best rate of a depth."""
    found: dict[str, dict[Line, Seeds]] = {}
    for arm, line in LINES.items():
        runs = [run for run in result["runs"] if (run["residual"], run["init"]) == arm]
        for (depth,), members in sorted(group_by(runs, "n_layer").items()):
            for run in chosen(members)[1]:
                for hop, share in run.get("accuracy", {}).items():
                    found.setdefault(hop, {}).setdefault(line, {}).setdefault(depth, []).append(share)
    return dict(sorted(found.items()))


def khop(theme: Theme, result: dict) -> str:
    by_hop, parts = shares(result), []
    depths = sorted({n for lines in by_hop.values() for line in lines.values() for n in line})
    for k, (hop, lines) in enumerate(by_hop.items()):
        x, y = Axis(depths[0], depths[-1], 60 + 272 * k, 280 + 272 * k, log=True), Axis(0, 1, 330, 92)
        ticks = {n: f"{n}" for n in depths}, {n / 4: f"{n / 4:g}" for n in range(5)}
        parts.append(axes(theme, x, y, ticks, ("layers", "")))
        parts.append(text(x.start, y.end - 16, title(hop), theme.ink, 16, weight=700))
        parts.append(path([(x.start, y(GUESS)), (x.end, y(GUESS))], theme.soft, 1.5, "2 5"))
        parts += curves(theme, x, y, lines)
    parts.append(text(24, 32, "share of right answers:", theme.ink, 14))
    for line, left in zip(LINES.values(), (192, 396, 604), strict=True):
        parts.append(text(left, 32, line.name, theme.arms[line.colour], 14, weight=700))
    parts.append(path([(704, 27), (734, 27)], theme.soft, 1.5, "2 5"))
    parts.append(text(742, 32, f"a guess: {GUESS:.2f}", theme.soft, 14))
    return document(theme, 385, alt(result), *parts)


def alt(result: dict) -> str:
    told = []
    for hop, lines in shares(result).items():
        each = [
            f"{line.name} " + ", ".join(f"{mean:.2f} at {n}" for n, mean in means(seeds).items())
            for line, seeds in lines.items()
        ]
        told.append(f"{title(hop)}: {', '.join(each)} layers")
    return f"The share of right answers over the number of layers, {'; '.join(told)}; a guess: {GUESS:.2f}."


PICTURES = {"khop": Picture(khop, alt)}
