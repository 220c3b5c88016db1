"""WikiText-2 by its words: pre-norm and ReZero, beside what ReZero's authors print."""

from experiments.tables import Table, best_rate, by_rate, group_by, markdown, origin, over_seeds, source

# After one pass, in the notebook that config/rezero.py names.
PUBLISHED = {("pre", 12): 243, ("rezero", 12): 228, ("rezero", 128): 211}


def rezero(result: dict) -> str:
    """A row for each rate of a stack."""
    rows = []
    grouped = group_by(result["runs"], "residual", "n_layer", "learning_rate")
    for (wiring, layers, rate), runs in sorted(grouped.items()):
        depth = "no blocks" if wiring == "silent" else f"{layers}"
        published = PUBLISHED.get((wiring, layers), "")
        rows.append([f"`{wiring}`", depth, f"{rate:g}", *_ends(runs), f"{published}"])
    head = ["wiring", "layers", "learning rate", "val loss", "perplexity per word, each seed", "published"]
    return markdown(head, rows) + origin(result)


def _ends(runs: list[dict]) -> list[str]:
    """Loss and perplexity: of one seed with the loss's standard error over the evaluation sequences, of
    several the mean and range of the loss; one that diverged has none."""
    ended = perplexities(runs)
    error = f" ± {runs[0]['val/loss_se']:.3f}" if len(ended) == len(runs) == 1 else ""
    return [over_seeds(runs) + error, seed_by_seed(ended)]


def per_word(runs: list[dict]) -> str:
    """The perplexity per word of each seed; a mean would hide that one of them failed."""
    return seed_by_seed(perplexities(runs)) or "diverged"


def seed_by_seed(values: list[float]) -> str:
    return ", ".join(f"{value:.0f}" for value in values)


def perplexities(runs: list[dict]) -> list[float]:
    """Those of the runs that did not diverge, in the order of their seeds."""
    ended = [run for run in runs if run["val/loss"] is not None]
    return [run["val/word_perplexity"] for run in sorted(ended, key=lambda run: run["seed"])]


def best(result: dict) -> dict[tuple[str, int], list[dict]]:
    """(wiring, layers) -> the runs at the rate of the lowest training loss."""
    stacks = group_by(result["runs"], "residual", "n_layer")
    return {stack: best_rate(runs, "learning_rate")[1] for stack, runs in stacks.items()}


def begun(result: dict, other_ways: dict) -> str:
    """The validation loss of each seed of the deepest stack after its first updates, and in other ways."""
    ways = {"as `rezero` is": result["runs"]}
    ways |= {way: runs for (way,), runs in group_by(other_ways["runs"], "way").items()}
    losses = {way: {run["seed"]: over_seeds([run]) for run in runs} for way, runs in ways.items()}
    seeds = sorted({run["seed"] for run in result["runs"]})
    rows = [[f"{seed}", *(own.get(seed, "") for own in losses.values())] for seed in seeds]
    (updates,) = {run["step"] for runs in ways.values() for run in runs}
    head = [f"after {updates} updates: seed", *losses]
    return markdown(head, rows) + origin(result) + source(other_ways)


def starts(result: dict, fan_in: dict, silent: dict) -> str:
    """Pre-norm from two starts and no blocks, over Adagrad's rate.

    Args:
        result: has pre-norm from GPT-2's start and no blocks, at the authors' rate.
        fan_in: pre-norm from matrices of std 1 / sqrt(inputs).
        silent: no blocks at further rates.
    """
    own = [run for run in result["runs"] if run["residual"] == "pre"]
    control = [run for run in result["runs"] if run["residual"] == "silent"] + silent["runs"]
    rows = by_rate([own, fan_in["runs"], control], "learning_rate")
    head = ["learning rate", "`pre`, std 0.02", "`pre`, std 1 / sqrt(inputs)", "no blocks (`silent`)"]
    return markdown(head, rows) + origin(fan_in) + origin(silent)


TABLES = {
    "rezero_begun": Table(begun, ("begun", "first_updates")),
    "rezero": Table(rezero),
    "rezero_starts": Table(starts, ("result", "fan_in", "silent")),
    "rezero_adamw": Table(rezero, ("adamw",)),
}
