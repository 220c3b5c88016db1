"""How good is a loss? Three models that need no training, and one sentence that reads a run by them.

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
CHUNK = 1 << 22  # tokens looked at in one go, so memory does not grow with the corpus


class Yardsticks:
    """Unigram and bigram of a training split.

    Unigrams are smoothed by adding one to each count. A bigram is backed by its unigram as if that
    had been seen once more: p(b | a) = (n(ab) + p(b)) / (n(a) + 1).

    Args:
        train: token ids (n,), memory-mapped or not.
    """

    def __init__(self, train: np.ndarray, vocab_size: int):
        train = train[:FIT_TOKENS]
        counts = np.zeros(vocab_size)
        for chunk in _chunks(train):
            counts += np.bincount(chunk, minlength=vocab_size)
        self.vocab_size = vocab_size
        self.unigram = (counts + 1) / (counts.sum() + vocab_size)
        self.pairs = (_DensePairs if vocab_size <= DENSE_LIMIT else _SparsePairs)(train, vocab_size)

    def read(self, splits: dict[str, Iterable[np.ndarray]]) -> dict:
        """Cross-entropies in nats per token, over all tokens of some pieces that have one before them.

        Args:
            splits: split -> pieces of token ids (n,).

        Returns:
            {"uniform": x, "unigram": {split: x}, "bigram": {split: x}}
        """
        return {
            "uniform": math.log(self.vocab_size),
            "unigram": {
                s: _mean(-np.log(self.unigram[p[1:]]) for p in pieces) for s, pieces in splits.items()
            },
            "bigram": {
                s: _mean(-np.log(self.pairs.probability(p, self.unigram)) for p in pieces)
                for s, pieces in splits.items()
            },
        }


def yardsticks(train: np.ndarray, val: np.ndarray, vocab_size: int) -> dict:
    """The cross-entropies of both whole splits, fitted on train: see Yardsticks.read."""
    fitted = Yardsticks(train, vocab_size)
    return fitted.read({"train": _Pieces(train), "val": _Pieces(val)})


class _Pieces:
    """A long array as pieces that overlap by one, as often as one asks for them."""

    def __init__(self, ids):
        self.ids = ids

    def __iter__(self):
        return _chunks(self.ids, overlap=1)


class _DensePairs:
    """Counts of all pairs in one V x V table."""

    def __init__(self, train, vocab_size):
        self.counts = np.zeros(vocab_size * vocab_size, dtype=np.int64)
        for chunk in _chunks(train, overlap=1):
            pairs = chunk[:-1] * vocab_size + chunk[1:]
            if vocab_size <= 512:  # cheaper for a small table; the other way needs no table per chunk
                self.counts += np.bincount(pairs, minlength=len(self.counts))
            else:
                keys, seen = np.unique(pairs, return_counts=True)
                self.counts[keys] += seen
        self.counts = self.counts.reshape(vocab_size, vocab_size)
        self.firsts = self.counts.sum(axis=1)

    def probability(self, ids, unigram):
        a, b = ids[:-1], ids[1:]
        return (self.counts[a, b] + unigram[b]) / (self.firsts[a] + 1)


class _SparsePairs:
    """Counts of the pairs that occur, for vocabularies whose table would not fit."""

    def __init__(self, train, vocab_size):
        self.vocab_size = vocab_size
        ids = train[:SPARSE_TOKENS].astype(np.int64)
        self.keys, self.counts = np.unique(ids[:-1] * vocab_size + ids[1:], return_counts=True)
        self.firsts = np.bincount(ids[:-1], minlength=vocab_size)

    def probability(self, ids, unigram):
        a, b = ids[:-1], ids[1:]
        key = a * self.vocab_size + b
        at = np.minimum(np.searchsorted(self.keys, key), len(self.keys) - 1)
        seen = np.where(self.keys[at] == key, self.counts[at], 0)
        return (seen + unigram[b]) / (self.firsts[a] + 1)


def _chunks(ids, overlap=0):
    """Pieces of ids as int64, each starting with the last `overlap` ids of the one before."""
    for start in range(0, max(len(ids) - overlap, 0), CHUNK):
        yield np.asarray(ids[start : start + CHUNK + overlap]).astype(np.int64)


def _mean(pieces) -> float:
    total, count = 0.0, 0
    for piece in pieces:
        total, count = total + float(piece.sum()), count + len(piece)
    return total / count if count else math.nan


def verdict(train_loss: float, val_loss: float, lines: dict, tolerance: float = 0.05) -> str:
    """One sentence: what a stack with these losses (nats per token) has learned.

    Args:
        lines: what yardsticks() returned.
        tolerance: a loss this close to a line, in nats, lies on it.
    """
    unigram, bigram = lines["unigram"]["val"], lines["bigram"]["val"]
    where = f"val {val_loss:.3f} (bigram {bigram:.3f}, unigram {unigram:.3f}, uniform {lines['uniform']:.3f})"
    if not math.isfinite(val_loss):
        return f"{where}: this stack diverged"
    if val_loss > lines["uniform"] + tolerance:
        return f"{where}: worse than guessing evenly"
    if val_loss > unigram + tolerance:
        return f"{where}: not even the token frequencies are learned yet"
    if val_loss >= unigram - tolerance:
        stuck = train_loss >= lines["unigram"]["train"] - tolerance
        cause = (
            f"; the training loss {train_loss:.3f} is stuck there too, so it is not overfitting"
            if stuck
            else ""
        )
        return f"{where}: the unigram line; this stack learned token frequencies and nothing more{cause}"
    if val_loss > bigram:
        return f"{where}: between unigram and bigram; it uses some context, less than the one token before"
    return (
        f"{where}: {bigram - val_loss:.3f} nats below the bigram line; it uses more than one token of context"
    )
