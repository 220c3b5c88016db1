"""The validation loss over 1 to 1000 layers."""

import math

from experiments.depth import Line, Seeds, means, over_depth
from experiments.drawing import Picture, Theme
from experiments.tables import final_loss, mean

LINES = {  # wiring and rate of the blocks -> its line; all with Muon
    ("none", 0.02): Line("none", "without skips"),
    ("pre", 0.02): Line("pre", "with skips, rate 0.02"),
    ("pre", 0.002): Line("pre", "with skips, rate 0.002", "9 6"),
    ("depth_mup", 0.02): Line("other", "depth_mup, rate 0.02"),
    ("depth_mup", 0.06): Line("other", "depth_mup, rate 0.06", "9 6"),
}


def losses(result: dict) -> dict[Line, Seeds]:
    """The validation losses of all seeds, by line and depth."""
    lines: dict[Line, Seeds] = {}
    for run in result["runs"]:
        if run["optimizer"] == "muon" and (line := LINES.get((run["residual"], run["muon_lr"]))):
            lines.setdefault(line, {}).setdefault(run["n_layer"], []).append(final_loss(run))
    return lines


def known(result: dict) -> dict[str, float]:
    """What a stack without blocks and the baselines have."""
    silent = mean([final_loss(run) for run in result["runs"] if run["residual"] == "silent"])
    unigram, bigram = (result["baselines_nats"][name]["val"] for name in ("unigram", "bigram"))
    return {"no blocks": silent, "letter frequencies": unigram, "pairs of letters": bigram}


def thousand(theme: Theme, result: dict) -> str:
    name = "validation loss, nats per character"
    return over_depth(theme, losses(result), known(result), name, alt(result))


def alt(result: dict) -> str:
    told = []
    for line, seeds in losses(result).items():
        each = [f"{mean:.2f} at {n}" for n, mean in means(seeds).items()]
        lost = {n: (seeds[n].count(math.inf), len(seeds[n])) for n in sorted(seeds) if math.inf in seeds[n]}
        each += [f"{count} of {of} seeds diverged at {n}" for n, (count, of) in lost.items()]
        told.append(f"{line.name}: {', '.join(each)}")
    others = ", ".join(f"{name} {loss:.2f}" for name, loss in known(result).items())
    return f"The validation loss over the number of layers, {'; '.join(told)}. Dotted: {others}."


PICTURES = {"thousand": Picture(thousand, alt)}
