"""What a first reading tells of a text: its hash, its length, its characters and its words."""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from reslab.data.pool import Hasher

CACHED = 1 << 17  # characters: what is made of so many stays in a core's cache
TRAIN_SHARE = 0.9  # of the characters; the last tenth of the text is the validation split


@dataclass(frozen=True)
class Survey:
    """What a first reading tells of a text."""

    sha256: str
    length: int
    """Characters."""
    characters: str
    """The different ones, where they were asked for."""

    given_train_length: int | None = None
    """Characters of the training split, where they are no share of the text."""

    @property
    def train_length(self) -> int:
        given = self.given_train_length
        return int(self.length * TRAIN_SHARE) if given is None else given


def survey(pieces: Iterable[str], collect: bool, quiet: bool = True, jobs: int = 1) -> Survey:
    """Read a text once; `collect` its different characters."""
    length, occurs = 0, np.zeros(sys.maxunicode + 1, dtype=bool)
    bar = tqdm(desc="reading", unit="char", unit_scale=True, disable=quiet or None)
    with Hasher(jobs) as digest, bar:
        for piece in pieces:
            for part in parts_of(piece):
                digest.update(part.encode("utf-8", "surrogatepass"))
                if collect:
                    _mark(code_points(part), occurs)
            length += len(piece)
            bar.update(len(piece))
    return Survey(digest.hexdigest(), length, "".join(map(chr, np.flatnonzero(occurs))))


def parts_of(piece: str) -> Iterator[str]:
    """A piece in short parts, for what may be cut anywhere."""
    for start in range(0, len(piece), CACHED):
        yield piece[start : start + CACHED]


def _mark(points: np.ndarray, occurs: np.ndarray) -> None:
    """Set occurs[points]: most are known, and looking one up costs less than setting it."""
    known = occurs.take(points, mode="clip")
    if not known.all():
        occurs[points[~known]] = True


def code_points(text: str) -> np.ndarray:
    """The characters of a text as numbers (n,), uint32."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)


def count_words(pieces: Iterable[str], count: dict) -> Iterator[str]:
    """Pass the pieces of a text on and count its words as WikiText does: the end of a line is one too."""
    inside = False  # a word, at the end of the piece before
    for piece in filter(None, pieces):
        goes_on = inside and not piece[0].isspace()
        count["words"] += len(piece.split()) + piece.count("\n") - goes_on
        inside = not piece[-1].isspace()
        yield piece
