"""One sentence that says what a run has learned, from its losses, their standard errors and its baselines."""

import math

MANY_ERRORS = 2  # standard errors within which a difference is called none
SPARSE = 0.3  # nats of the bigram baseline, val - train, from which its pairs were seen too seldom to count


def side(loss: float, error: float, baseline: float) -> int:
    """-1 for a loss below a baseline, 1 for one above it, 0 for a difference within two standard errors."""
    difference = loss - baseline
    return 0 if abs(difference) <= MANY_ERRORS * error else int(math.copysign(1, difference))


def crossing(rows: list[dict], baseline: float) -> int | None:
    """The first evaluated step whose validation loss is below a baseline by more than two standard errors."""
    for row in rows:
        loss = row.get("val/loss")
        if loss is not None and side(loss, row.get("val/loss_se") or 0.0, baseline) < 0:
            return row["step"]
    return None


def last_fall(rows: list[dict], split: str) -> tuple[float, int] | None:
    """By how much a split's loss fell between the last two evaluations, and the updates between them.

    None where fewer than two were made, or where the fall is within two standard errors.
    """
    evaluated = [row for row in rows if row.get(f"{split}/loss") is not None]
    if len(evaluated) < 2:
        return None
    before, now = evaluated[-2:]
    fall = before[f"{split}/loss"] - now[f"{split}/loss"]
    error = now.get(f"{split}/loss_se") or 0.0
    return (fall, now["step"] - before["step"]) if fall > MANY_ERRORS * error else None


def diagnosis(rows: list[dict], baselines: dict) -> str:
    """What a stack has learned, by its newest evaluation.

    Args:
        rows: the run's metrics; train/loss, val/loss (nats per token) and their _se are read.
        baselines: {"uniform": x, "unigram": {split: x}, "bigram": {split: x}} in nats per token.
    """
    evaluated = [row for row in rows if "val/loss" in row and "train/loss" in row]
    if not evaluated:
        return "no evaluation yet"
    row = evaluated[-1]
    loss, error = row["val/loss"], row.get("val/loss_se") or 0.0
    uniform, unigram, bigram = baselines["uniform"], baselines["unigram"]["val"], baselines["bigram"]["val"]
    known = f"bigram {bigram:.3f}, unigram {unigram:.3f}, uniform {uniform:.3f}"
    if loss is None or not math.isfinite(loss):
        return f"val {'nan' if loss is None else format(loss, '.3f')} ({known}): this stack diverged"
    start = f"val {loss:.3f} ± {error:.3f} ({known}): "
    if side(loss, error, uniform) > 0:
        return f"{start}worse than guessing evenly{_slope(rows)}"
    if side(loss, error, unigram) > 0:
        text = (
            f"{loss - unigram:.3f} nats above the unigram baseline; the token frequencies are not learned yet"
        )
        return start + text + _slope(rows)
    if side(loss, error, unigram) == 0:
        text = "within two standard errors of the unigram baseline; "
        text += "this stack learned token frequencies and nothing more that can be told"
        return start + text + (_slope(rows) or _stuck(rows, row, baselines))
    if side(loss, error, bigram) > 0:
        return f"{start}between unigram and bigram; it uses context worth less than the one token before"
    where, means = f"{bigram - loss:.3f} nats below the bigram baseline", "it uses more than one token"
    if side(loss, error, bigram) == 0:
        where, means = "within two standard errors of the bigram baseline", "it uses context worth one token"
    on_train = baselines["bigram"].get("train", bigram)
    if bigram - on_train > SPARSE:  # then embeddings and a head alone may learn pairs better
        return f"{start}{where}, for which pairs are too rare here (train {on_train:.3f})"
    return f"{start}{where}; {means}"


def _slope(rows: list[dict]) -> str:
    """That the loss was still falling, where it was; training may then simply be too short."""
    for split, name in (("val", "validation"), ("train", "training")):
        if fall := last_fall(rows, split):
            return f"; the {name} loss still fell by {fall[0]:.3f} in the last {fall[1]} updates"
    return ""


def _stuck(rows: list[dict], row: dict, baselines: dict) -> str:
    """That it is not overfitting, where the training loss has stopped at its own baseline too."""
    loss, error = row["train/loss"], row.get("train/loss_se") or 0.0
    evaluations = sum(row.get("train/loss") is not None for row in rows)
    if loss is None or evaluations < 2 or side(loss, error, baselines["unigram"]["train"]) < 0:
        return ""
    return f"; the training loss {loss:.3f} is stuck there too, so it is not overfitting"
