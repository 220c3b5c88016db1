"""The training loss over depth, of three kinds of stacks."""

from experiments.depth import Seeds, over_depth
from experiments.drawing import Picture, Theme
from experiments.tables import of_grid

LINES = {  # grid -> the colour and the name of its line
    "plain": ("none", "without skips, standard"),
    "start": ("other", "without skips, repaired"),
    "skips": ("pre", "with skips"),
}


def losses(result: dict) -> dict[tuple[str, str], Seeds]:
    """The training losses of all seeds, by line and depth."""
    lines: dict[tuple[str, str], Seeds] = {line: {} for line in LINES.values()}
    for grid, line in LINES.items():
        for run in of_grid(result, grid):
            lines[line].setdefault(run["n_layer"], []).append(run["train/loss"])
    return lines


def degradation(theme: Theme, result: dict) -> str:
    unigram = result["baselines_nats"]["unigram"]["train"]
    name = "training loss, nats per character"
    return over_depth(theme, losses(result), {"letter frequencies": unigram}, name, alt(result))


def alt(result: dict) -> str:
    lines = losses(result)
    depths = sorted(lines["pre", "with skips"])
    told = []
    for (_, name), line in lines.items():
        first, last = (sum(line[depth]) / len(line[depth]) for depth in (depths[0], depths[-1]))
        told.append(f"{name}: from {first:.2f} to {last:.2f}")
    return (
        f"The training loss after {result['runs'][0]['step']} updates, from {depths[0]} layer to "
        f"{depths[-1]} layers. {'; '.join(told).capitalize()}. Letter frequencies alone give "
        f"{result['baselines_nats']['unigram']['train']:.2f}."
    )


PICTURES = {"degradation": Picture(degradation, alt)}
