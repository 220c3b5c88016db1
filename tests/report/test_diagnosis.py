"""The one sentence about a run: it knows the standard errors and whether the loss was still falling."""

import math

import pytest

from reslab.report.diagnosis import crossing, diagnosis, last_fall, side

BASELINES = {"uniform": 4.0, "unigram": {"train": 2.9, "val": 3.0}, "bigram": {"train": 2.3, "val": 2.5}}
WORSE, NOT_YET = "worse than guessing evenly", "above the unigram baseline; the token frequencies are not"
ON_UNIGRAM, STUCK = "and nothing more that can be told", "is stuck there too, so it is not overfitting"
BETWEEN, ON_BIGRAM = "between unigram and bigram", "within two standard errors of the bigram baseline"
BELOW = "nats below the bigram baseline; it uses more than one token"


def evaluations(*losses, error=0.02, interval=20) -> list[dict]:
    """Rows of metrics from pairs (train, val)."""
    return [
        {"step": k * interval, "train/loss": train, "val/loss": val}
        | {"train/loss_se": error, "val/loss_se": error}
        for k, (train, val) in enumerate(losses)
    ]


def test_losses_without_errors_are_what_they_are():
    for val, expected in ((4.001, WORSE), (3.001, NOT_YET), (2.999, BETWEEN), (2.499, BELOW)):
        rows = evaluations((3.9, 4.2), (2.899, val))
        for row in rows:
            del row["train/loss_se"], row["val/loss_se"]
        assert expected in diagnosis(rows, BASELINES)
        assert last_fall(rows, "val") == (pytest.approx(4.2 - val), 20)
        assert crossing(rows, 3.0) == (20 if val < 3 else None)
    rows[-1]["val/loss"] = 3.0
    assert STUCK not in diagnosis(rows[-1:] * 2, BASELINES), "its training loss is below its baseline"


@pytest.mark.parametrize(
    ("train", "val", "expected"),
    [
        (3.9, 4.05, WORSE),
        (3.9, 4.03, NOT_YET),  # within two standard errors of uniform, far above unigram
        (2.9, 3.05, NOT_YET),
        (2.9, 3.03, STUCK),
        (2.9, 2.97, STUCK),
        (2.85, 3.0, ON_UNIGRAM),  # the training loss is below its own baseline: it overfits
        (2.9, 2.95, BETWEEN),
        (2.9, 2.55, BETWEEN),
        (2.9, 2.53, ON_BIGRAM),
        (2.9, 2.47, ON_BIGRAM),
        (2.9, 2.45, BELOW),
    ],
)
def test_a_difference_within_two_standard_errors_is_none(train, val, expected):
    text = diagnosis(evaluations((train, val), (train, val)), BASELINES)
    assert text.startswith(f"val {val:.3f} ± 0.020 (bigram 2.500, unigram 3.000, uniform 4.000): ")
    assert expected in text and (STUCK in text) is (expected == STUCK)
    assert (f"{val - 3.0:.3f} nats above the unigram" in text) is (expected == NOT_YET)
    assert (f"{2.5 - val:.3f} nats below the bigram" in text) is (expected == BELOW)


def test_a_loss_within_its_error_of_the_bigram_baseline_is_not_below_it():
    rows = evaluations((2.4, 2.508), (2.4, 2.508), error=0.052)
    assert "more than one token" not in diagnosis(rows, BASELINES | {"bigram": {"train": 2.4, "val": 2.521}})


@pytest.mark.parametrize("val", [2.3, 2.5])
def test_where_pairs_are_too_rare_to_count_their_baseline_proves_nothing(val):
    """Of words: on WikiText-2 a model without any block ends below the bigram baseline."""
    rare = BASELINES | {"bigram": {"train": 1.5, "val": 2.5}}
    said, usual = (diagnosis(evaluations((val, val)), known) for known in (rare, BASELINES))
    assert said.endswith("the bigram baseline, for which pairs are too rare here (train 1.500)")
    assert "; it uses " in usual and "it uses" not in said


@pytest.mark.parametrize(("before", "falls"), [(3.15, True), (3.06, True), (3.03, False), (2.99, False)])
def test_a_run_whose_loss_still_falls_is_not_stuck(before, falls):
    text = diagnosis(evaluations((2.95, before), (2.95, 3.0)), BASELINES)
    assert (f"validation loss still fell by {before - 3.0:.3f} in the last 20 updates" in text) is falls
    assert (STUCK in text) is not falls
    assert STUCK not in diagnosis(evaluations((2.95, 3.0)), BASELINES)  # one evaluation knows no slope


def test_a_training_loss_that_falls_alone_is_told():
    text = diagnosis(evaluations((3.1, 3.0), (2.9, 3.0)), BASELINES)
    assert "the training loss still fell by 0.200 in the last 20 updates" in text and STUCK not in text


def test_a_loss_that_rises_does_not_fall():
    assert last_fall(evaluations((2.0, 3.0), (2.0, 3.5)), "val") is None
    assert last_fall(evaluations((2.0, 3.5), (2.0, 3.0)), "val") == (0.5, 20)


def test_a_fall_is_that_between_the_last_two_evaluations():
    """A run that came down from far above and has stopped is stuck."""
    assert STUCK in diagnosis(evaluations((5.0, 5.2), (2.95, 3.01), (2.95, 3.0)), BASELINES)
    text = diagnosis(evaluations((2.95, 3.0), (3.4, 3.4), (2.95, 3.0)), BASELINES)
    assert "validation loss still fell by 0.400 in the last 20 updates" in text


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_no_number_is_a_divergence(loss):
    assert "this stack diverged" in diagnosis(evaluations((2.0, loss)), BASELINES)
    assert diagnosis([], BASELINES) == "no evaluation yet"


def test_what_crossed_a_baseline_is_what_the_diagnosis_calls_below_it():
    rows = evaluations((3.0, 3.2), (3.0, 2.99), (3.0, 2.97))
    assert crossing(rows, 3.0) is None and ON_UNIGRAM in diagnosis(rows, BASELINES)
    rows += evaluations((2.9, 2.95))
    assert crossing(rows, 3.0) == 0 and BETWEEN in diagnosis(rows, BASELINES)
    assert [side(loss, 0.1, 3.0) for loss in (2.79, 2.81, 3.0, 3.19, 3.21)] == [-1, 0, 0, 0, 1]
