"""The training loss over depth, each stack at the best of its learning rates."""

from experiments.depth import Line, Seeds, over_depth
from experiments.drawing import Picture, Theme
from experiments.study.table import best_rates
from reslab.report.figure import SPOKEN

LINES = {arm: Line(arm, SPOKEN[arm]) for arm in ("none", "pre")}


def losses(result: dict) -> dict[Line, Seeds]:
    """The training loss at the best rate, by line and depth: one seed."""
    lines: dict[Line, Seeds] = {line: {} for line in LINES.values()}
    for (arm, depth), run in sorted(best_rates(result).items()):
        lines[LINES[arm]][depth] = [run["train/loss"]]
    return lines


def depth(theme: Theme, result: dict) -> str:
    known = {"letter frequencies": "unigram", "pairs of letters": "bigram"}
    baselines = {name: result["baselines_nats"][key]["train"] for name, key in known.items()}
    return over_depth(theme, losses(result), baselines, "training loss, nats per character", alt(result))


def alt(result: dict) -> str:
    told = []
    for line, seeds in losses(result).items():
        each = (f"{loss:.2f} at {n}" for n, (loss,) in sorted(seeds.items()))
        told.append(f"{line.name} it is {', '.join(each)}")
    unigram, bigram = (result["baselines_nats"][name]["train"] for name in ("unigram", "bigram"))
    return (
        "The training loss over the number of layers, each stack at its best learning rate: "
        f"{'; '.join(told)}. Letter frequencies alone give {unigram:.2f}, pairs of letters {bigram:.2f}."
    )


PICTURES = {"study_depth": Picture(depth, alt)}
