"""Which skips a stack needs: each choice of them at the best rate of its blocks."""

from experiments.tables import (
    BEST_RATE,
    Table,
    at_best_rate,
    final_loss,
    group_by,
    markdown,
    mean,
    of_grid,
    origin,
)

KEYS = ("residual", "attn_residual", "mlp_residual", "skip_blocks")
PARTIAL = ("partial_skips", "", "")
NAMES = {  # wirings and skip_blocks -> the name of the row, and the number of skips
    ("pre", "", ""): ("all", 24),
    ("pre", "", "none"): ("attention", 12),
    ("pre", "none", ""): ("MLP", 12),
    ("block_skip", "", ""): ("one around attention and MLP together (`block_skip`)", 12),
    (*PARTIAL, "first:6"): ("the first six blocks", 12),
    (*PARTIAL, "last:6"): ("the last six blocks", 12),
    (*PARTIAL, "every:2"): ("every second block", 12),
    (*PARTIAL, "every:3"): ("every third block", 8),
    (*PARTIAL, "every:4"): ("every fourth block", 6),
    ("none", "", ""): ("none", 0),
}


def chosen(result: dict) -> dict[tuple[str, int], tuple[str, list[float]]]:
    """(name, number of skips) -> the best rate and the validation losses there."""
    arms, best = group_by(result["runs"], *KEYS), {}
    for arm, choice in NAMES.items():
        (runs,) = (runs for key, runs in arms.items() if key[: len(arm)] == arm)
        best[choice] = at_best_rate(runs, "muon_lr")
    return best


def known(result: dict) -> dict[str, float]:
    """What all choices are compared with: the validation losses of the control and of letter frequencies."""
    silent = mean([final_loss(run) for run in of_grid(result, "silent")])
    return {"silent": silent, "unigram": result["baselines_nats"]["unigram"]["val"]}


def which_skip(result: dict) -> str:
    """Validation loss of each choice of skips: mean and range of the seeds at its best rate."""
    silent, unigram = known(result).values()
    rows = []
    for (name, skips), (rate, losses) in chosen(result).items():
        row = [name, str(skips), rate, f"{mean(losses):.3f}", f"{min(losses):.3f} to {max(losses):.3f}"]
        rows.append([*row, f"{mean(losses) - unigram:+.3f}", f"{mean(losses) - silent:+.3f}"])
    head = [
        "skips around",
        "how many",
        "block rate",
        "val loss",
        "from, to",
        "minus unigram",
        "minus `silent`",
    ]
    return markdown(head, rows) + f"\n{BEST_RATE}\n" + origin(result)


TABLES = {"which_skip": Table(which_skip)}
