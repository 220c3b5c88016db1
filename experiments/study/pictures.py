"""The training loss over depth, each stack at the best of its learning rates."""

from experiments.depth import Line, Seeds, means, over_depth
from experiments.drawing import Picture, Theme
from experiments.study.table import best_rates
from experiments.tables import mean_of
from reslab.report.figure import SPOKEN

LINES = {arm: Line(arm, SPOKEN[arm]) for arm in ("none", "pre")}


def losses(result: dict) -> dict[Line, Seeds]:
    """The training losses of the seeds at the best rate, by line and depth."""
    lines: dict[Line, Seeds] = {line: {} for line in LINES.values()}
    for (arm, depth), (_, runs) in sorted(best_rates(result).items()):
        if arm in LINES:
            lines[LINES[arm]][depth] = [run["train/loss"] for run in runs]
    return lines


def baselines(result: dict) -> dict[str, float]:
    """The training losses of the control and of both frequency tables, by name."""
    _, silent = best_rates(result)["silent", 1]
    named = {"no blocks": mean_of(silent, "train/loss")}
    for name, key in {"letter frequencies": "unigram", "pairs of letters": "bigram"}.items():
        named[name] = result["baselines_nats"][key]["train"]
    return named


def depth(theme: Theme, result: dict) -> str:
    name = "training loss, nats per character"
    return over_depth(theme, losses(result), baselines(result), name, alt(result))


def alt(result: dict) -> str:
    told = []
    for line, seeds in losses(result).items():
        each = (f"{loss:.2f} at {n}" for n, loss in means(seeds).items())
        told.append(f"{line.name} it is {', '.join(each)}")
    below = ", ".join(f"{name} {loss:.2f}" for name, loss in baselines(result).items())
    return (
        "The training loss over the number of layers, each stack at its best learning rate: "
        f"{'; '.join(told)}. For comparison: {below}."
    )


PICTURES = {"study_depth": Picture(depth, alt)}
