"""All wirings at 12 layers, each at the best of its rates for the blocks, and all at one rate."""

import math

from experiments.tables import (
    BEST_RATE,
    Table,
    at_best_rate,
    control_line,
    final_loss,
    group_by,
    markdown,
    mean,
    of_grid,
    origin,
    over_seeds,
    with_rates,
)

# The results, and the learning rate of all runs of one, which its rows don't repeat.
ONE_RATE = {"one_rate": None, "one_rate_fast": 1e-2, "one_rate_calm": 3e-4}


def spread(groups: list[list[float]]) -> float:
    """The standard deviation over seeds that all wirings share; one that diverged has no part in it."""
    groups = [losses for losses in groups if math.isfinite(sum(losses))]
    squares = sum((loss - mean(losses)) ** 2 for losses in groups for loss in losses)
    return math.sqrt(squares / sum(len(losses) - 1 for losses in groups))


def league(result: dict) -> tuple[dict[str, tuple[str, list[float]]], float]:
    """The best rate of each wiring and its losses there, the lowest mean first; and the error of a mean."""
    best = {
        name: at_best_rate(runs, "block_lr") for (name,), runs in group_by(result["runs"], "residual").items()
    }
    error = spread([losses for _, losses in best.values()]) / math.sqrt(len(best["pre"][1]))
    return dict(sorted(best.items(), key=lambda entry: mean(entry[1][1]))), error


def noise(error: float) -> float:
    """The difference between two means up to which they are called equal: two of its standard errors."""
    return 2 * math.sqrt(2) * error


def wirings(result: dict) -> str:
    """A row for each wiring, the lowest mean over seeds first."""
    best, error = league(result)
    means = {name: mean(losses) for name, (_, losses) in best.items()}

    def against(name: str, other: str) -> str:
        difference = means[name] - means[other]
        return "" if name == other else f"{difference:+.3f}" + ", equal" * (abs(difference) <= noise(error))

    rows = [
        [
            f"`{name}`",
            "" if name == "silent" else best[name][0],
            f"{means[name]:.3f}",
            *(against(name, other) for other in ("pre", "none", "silent")),
        ]
        for name in means
    ]
    head = ["wiring", "block rate", "val loss", "minus `pre`", "minus `none`", "minus `silent`"]
    note = (
        f"\nMeans of {len(best['pre'][1])} seeds, ± {2 * error:.3f}: two standard errors, by the spread that "
        f"the seeds of all wirings share. A difference of {noise(error):.3f} or less is called equal. "
        f"{BEST_RATE}\n"
    )
    return markdown(head, rows) + note + origin(result)


def one_rate(*results: dict) -> str:
    """A row for each wiring, and a column for each rate of all weights, over the seeds; the lowest mean
    first."""
    runs = group_by(with_rates(ONE_RATE, results), "residual", "learning_rate")
    rates, means = sorted({rate for _, rate in runs}), {}
    for (name, _), seeds in runs.items():
        means.setdefault(name, []).append(mean(list(map(final_loss, seeds))))
    least = {name: min(of_rates) for name, of_rates in means.items()}
    rows = [
        [f"`{name}`", *(over_seeds(runs.get((name, rate), [])) for rate in rates)]
        + [f"{least[name] - least[other]:+.3f}" for other in ("pre", "silent")]
        for name in sorted(least, key=least.get)
    ]
    columns = [f"rate {rate:g}" for rate in rates]
    head = ["wiring", *columns, "best minus `pre`", "best minus `silent`"]
    unigram = results[0]["baselines_nats"]["unigram"]["val"]
    origins = "".join(map(origin, results))
    return markdown(head, rows) + f"\nThe unigram baseline is {unigram:.3f}.\n" + origins


def start(result: dict, wide: dict) -> str:
    """Two wirings from two starts, over the rates of the blocks."""
    named = {"the usual one": result["runs"], "std 1 / sqrt(inputs)": wide["runs"]}
    rates = sorted({run["block_lr"] for run in wide["runs"]})
    rows = []
    for name in ("pre", "none"):
        for begin, runs in named.items():
            groups = group_by([run for run in runs if run["residual"] == name], "block_lr")
            cells = [over_seeds(groups[rate,]) if (rate,) in groups else "" for rate in rates]
            rows.append([f"`{name}`", begin, *cells])
    head = ["wiring", "start", *(f"block rate {rate:g}" for rate in rates)]
    silent = control_line(result, of_grid(result, "silent"))
    return markdown(head, rows) + silent + origin(wide)


TABLES = {
    "wirings_start": Table(start, ("result", "start")),
    "wirings": Table(wirings),
    "wirings_one_rate": Table(one_rate, tuple(ONE_RATE)),
}
