"""How good is a loss? Three models that need no training, to read a run by.

uniform   every token is equally likely: ln V
unigram   token frequencies of the training split; what a model knows that sees no context
bigram    the same, given the one token before
"""

import math
from collections.abc import Iterable

import numpy as np

DENSE_LIMIT = 4096  # largest vocabulary whose V x V table of pairs is kept whole (128 MiB)
FIT_TOKENS = 100_000_000  # first training tokens that are counted
SPARSE_TOKENS = 10_000_000  # the same for pairs of a larger vocabulary
CHUNK = 1 << 19  # tokens looked at in one go, so memory does not grow with the corpus
COUNTED = 1 << 15  # tokens whose pairs are counted in one go: they stay in a core's cache


class Baselines:
    """Unigram and bigram of a training split.

    Unigrams are smoothed by adding one to each count. A bigram is backed by its unigram as if that
    had been seen once more: p(b | a) = (n(ab) + p(b)) / (n(a) + 1).

    Args:
        train: token ids (n,), memory-mapped or not.
    """

    def __init__(self, train: np.ndarray, vocab_size: int):
        train = train[:FIT_TOKENS]
        self.vocab_size = vocab_size
        self.pairs = (_DensePairs if vocab_size <= DENSE_LIMIT else _SparsePairs)(train, vocab_size)
        counts = self.pairs.tokens(train)
        self.unigram = (counts + 1) / (counts.sum() + vocab_size)

    def read(self, splits: dict[str, Iterable[np.ndarray]]) -> dict:
        """Cross-entropies in nats per token, over all tokens of some pieces that have one before them.

        Args:
            splits: split -> pieces of token ids (n,).

        Returns:
            {"uniform": x, "unigram": {split: x}, "bigram": {split: x}}
        """
        entropies = {"uniform": math.log(self.vocab_size), "unigram": {}, "bigram": {}}
        for split, pieces in splits.items():
            pairs = (_count_pairs(piece, self.vocab_size) for piece in pieces)
            entropies["unigram"][split], entropies["bigram"][split] = self._mean(pairs)
        return entropies

    def read_fitted(self) -> tuple[float, float]:
        """Unigram and bigram cross-entropy on what was counted."""
        return self._mean([self.pairs.counted()])

    def _mean(self, pairs) -> tuple[float, float]:
        """Each different pair is looked up once, and weighs as often as it occurs."""
        unigram, bigram, total = 0.0, 0.0, 0
        for keys, counts in pairs:
            second = self.unigram[keys % self.vocab_size]
            unigram -= float(counts @ np.log(second))
            bigram -= float(counts @ np.log(self.pairs.probability(keys, second)))
            total += int(counts.sum())
        return (unigram / total, bigram / total) if total else (math.nan, math.nan)


def split_baselines(train: np.ndarray, val: np.ndarray, vocab_size: int) -> dict:
    """The cross-entropies of both whole splits, fitted on train: see Baselines.read."""
    fitted = Baselines(train, vocab_size)
    if len(train) > fitted.pairs.limit:
        return fitted.read({"train": _Pieces(train), "val": _Pieces(val)})
    entropies = fitted.read({"train": [], "val": _Pieces(val)})
    entropies["unigram"]["train"], entropies["bigram"]["train"] = fitted.read_fitted()
    return entropies


class _DensePairs:
    """Counts of all pairs in one V x V table."""

    limit = FIT_TOKENS

    def __init__(self, train, vocab_size):
        self.vocab_size = vocab_size
        self.counts = np.zeros(vocab_size * vocab_size, dtype=np.int64)
        for piece in _Pieces(train):
            keys, counts = _count_pairs(piece, vocab_size)
            self.counts[keys] += counts
        self.firsts = self.counts.reshape(vocab_size, vocab_size).sum(axis=1)

    def tokens(self, train) -> np.ndarray:
        """How often each token occurs: as the first of a pair, or last of all."""
        return self.firsts + np.bincount(train[-1:], minlength=self.vocab_size)

    def counted(self):
        """All pairs a V + b that were seen, and how often."""
        keys = np.flatnonzero(self.counts)
        return keys, self.counts[keys]

    def probability(self, keys, second):
        """p(b | a) of pairs a V + b, given p(b)."""
        return (self.counts[keys] + second) / (self.firsts[keys // self.vocab_size] + 1)


class _SparsePairs:
    """Counts of the pairs that occur, for vocabularies whose table would not fit."""

    limit = SPARSE_TOKENS

    def __init__(self, train, vocab_size):
        self.vocab_size = vocab_size
        ids = train[: self.limit].astype(np.int64)
        self.keys, self.counts = _count_pairs(ids, vocab_size)
        self.firsts = np.bincount(ids[:-1], minlength=vocab_size)

    def tokens(self, train) -> np.ndarray:
        """How often each token occurs."""
        pieces = (np.bincount(piece, minlength=self.vocab_size) for piece in _Pieces(train, overlap=0))
        return sum(pieces, start=np.zeros(self.vocab_size, dtype=np.int64))

    def counted(self):
        """All pairs a V + b that were seen, and how often."""
        return self.keys, self.counts

    def probability(self, keys, second):
        """p(b | a) of pairs a V + b, given p(b)."""
        at = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        counts = np.where(self.keys[at] == keys, self.counts[at], 0)
        return (counts + second) / (self.firsts[keys // self.vocab_size] + 1)


def _count_pairs(ids, vocab_size) -> tuple[np.ndarray, np.ndarray]:
    """The different pairs a V + b of neighbours, ascending, and how often each occurs."""
    bins = vocab_size * vocab_size
    if bins > 4 * (len(ids) - 1):  # sorting them costs less than counting what is not there
        return np.unique(_pairs(ids, vocab_size), return_counts=True)
    counts, size = np.zeros(bins, dtype=np.int64), max(COUNTED, bins)
    for start in range(0, len(ids) - 1, size):
        counts += np.bincount(_pairs(ids[start : start + size + 1], vocab_size), minlength=bins)
    keys = np.flatnonzero(counts)
    return keys, counts[keys]


def _pairs(ids, vocab_size) -> np.ndarray:
    """The pairs a V + b of neighbours, in their order."""
    ids = np.asarray(ids).astype(np.int64)
    return ids[:-1] * vocab_size + ids[1:]


class _Pieces:
    """A long array in pieces, each starting with the last `overlap` ids of the one before, as often as one
    asks for them."""

    def __init__(self, ids, overlap=1):
        self.ids, self.overlap = ids, overlap

    def __iter__(self):
        for start in range(0, max(len(self.ids) - self.overlap, 0), CHUNK):
            yield self.ids[start : start + CHUNK + self.overlap]
