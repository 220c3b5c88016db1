"""Text in, a dataset out: train.bin, val.bin and meta.json, whatever the tokenizer.

Every data/<name>/prepare.py ends here. The text is read in pieces and twice (once to know it, once
to write it), so memory stays flat for inputs larger than memory. Pieces are encoded on all cores, since
the tokenizers and the sums let go of Python's lock, and written in their order. Files get their final
names last, meta.json after the bins: a folder with a meta.json is a finished dataset.
"""

import itertools
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reslab.data.baselines import split_baselines
from reslab.data.pool import Hasher, cores, map_in_order
from reslab.data.survey import Survey, count_words, parts_of, survey
from reslab.data.textfiles import PIECE
from reslab.data.tokenfile import check_ours, check_unread
from reslab.data.tokenizer import kind_of, make_tokenizer
from reslab.run.children import unbroken
from reslab.run.files import flush, parse_json
from reslab.run.lock import exclusive_lock

SPLITS = ("train", "val")
PART = 1 << 19  # characters encoded in one go
WORD_START = re.compile(r"[ \n](?=\S)")
UINT16_VOCAB = 65_535  # ids of larger vocabularies are written as uint32


def split_safely(pieces: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Cut the text anew so that encoding the parts gives what encoding the whole gives.

    GPT-2's word pattern always begins a token at the last blank or newline before a visible
    character, and looks no further back; the parts begin there. Text without such a place for 16
    sizes on end is cut anyhow.
    """
    rest = ""
    for piece in pieces:
        rest, start = rest + piece if rest else piece, 0
        while (left := len(rest) - start) > size:
            place = WORD_START.search(rest, start + size)
            if not place and left < 16 * size:
                break
            cut = place.start() if place else start + size
            yield rest[start:cut]
            start = cut
        rest = rest[start:]
    if rest:
        yield rest


def write_dataset(
    out_dir: str | Path,
    read: Callable[[], Iterable[str]],
    tokenizer,
    source: str,
    quiet: bool = False,
    if_missing: bool = False,
    jobs: int | None = None,
    read_val: Callable[[], Iterable[str]] | None = None,
) -> dict:
    """Tokenize a text into out_dir and return its meta.

    Args:
        out_dir: gets train.bin, val.bin and meta.json; what was there stays until the end.
        read: gives the text in pieces, anew at each call.
        tokenizer: what make_tokenizer takes; or a tokenizer that exists.
        source: what the text is, for people.
        if_missing: leave a finished dataset that is there as it is.
        jobs: pieces encoded at the same time; None is one for each core.
        read_val: gives the validation split, where that is not the end of the text; read is the other one.

    Raises:
        ValueError: the text is too short to be split, or changed between the two readings, or the
            tokenizer's name is wrong, or a run reads what is in out_dir.
    """
    out_dir = Path(out_dir)
    with exclusive_lock(out_dir, "preparing data here", wait=float("inf")):
        check_ours(out_dir, "meta.json", *(f"{split}.bin" for split in SPLITS), "progress.json")
        if (out_dir / "progress.json").exists():
            raise ValueError(f"{out_dir}: holds shards of documents; choose another --out")
        if if_missing and (out_dir / "meta.json").exists():
            return parse_json((out_dir / "meta.json").read_bytes(), str(out_dir / "meta.json"))
        check_unread(out_dir)
        _clear_broken(out_dir)
        return _write_dataset(out_dir, read, read_val, tokenizer, source, quiet, jobs or cores())


def _clear_broken(out_dir: Path) -> None:
    """Delete what a preparation left that was killed."""
    if not (out_dir / "meta.json").exists():  # while it gave the bins their names: they are of two datasets
        for split in SPLITS:
            (out_dir / f"{split}.bin").resolve().unlink(missing_ok=True)
    for path in out_dir.glob("*.[0-9]*.tmp"):
        path.unlink()


def _write_dataset(out_dir: Path, read, read_val, tokenizer, source: str, quiet: bool, jobs: int) -> dict:
    named = isinstance(tokenizer, str)
    train_length = None
    if read_val is not None:
        train_length, read = sum(map(len, read())), partial(_chained, read, read_val)
    text = survey(read(), named and kind_of(tokenizer).needs == "characters", quiet, jobs)
    text = replace(text, given_train_length=train_length)
    if text.length < 20:
        raise ValueError(
            f"{source}: {text.length} characters; a dataset needs at least 20 to hold two splits"
        )
    encoder = tokenizer
    if named:  # the merges are learned from the training split alone
        train = (part for _, part in itertools.islice(_split(read(), text.train_length), 1))
        pieces = itertools.chain.from_iterable(map(split_safely, train))
        encoder = make_tokenizer(tokenizer, pieces, text.characters)
    dtype = np.uint16 if encoder.vocab_size <= UINT16_VOCAB else np.uint32

    temporary = {split: _temporary(out_dir / f"{split}.bin") for split in SPLITS}
    try:
        counts = _write_bins(temporary, read, text, encoder, dtype, quiet, jobs, source)
        ids = {split: np.memmap(path, dtype=dtype, mode="r") for split, path in temporary.items()}
        meta = {
            "format": 1,
            "source": source,
            "source_sha256": text.sha256,
            "vocab_size": encoder.vocab_size,
            "dtype": np.dtype(dtype).name,
            "splits": counts,
            "baselines_nats": split_baselines(ids["train"], ids["val"], encoder.vocab_size),
            "tokenizer": encoder.to_json(),
        }
        with unbroken():
            _publish(out_dir, temporary, meta)
    finally:
        for path in temporary.values():
            path.unlink(missing_ok=True)
    return meta


def _temporary(path: Path) -> Path:
    """Where a file is written before it gets its name: beside it, or beside what a link leads to."""
    path = path.resolve() if path.is_symlink() else path
    return path.with_name(f"{path.name}.{os.getpid()}.tmp")


def _give_name(temporary: Path) -> None:
    temporary.replace(temporary.with_name(temporary.name.removesuffix(f".{os.getpid()}.tmp")))


def _chained(*reads) -> Iterator[str]:
    for read in reads:
        yield from read()


def _hashing(pieces: Iterable[str], digest: Hasher) -> Iterator[str]:
    for piece in pieces:
        for part in parts_of(piece):
            digest.update(part.encode("utf-8", "surrogatepass"))
        yield piece


def _write_bins(temporary, read, text: Survey, encoder, dtype, quiet, jobs, source: str) -> dict:
    """Second reading: encode the first 90% of the characters to train, the others to val."""
    changed = ValueError(f"{source}: the text changed while it was read; run prepare again")
    counts = {}
    bar = tqdm(total=text.length, desc="encoding", unit="char", unit_scale=True, disable=quiet or None)
    try:
        with Hasher(jobs) as again, bar:
            for split, part in _split(_hashing(read(), again), text.train_length):
                words = {} if text.given_train_length is None else {"words": 0}
                part = count_words(part, words) if words else part
                counts[split] = _write_bin(temporary[split], part, encoder, dtype, jobs, bar) | words
    except (ValueError, RuntimeError) as error:
        if survey(read(), False).sha256 != text.sha256:  # what was text, or a known character, is none
            raise changed from None
        raise ValueError(f"{source}: can't be encoded ({error})") from None
    if again.hexdigest() != text.sha256:
        raise changed
    return counts


def _write_bin(path: Path, pieces: Iterable[str], encoder, dtype, jobs: int, bar) -> dict:
    """Encode one split to a file; returns its entry for meta.json."""
    count = {"tokens": 0, "chars": 0, "bytes": 0}
    anywhere = itertools.chain.from_iterable(map(parts_of, pieces))
    parts = anywhere if encoder.cut_anywhere else split_safely(pieces, PART)
    with path.open("wb") as file, Hasher(jobs) as digest:
        for ids, length, size in encode_all(parts, encoder, dtype, jobs):
            file.write(ids)
            digest.update(ids)
            for key, more in zip(count, (len(ids), length, size), strict=True):
                count[key] += more
            bar.update(length)
        file.flush()
        os.fsync(file.fileno())
    return count | {"sha256": digest.hexdigest()}


def encode_all(pieces: Iterable[str], encoder, dtype, jobs: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """The pieces' ids, characters and bytes, in their order; `jobs` of them are encoded at once."""

    def encode(piece):
        size = len(piece) if piece.isascii() else len(piece.encode())
        return encoder.encode(piece).astype(dtype), len(piece), size

    return map_in_order(encode, pieces, jobs)


def _split(pieces: Iterable[str], train_chars: int) -> Iterator[tuple[str, Iterator[str]]]:
    """Two streams out of one: the first train_chars characters, then all others."""
    pieces = iter(pieces)
    overhang = []

    def train():
        remaining = train_chars
        while remaining > 0 and (piece := next(pieces, None)) is not None:
            yield piece[:remaining]
            overhang.append(piece[remaining:])
            remaining -= len(piece)

    def val():
        yield from overhang
        yield from pieces

    yield "train", train()
    yield "val", val()


def _publish(out_dir: Path, temporary: dict[str, Path], meta: dict) -> None:
    """Give the files their names, meta.json last; until then the folder has no meta.json."""
    check_unread(out_dir)  # a run may have begun since
    meta_path = out_dir / "meta.json"
    meta_tmp = _temporary(meta_path)
    try:
        meta_tmp.write_text(json.dumps(meta, ensure_ascii=False, indent=1), encoding="utf-8")
        flush(meta_tmp)
        meta_path.resolve().unlink(missing_ok=True)
        for path in temporary.values():
            _give_name(path)
        _give_name(meta_tmp)
    finally:
        if meta_path.exists() or not any((out_dir / f"{split}.bin").exists() for split in SPLITS):
            meta_tmp.unlink(missing_ok=True)  # else the bins are of two datasets, and it tells whose they are
