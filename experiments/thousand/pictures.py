"""The validation loss over 1 to 1000 layers, each wiring at the best of its rates for each depth."""

import math

from experiments.depth import Line, Seeds, means, over_depth
from experiments.drawing import Picture, Theme
from experiments.tables import best_rate, final_loss, group_by, mean

LINES = {  # wiring -> its line; all with Muon
    "none": Line("none", "without skips"),
    "pre": Line("pre", "with skips (pre)"),
    "depth_mup": Line("other", "with skips (depth_mup)"),
    "completep": Line("other", "with skips (completep)", "9 6"),
    "depth_scaled": Line("pre", "with skips (depth_scaled)", "9 6"),
    "keel": Line("pre", "with skips (keel)", "2 6"),
}


def losses(result: dict) -> dict[Line, Seeds]:
    """The validation losses of all seeds, by line and depth, each depth at the best of its rates by the seeds
    that all of them have."""
    lines: dict[Line, Seeds] = {}
    runs = [run for run in result["runs"] if run["optimizer"] == "muon" and run["residual"] in LINES]
    for (wiring, layers), of_rates in sorted(group_by(runs, "residual", "n_layer").items()):
        seeds = [{run["seed"] for run in runs} for runs in group_by(of_rates, "muon_lr").values()]
        shared = [run for run in of_rates if run["seed"] in set.intersection(*seeds)]
        rate, _ = best_rate(shared, "muon_lr")  # a rate with one seed is no better for it
        best = [final_loss(run) for run in of_rates if run["muon_lr"] == rate]
        lines.setdefault(LINES[wiring], {})[layers] = best
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
    return (
        "The validation loss over the number of layers, each depth at the best rate of its blocks, "
        f"{'; '.join(told)}. Dotted: {others}."
    )


PICTURES = {"thousand": Picture(thousand, alt)}
