"""Losses over the number of layers, as a picture: a line for each kind of stack."""

from experiments.drawing import WIDTH, Axis, Theme, axes, document, dot, path, text

Seeds = dict[int, list[float]]  # number of layers -> the losses of the seeds


def over_depth(
    theme: Theme,
    lines: dict[tuple[str, str], Seeds],
    baselines: dict[str, float],
    name: str,
    words: str,
) -> str:
    """Means as lines, each seed as a dot, baselines dotted. Each line has its name at its right end.

    Args:
        lines: (colour, name) -> its losses.
        baselines: name -> loss.
        name: of the loss.
        words: the alternative text.
    """
    depths = sorted({depth for line in lines.values() for depth in line})
    losses = [loss for line in lines.values() for seeds in line.values() for loss in seeds]
    low, high = min([*losses, *baselines.values()]), max([*losses, *baselines.values()])
    x, y = Axis(depths[0], depths[-1], 60, WIDTH - 270, log=True), Axis(low - 0.05, high + 0.05, 330, 64)
    tenths = range(round(10 * low) // 2 * 2, round(10 * high) + 1, 2)
    ticks = (
        {n: f"{n}" for n in depths},
        {n / 10: f"{n / 10:.1f}" for n in tenths if y.low <= n / 10 <= y.high},
    )
    parts = [axes(theme, x, y, ticks, ("layers", name))]
    ends = {f"{known} {loss:.2f}": (y(loss), theme.soft) for known, loss in baselines.items()}
    for loss in baselines.values():
        parts.append(path([(x.start, y(loss)), (x.end, y(loss))], theme.soft, 1.5, "2 5"))
    for (colour, label), line in lines.items():
        means = {depth: sum(seeds) / len(seeds) for depth, seeds in sorted(line.items())}
        parts.append(path([(x(depth), y(mean)) for depth, mean in means.items()], theme.arms[colour]))
        parts += [
            dot(x(depth), y(loss), theme.arms[colour]) for depth, seeds in line.items() for loss in seeds
        ]
        ends[label] = y(list(means.values())[-1]), theme.arms[colour]
    for label, (place, colour) in apart(ends).items():
        parts.append(text(x.end + 14, place + 5, label, colour, 16, weight=600))
    return document(theme, 385, words, *parts)


def apart(labels: dict[str, tuple[float, str]], gap: float = 21) -> dict[str, tuple[float, str]]:
    """Labels at their heights, moved down where two would lie on each other."""
    moved: dict[str, tuple[float, str]] = {}
    below = -gap
    for label, (height, colour) in sorted(labels.items(), key=lambda entry: entry[1][0]):
        below = max(height, below + gap)
        moved[label] = below, colour
    return moved
