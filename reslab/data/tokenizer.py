"""Text to token ids and back. TOKENIZERS: characters, bytes, GPT-2's BPE, one of your own text, a model's.

A tokenizer is saved whole, as plain JSON, in a dataset's meta.json and in every checkpoint: what
was trained can be sampled on a machine that has neither the data nor a network.
"""

import base64
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from reslab.data.tokenizer_json import HFTokenizer, load_tokenizer
from reslab.run.fields import expand, short

# How GPT-2 cuts text into words before merging bytes (Radford et al. 2019).
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

# The pattern tries again from every blank of a run, and its engine gives up at about a million of them.
LONGEST_RUN = 100_000
LARGEST_BPE = 1_000_000  # tokens

LONG_RUN = re.compile(rf"\s{{{LONGEST_RUN}}}")


def cut_blanks(text: str) -> Iterator[str]:
    """The text in pieces, none of which holds more than twice LONGEST_RUN blanks in a row."""
    start = 0
    for run in LONG_RUN.finditer(text):
        yield text[start : run.end()]
        start = run.end()
    yield text[start:]


class CharTokenizer:
    """One id per character of the text it was made for, in code-point order."""

    cut_anywhere = True  # parts of a text encode as they do in the whole

    def __init__(self, chars: str):
        self.chars = "".join(sorted(set(chars)))
        self.vocab_size = len(self.chars)
        points = np.array([ord(c) for c in self.chars], dtype=np.int64)
        self._id_of = np.full(int(points.max(initial=0)) + 2, -1, dtype=np.int64)  # the last: all beyond
        self._id_of[points] = np.arange(self.vocab_size)

    def encode(self, text: str) -> np.ndarray:
        """Ids (n,), int64. Raises ValueError naming the first character that has none."""
        points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        ids = self._id_of.take(points, mode="clip")
        if ids.min(initial=0) < 0:
            at = int(np.argmax(ids < 0))
            raise ValueError(
                f"character {text[at]!r} at position {at} is not among the {self.vocab_size} that this "
                "model was trained on"
            )
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return "".join(
            self.chars[i] if i < self.vocab_size else "\N{REPLACEMENT CHARACTER}" for i in ids
        ).encode()

    def to_json(self) -> dict:
        return {"kind": "char", "chars": self.chars}


class ByteTokenizer:
    """The 256 bytes of UTF-8: no text is unknown to it."""

    vocab_size, cut_anywhere = 256, True

    def encode(self, text: str) -> np.ndarray:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.int64)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return bytes(i for i in ids if i < 256)  # a padded vocabulary has ids that stand for nothing

    def to_json(self) -> dict:
        return {"kind": "byte"}


class BPETokenizer:
    """Byte-level byte-pair encoding (Sennrich et al. 2016, arXiv 1508.07909), run by tiktoken.

    Args:
        name: what to call it.
        pattern: the regular expression that cuts text into words.
        ranks: bytes of each token -> its id.
    """

    cut_anywhere = False

    def __init__(self, name: str, pattern: str, ranks: dict[bytes, int]):
        import tiktoken

        self.name, self.pattern, self.ranks = name, pattern, ranks
        self.vocab_size = max(ranks.values()) + 1
        self._encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})

    def encode(self, text: str) -> np.ndarray:
        """Ids (n,), int64. A run of blanks that is too long for the pattern is cut, deterministically."""
        try:
            return self._encoding.encode_to_numpy(text, disallowed_special=()).astype(np.int64)
        except ValueError:
            pieces = list(cut_blanks(text))
            if len(pieces) == 1:
                raise
        return np.concatenate([self.encode(piece) for piece in pieces])

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        return self._encoding.decode_bytes([i for i in ids if i < self.vocab_size])

    def to_json(self) -> dict:
        by_id = sorted(self.ranks, key=self.ranks.get)
        tokens = [base64.b64encode(token).decode("ascii") for token in by_id]
        return {"kind": "bpe", "name": self.name, "pattern": self.pattern, "tokens": tokens}


class GPT2Tokenizer(BPETokenizer):
    """GPT-2's own 50,257 tokens; the last is <|endoftext|>, which ordinary text never produces."""

    def __init__(self):
        import tiktoken

        encoding = tiktoken.get_encoding("gpt2")  # downloads 1.5 MB once, or reads TIKTOKEN_CACHE_DIR
        super().__init__("gpt2", GPT2_PATTERN, dict(encoding._mergeable_ranks))
        self.vocab_size = encoding.n_vocab
        self.end_of_text_id = encoding.eot_token

    def decode_bytes(self, ids):
        return super().decode_bytes(i for i in ids if i < len(self.ranks))


def train_bpe(texts: Iterable[str], vocab_size: int) -> BPETokenizer:
    """Learn byte-pair merges until there are vocab_size tokens (256 bytes included).

    Raises:
        ValueError: the trainer gave up on this text.
    """
    import rustbpe

    trainer = rustbpe.Tokenizer()
    pieces = (piece for text in texts for piece in cut_blanks(text))
    try:
        trainer.train_from_iterator(pieces, vocab_size, pattern=GPT2_PATTERN)
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # Rust's, which is no Exception
            raise
        raise ValueError(f"tokenizer=bpe:{vocab_size}: can't be learned from this text ({error})") from None
    ranks = {bytes(token): rank for token, rank in trainer.get_mergeable_ranks()}
    return BPETokenizer(f"bpe:{vocab_size}", GPT2_PATTERN, ranks)


def make_tokenizer(spec: str, texts: Iterable[str] = (), chars: str = ""):
    """The tokenizer that `--tokenizer` names.

    Args:
        spec: what an entry of TOKENIZERS takes.
        texts: pieces of the training text, read only when a BPE is trained.
        chars: every character of the text.

    Raises:
        ValueError: no entry takes it, or GPT-2's files can't be had.
    """
    return kind_of(spec).make(spec, texts, chars)


def kind_of(spec: str) -> "TokenizerKind":
    """The entry of TOKENIZERS that takes what `--tokenizer` says. Raises ValueError where none does."""
    kind = next((kind for kind in TOKENIZERS.values() if kind.takes(spec)), None)
    if kind is None:
        raise ValueError(f"tokenizer={short(spec)}: allowed are {allowed_specs()}")
    return kind


def allowed_specs(without_text: bool = False) -> str:
    """What `--tokenizer` may be, for people.

    Args:
        without_text: leave out what is made from the text.
    """
    *specs, last = [kind.spec for kind in TOKENIZERS.values() if not (without_text and kind.needs)]
    return f"{', '.join(specs)}, and {last}"


def tokenizer_from_json(saved: dict):
    """The tokenizer that to_json described. Raises ValueError for a kind that is not known."""
    if saved["kind"] not in TOKENIZERS:
        raise ValueError(f"tokenizer of kind {saved['kind']!r}: known are {', '.join(TOKENIZERS)}")
    return TOKENIZERS[saved["kind"]].load(saved)


def tokenizer_folder(spec: str) -> Path:
    """Where the tokenizer.json is that `--tokenizer FOLDER` names; ~ is the home directory."""
    return Path(expand(spec))


def _is_bpe(spec: str) -> bool:
    kind, _, size = spec.partition(":")
    return kind == "bpe" and size.isdecimal() and len(size) < 8 and 256 <= int(size) <= LARGEST_BPE


def _is_folder(spec: str) -> bool:
    if not spec or "/" in spec or "\\" in spec:
        return bool(spec)
    return os.path.isdir(tokenizer_folder(spec))  # noqa: PTH112 - takes a name that is too long


def _gpt2(*_) -> GPT2Tokenizer:
    try:
        return GPT2Tokenizer()
    except OSError as error:  # requests' errors are OSErrors
        raise ValueError(
            "tokenizer=gpt2: its files could not be downloaded, and TIKTOKEN_CACHE_DIR names no copy "
            f"({type(error).__name__}); go online once, or use another --tokenizer"
        ) from None


def _load_bpe(saved: dict) -> BPETokenizer:
    ranks = {base64.b64decode(token): rank for rank, token in enumerate(saved["tokens"])}
    return BPETokenizer(saved["name"], saved["pattern"], ranks)


@dataclass(frozen=True)
class TokenizerKind:
    """How a kind of tokenizer is named, made and loaded."""

    spec: str
    """What `--tokenizer` is for it, for people."""
    takes: Callable[[str], bool]
    """Whether `--tokenizer` names it."""
    make: Callable
    """(spec, pieces of the training text, its characters) -> a tokenizer."""
    load: Callable[[dict], object]
    """What its to_json gave -> the tokenizer."""
    needs: Literal["", "characters", "text"] = ""
    """What it has to know of the text that it is made for."""


# What to_json calls "kind" -> how it is made; an exact name comes before a folder.
TOKENIZERS = {
    "char": TokenizerKind(
        spec="char",
        takes="char".__eq__,
        make=lambda spec, texts, chars: CharTokenizer(chars),
        load=lambda saved: CharTokenizer(saved["chars"]),
        needs="characters",
    ),
    "byte": TokenizerKind("byte", "byte".__eq__, lambda *_: ByteTokenizer(), lambda saved: ByteTokenizer()),
    "gpt2": TokenizerKind("gpt2", "gpt2".__eq__, _gpt2, _load_bpe),  # saved as any other BPE
    "bpe": TokenizerKind(
        spec=f"bpe:N with N from 256 to {LARGEST_BPE}",
        takes=_is_bpe,
        make=lambda spec, texts, chars: train_bpe(texts, int(spec.removeprefix("bpe:"))),
        load=_load_bpe,
        needs="text",
    ),
    "tokenizer.json": TokenizerKind(
        spec="a folder that holds a tokenizer.json",
        takes=_is_folder,
        make=lambda spec, texts, chars: load_tokenizer(tokenizer_folder(spec)),
        load=lambda saved: HFTokenizer(saved["name"], saved["json"], saved["end_of_text"]),
    ),
}
