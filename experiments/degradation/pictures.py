"""The training loss over depth of three kinds of stacks, and where five kinds learn."""

from experiments.degradation import trainability
from experiments.degradation.table import at_one_rate
from experiments.depth import PLAIN, REPAIRED, SKIPS, Line, Seeds, means, over_depth
from experiments.drawing import Picture, Theme
from experiments.tables import mean_of, of_grid

LINES = {  # grid -> its line
    "plain": PLAIN,
    "start": REPAIRED,
    "skips": SKIPS,
}


def losses(result: dict) -> dict[Line, Seeds]:
    """The training losses of all seeds at one rate, by line and depth."""
    lines: dict[Line, Seeds] = {line: {} for line in LINES.values()}
    for grid, line in LINES.items():
        for run in at_one_rate(result, grid):
            lines[line].setdefault(run["n_layer"], []).append(run["train/loss"])
    return lines


def baselines(result: dict) -> dict[str, float]:
    """The training losses of the control and of letter frequencies, by name."""
    silent = mean_of(of_grid(result, "silent"), "train/loss")
    return {"no blocks": silent, "letter frequencies": result["baselines_nats"]["unigram"]["train"]}


def degradation(theme: Theme, result: dict) -> str:
    name = "training loss, nats per character"
    return over_depth(theme, losses(result), baselines(result), name, alt(result))


def alt(result: dict) -> str:
    lines = losses(result)
    depths = sorted(lines[LINES["skips"]])
    told = []
    for line, seeds in lines.items():
        first, *_, last = means(seeds).values()
        told.append(f"{line.name}: from {first:.2f} to {last:.2f}")
    below = ", ".join(f"{name} {loss:.2f}" for name, loss in baselines(result).items())
    return (
        f"The training loss after {result['runs'][0]['step']} updates, from {depths[0]} layer to "
        f"{depths[-1]} layers. {'; '.join(told).capitalize()}. For comparison: {below}."
    )


PICTURES = {
    "degradation": Picture(degradation, alt),
    "trainability": Picture(trainability.draw, trainability.alt),
}
