"""Baselines that need no training, against counts by a loop, and the sentence that reads a run by them."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from reslab.data import baselines
from reslab.data.baselines import Baselines, diagnosis, split_baselines

V = 12


def by_loop(fit: list[int], read: list[int]) -> tuple[float, float]:
    """Unigram and bigram cross-entropy of `read`, fitted on `fit`, from their definitions."""
    ones, pairs, firsts = Counter(fit), Counter(itertools.pairwise(fit)), Counter(fit[:-1])
    p = [(ones[b] + 1) / (len(fit) + V) for b in range(V)]
    both = list(itertools.pairwise(read))
    unigram = -sum(math.log(p[b]) for _, b in both) / len(both)
    bigram = -sum(math.log((pairs[a, b] + p[b]) / (firsts[a] + 1)) for a, b in both) / len(both)
    return unigram, bigram


@pytest.fixture(params=["dense", "sparse", "in pieces"])
def kind(request, monkeypatch):
    if request.param == "sparse":
        monkeypatch.setattr(baselines, "DENSE_LIMIT", V - 1)
    if request.param == "in pieces":
        monkeypatch.setattr(baselines, "CHUNK", 7)
    return request.param


def draws(count: int, seed: int) -> np.ndarray:
    """Ids of which some never occur, each likelier after its neighbour, ending on one that is rare."""
    random = np.random.default_rng(seed)
    ids = np.cumsum(random.integers(0, 3, count)) % (V - 3)
    ids[-1] = V - 1 - seed
    return ids.astype(np.uint16)


def test_both_splits_are_read_by_counts_of_the_training_split(kind):
    train, val = draws(500, 0), draws(90, 1)
    val[3] = train[-1]  # which none follows in train
    found = split_baselines(train, val, V)
    assert found["uniform"] == math.log(V)
    for split, ids in (("train", train), ("val", val)):
        expected = by_loop(train.tolist(), ids.tolist())
        assert (found["unigram"][split], found["bigram"][split]) == pytest.approx(expected), split
    assert found["bigram"]["train"] < found["unigram"]["train"] < found["uniform"]


def test_of_a_long_split_the_first_tokens_are_counted(monkeypatch):
    monkeypatch.setattr(baselines, "FIT_TOKENS", 40)
    train = draws(200, 0)
    found = Baselines(train, V).read({"val": [draws(90, 1).astype(np.int64)]})
    expected = by_loop(train[:40].tolist(), draws(90, 1).tolist())
    assert (found["unigram"]["val"], found["bigram"]["val"]) == pytest.approx(expected)


LINES = {"uniform": 4.0, "unigram": {"train": 2.0, "val": 3.0}, "bigram": {"train": 1.0, "val": 2.5}}
WORSE, NOT_YET = "worse than guessing evenly", "not even the token frequencies are learned yet"
ON_IT = "the unigram baseline; this stack learned token frequencies and nothing more"
STUCK = ON_IT + "; the training loss {:.3f} is stuck there too, so it is not overfitting"
BETWEEN = "between unigram and bigram; it uses some context, less than the one token before"
BELOW = "{:.3f} nats below the bigram baseline; it uses more than one token"


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (1.5, math.nan, "this stack diverged"),
        (1.5, math.inf, "this stack diverged"),
        (1.5, 4.06, WORSE),
        (1.5, 4.04, NOT_YET),
        (1.5, 3.06, NOT_YET),
        (1.5, 3.04, ON_IT),  # it overfits: the training loss is far below its own line
        (1.96, 3.04, STUCK.format(1.96)),
        (1.94, 3.04, ON_IT),
        (2.5, 2.96, STUCK.format(2.5)),
        (2.5, 2.94, BETWEEN),
        (2.5, 2.51, BETWEEN),
        (2.5, 2.49, BELOW.format(0.01)),
        (0.5, 2.0, BELOW.format(0.5)),
    ],
)
def test_a_run_is_read_by_the_lines_of_validation_but_its_training_loss_by_its_own(train, val, said):
    where = f"val {val:.3f} (bigram 2.500, unigram 3.000, uniform 4.000)"
    assert diagnosis(train, val, LINES) == f"{where}: {said}"
