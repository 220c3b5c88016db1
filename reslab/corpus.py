"""Text in, a dataset out: train.bin, val.bin and meta.json, whatever the tokenizer.

Every data/<name>/prepare.py ends here. The text is read in pieces and twice (once to know it, once
to write it), so memory stays flat for inputs larger than memory. Pieces are encoded on all cores, since
the tokenizers let go of Python's lock, and written in their order. Files get their final names last,
meta.json after the bins: a folder with a meta.json is a finished dataset.
"""

import argparse
import hashlib
import http.client
import json
import os
import re
import shutil
import sys
import time
import urllib.request
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reslab.lock import only_one
from reslab.tokenizer import make_tokenizer
from reslab.yardstick import yardsticks

PIECE = 1 << 22  # characters read in one go
PART = 1 << 19  # characters encoded in one go
TRAIN_SHARE = 0.9  # of the characters; the last tenth of the text is the validation split
WORD_START = re.compile(r"[ \n](?=\S)")
UINT16_VOCAB = 65_535  # ids of larger vocabularies are written as uint32


def read_files(paths: Iterable[Path]) -> Iterator[str]:
    """The files' text one after the other, in pieces; each file is made to end with a newline.

    Line ends are kept as they are. Raises ValueError for a file that is not UTF-8.
    """
    for path in paths:
        last = "\n"
        try:
            with path.open(encoding="utf-8", newline="") as file:
                while piece := file.read(PIECE):
                    last = piece[-1]
                    yield piece
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{path}: not UTF-8 text (byte {error.object[error.start]:#04x}: {error.reason})"
            ) from None
        if last != "\n":
            yield "\n"


def split_safely(pieces: Iterable[str], size: int = PIECE) -> Iterator[str]:
    """Cut the text anew so that encoding the parts gives what encoding the whole gives.

    GPT-2's word pattern always begins a token at the last blank or newline before a visible
    character, and looks no further back; the parts begin there. Text without such a place for 16
    sizes on end is cut anyhow.
    """
    rest = ""
    for piece in pieces:
        rest += piece
        while len(rest) > size:
            place = WORD_START.search(rest, size)
            if not place and len(rest) < 16 * size:
                break
            cut = place.start() if place else size
            yield rest[:cut]
            rest = rest[cut:]
    if rest:
        yield rest


def write_dataset(
    out_dir: Path,
    read: Callable[[], Iterable[str]],
    tokenizer,
    source: str,
    quiet: bool = False,
    if_missing: bool = False,
    jobs: int | None = None,
) -> dict:
    """Tokenize a text into out_dir and return its meta.

    Args:
        out_dir: gets train.bin, val.bin and meta.json; what was there stays until the end.
        read: gives the text in pieces, anew at each call.
        tokenizer: char, byte, gpt2 or bpe:N; or a tokenizer that exists.
        source: what the text is, for people.
        if_missing: leave a finished dataset that is there as it is.
        jobs: pieces encoded at the same time; None is one for each core.

    Raises:
        ValueError: the text is too short to be split, or changed between the two readings, or the
            tokenizer's name is wrong.
    """
    with only_one(out_dir, "preparing data here", wait=True):
        if if_missing and (out_dir / "meta.json").exists():
            return json.loads((out_dir / "meta.json").read_text(encoding="utf-8"))
        for path in out_dir.glob("*.[0-9]*.tmp"):  # of lives that were killed
            path.unlink()
        return _write_dataset(out_dir, read, tokenizer, source, quiet, jobs or cores())


def _write_dataset(out_dir: Path, read, tokenizer, source: str, quiet: bool, jobs: int) -> dict:
    digest, chars, seen = hashlib.sha256(), 0, set()
    with tqdm(desc="reading", unit="char", unit_scale=True, disable=quiet or None) as bar:
        for piece in read():
            digest.update(piece.encode("utf-8", "surrogatepass"))
            if tokenizer == "char":
                seen.update(characters(piece))
            chars += len(piece)
            bar.update(len(piece))
    if chars < 20:
        raise ValueError(f"{source}: {chars} characters; a dataset needs at least 20 to hold two splits")
    encoder = tokenizer
    if isinstance(tokenizer, str):
        encoder = make_tokenizer(tokenizer, split_safely(read()), "".join(seen))
    dtype = np.uint16 if encoder.vocab_size <= UINT16_VOCAB else np.uint32

    mark = f".{os.getpid()}.tmp"
    temporary = {split: out_dir / f"{split}.bin{mark}" for split in ("train", "val")}
    try:
        again = hashlib.sha256()
        try:
            counts = _write_bins(temporary, _hashing(read(), again), chars, encoder, dtype, quiet, jobs)
        except (ValueError, RuntimeError):  # what was text, or a known character, is none; or it ends early
            counts = {}
        if not counts or again.digest() != digest.digest():
            raise ValueError(f"{source}: the text changed while it was read; run prepare again")
        ids = {split: np.memmap(path, dtype=dtype, mode="r") for split, path in temporary.items()}
        meta = {
            "format": 1,
            "source": source,
            "source_sha256": digest.hexdigest(),
            "vocab_size": encoder.vocab_size,
            "dtype": np.dtype(dtype).name,
            "splits": counts,
            "yardsticks_nats": yardsticks(ids["train"], ids["val"], encoder.vocab_size),
            "tokenizer": encoder.to_json(),
        }
        _publish(out_dir, temporary, meta, mark)
    finally:
        for path in out_dir.glob(f"*{mark}"):
            path.unlink()
    return meta


def _hashing(pieces: Iterable[str], digest) -> Iterator[str]:
    for piece in pieces:
        digest.update(piece.encode("utf-8", "surrogatepass"))
        yield piece


def _write_bins(temporary, pieces, chars, encoder, dtype, quiet, jobs) -> dict:
    """Second reading: encode the first 90% of the characters to train, the others to val."""
    train_chars = int(chars * TRAIN_SHARE)
    counts = {}
    with tqdm(total=chars, desc="encoding", unit="char", unit_scale=True, disable=quiet or None) as bar:
        for split, part in _split(pieces, train_chars):
            count = {"tokens": 0, "chars": 0, "bytes": 0}
            digest = hashlib.sha256()
            with temporary[split].open("wb") as file:
                for ids, length, size in encode_all(split_safely(part, PART), encoder, dtype, jobs):
                    file.write(ids)
                    digest.update(ids)
                    count["tokens"] += len(ids)
                    count["chars"] += length
                    count["bytes"] += size
                    bar.update(length)
                file.flush()
                os.fsync(file.fileno())
            counts[split] = count | {"sha256": digest.hexdigest()}
    return counts


def encode_all(pieces: Iterable[str], encoder, dtype, jobs: int) -> Iterator[tuple[np.ndarray, int, int]]:
    """The pieces' ids, characters and bytes, in their order; `jobs` pieces are encoded at the same time."""

    def encode(piece):
        return encoder.encode(piece).astype(dtype), len(piece), len(piece.encode())

    if jobs == 1:
        yield from map(encode, pieces)
        return
    with ThreadPoolExecutor(jobs) as pool:
        waiting = deque()
        for piece in pieces:
            waiting.append(pool.submit(encode, piece))
            if len(waiting) > 2 * jobs:  # so memory does not grow with the text
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def characters(text: str) -> str:
    """The different characters of a text, in code-point order."""
    points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    found = np.flatnonzero(np.bincount(points)) if len(points) else points
    return "".join(map(chr, found))


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _split(pieces: Iterable[str], train_chars: int) -> Iterator[tuple[str, Iterator[str]]]:
    """Two streams out of one: the first train_chars characters, then all others."""
    pieces = iter(pieces)
    overhang = []

    def train():
        left = train_chars
        while left > 0:
            piece = next(pieces)
            yield piece[:left]
            overhang.append(piece[left:])
            left -= len(piece)

    def val():
        yield from overhang
        yield from pieces

    yield "train", train()
    yield "val", val()


def _publish(out_dir, temporary, meta, mark) -> None:
    """Give the files their names, meta.json last; until then the folder has no meta.json."""
    meta_tmp = out_dir / f"meta.json{mark}"
    with meta_tmp.open("w", encoding="utf-8") as file:
        json.dump(meta, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    (out_dir / "meta.json").unlink(missing_ok=True)
    for split, path in temporary.items():
        path.replace(out_dir / f"{split}.bin")
    meta_tmp.replace(out_dir / "meta.json")


def download(url: str, path: Path, sha256: str, tries: int = 3, timeout_s: float = 20) -> None:
    """Fetch url to path, unless the right file is there already.

    Raises:
        ValueError: after all tries there was no answer, or it was not the file with that hash.
    """
    if path.exists() and _sha256(path) == sha256:
        return
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        for attempt in range(tries):
            if not (fault := _fetch(url, temporary, sha256, timeout_s)):
                temporary.replace(path)
                return
            if attempt < tries - 1:
                time.sleep(2**attempt)
    finally:
        temporary.unlink(missing_ok=True)
    raise ValueError(
        f"{url}: {fault}, after {tries} tries; nothing was kept. Fetch it elsewhere and give it with "
        "--input FILE"
    )


def _fetch(url: str, path: Path, sha256: str, timeout_s: float) -> str | None:
    """One try; returns what went wrong."""
    try:
        with urllib.request.urlopen(url, timeout=timeout_s) as answer, path.open("wb") as file:
            shutil.copyfileobj(answer, file)
            expected = answer.headers.get("Content-Length")
    except (OSError, http.client.HTTPException) as error:  # urllib's errors are OSErrors
        return f"not reachable ({error or type(error).__name__})"
    if expected and int(expected) != (size := path.stat().st_size):
        return f"the connection was cut after {size:,} of {int(expected):,} bytes"
    if (found := _sha256(path)) == sha256:
        return None
    with path.open("rb") as file:
        page = b"<html" in file.read(1000).lower()
    said = f"its sha256 is {found}, expected {sha256}"
    return f"a web page came, maybe from a proxy ({said})" if page else said


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def arguments(doc: str, out: Path) -> argparse.ArgumentParser:
    """The options that all prepare scripts share."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, default=out, metavar="DIR", help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar, no summary")
    parser.add_argument("--if_missing", action="store_true", help="leave a finished dataset as it is")
    return parser


def run_prepare(args: argparse.Namespace, read, tokenizer: str, source: str) -> None:
    """write_dataset for a command line: prints a summary, or one line and exit code 2."""
    try:
        meta = write_dataset(args.out, read, tokenizer, source, args.quiet, args.if_missing)
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print(f"stopped; nothing was written to {args.out}", file=sys.stderr)
        raise SystemExit(130) from None
    if not args.quiet:
        print(describe(args.out, meta))


def describe(out_dir: Path, meta: dict) -> str:
    """What a dataset holds, in three lines."""
    train, val, lines = meta["splits"]["train"], meta["splits"]["val"], meta["yardsticks_nats"]
    return (
        f"{out_dir}: {train['tokens']:,} training and {val['tokens']:,} validation tokens, "
        f"vocabulary {meta['vocab_size']:,}\n"
        f"from {meta['source']}\n"
        f"val yardsticks in nats/token: uniform {lines['uniform']:.3f}, "
        f"unigram {lines['unigram']['val']:.3f}, bigram {lines['bigram']['val']:.3f}"
    )
