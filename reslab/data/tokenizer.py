"""Text to token ids and back: characters, bytes, GPT-2's BPE, a BPE trained on your own text, or the
tokenizer of another model.

A tokenizer is saved whole, as plain JSON, in a dataset's meta.json and in every checkpoint: what
was trained can be sampled on a machine that has neither the data nor a network.
"""

import base64
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

# How GPT-2 cuts text into words before merging bytes (Radford et al. 2019).
GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""

# The pattern tries again from every blank of a run, and its engine gives up at about a million of them.
LONGEST_RUN = 100_000
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

    vocab_size = 256

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
        spec: char, byte, gpt2, bpe:N with N at least 256, or a folder that holds a tokenizer.json.
        texts: pieces of the training text, read only when a BPE is trained.
        chars: every character of the text.

    Raises:
        ValueError: the name is none of these, or GPT-2's files can't be had.
    """
    kind, _, size = spec.partition(":")
    if spec == "char":
        return CharTokenizer(chars)
    if spec == "byte":
        return ByteTokenizer()
    if spec == "gpt2":
        return _gpt2()
    if kind == "bpe" and size.isdecimal() and int(size) >= 256:
        return train_bpe(texts, int(size))
    if "/" in spec or "\\" in spec or tokenizer_folder(spec).is_dir():
        from reslab.data.tokenizer_json import load_tokenizer

        return load_tokenizer(tokenizer_folder(spec))
    raise ValueError(
        f"tokenizer={spec}: allowed are char, byte, gpt2, bpe:N with N at least 256, and a folder that holds "
        "a tokenizer.json"
    )


def tokenizer_folder(spec: str) -> Path:
    """Where the tokenizer.json is that `--tokenizer FOLDER` names; ~ is the home directory."""
    return Path(os.path.expanduser(spec))  # noqa: PTH111 - Path.expanduser raises for a user who is unknown


def _gpt2() -> GPT2Tokenizer:
    try:
        return GPT2Tokenizer()
    except OSError as error:  # requests' errors are OSErrors
        raise ValueError(
            "tokenizer=gpt2: its files could not be downloaded, and TIKTOKEN_CACHE_DIR names no copy "
            f"({type(error).__name__}); go online once, or use another --tokenizer"
        ) from None


def tokenizer_from_json(saved: dict):
    """The tokenizer that to_json described."""
    if saved["kind"] == "char":
        return CharTokenizer(saved["chars"])
    if saved["kind"] == "byte":
        return ByteTokenizer()
    if saved["kind"] == "tokenizer.json":
        from reslab.data.tokenizer_json import HFTokenizer

        return HFTokenizer(saved["name"], saved["json"], saved["end_of_text"])
    ranks = {base64.b64decode(token): rank for rank, token in enumerate(saved["tokens"])}
    return BPETokenizer(saved["name"], saved["pattern"], ranks)
