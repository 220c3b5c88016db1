"""Baselines that need no training, against counts by a loop, and the sentence that reads a run by them."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from reslab.data import baselines
from reslab.data.baselines import Baselines, split_baselines

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
    entropies = split_baselines(train, val, V)
    assert entropies["uniform"] == math.log(V)
    for split, ids in (("train", train), ("val", val)):
        expected = by_loop(train.tolist(), ids.tolist())
        assert (entropies["unigram"][split], entropies["bigram"][split]) == pytest.approx(expected), split
    assert entropies["bigram"]["train"] < entropies["unigram"]["train"] < entropies["uniform"]


def test_of_a_long_split_the_first_tokens_are_counted(monkeypatch):
    monkeypatch.setattr(baselines, "FIT_TOKENS", 40)
    train = draws(200, 0)
    entropies = Baselines(train, V).read({"val": [draws(90, 1).astype(np.int64)]})
    expected = by_loop(train[:40].tolist(), draws(90, 1).tolist())
    assert (entropies["unigram"]["val"], entropies["bigram"]["val"]) == pytest.approx(expected)


def test_the_pairs_of_a_large_vocabulary_are_those_of_the_whole_split(monkeypatch):
    """Fitted on its first 50 tokens; what is read against them is all of it."""
    monkeypatch.setattr(baselines, "DENSE_LIMIT", 4)
    monkeypatch.setattr(baselines._SparsePairs, "limit", 50)
    ids = np.random.default_rng(0).integers(9, size=400).astype(np.uint16)
    ids[200:] %= 3
    whole = Baselines(ids, 9).read({"train": [ids]})
    assert split_baselines(ids, ids[:50], 9)["bigram"]["train"] == pytest.approx(whole["bigram"]["train"])
