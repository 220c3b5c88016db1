"""Documents in, a dataset of many shards out: streamed, on all cores, and continued after a kill.

Every document is encoded whole and ends with the end-of-text token. Whether it is a validation
document is told by the hash of its text alone, so it stays one however much is read, and copies of it
fall into the same split. progress.json says how far the shards are good; what lies beyond is made again.
"""

import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reslab.data.baselines import split_baselines
from reslab.data.pool import cores, map_in_order
from reslab.data.rows import ReadError
from reslab.data.shards import ShardWriter, TokenStream, grown_from, open_split
from reslab.data.source import Rows, Source
from reslab.data.tokenfile import check_ours, check_unread
from reslab.data.tokenizer import TOKENIZERS, allowed_specs, kind_of, make_tokenizer, tokenizer_folder
from reslab.run.children import unbroken
from reslab.run.files import parse_json, sha256, write_atomically
from reslab.run.lock import exclusive_lock

BATCH_DOCUMENTS, BATCH_CHARS = 256, 1 << 21  # a batch ends with the document that reaches one of them
BASELINE_TOKENS = 10_000_000  # first tokens of each split that the baselines are fitted and read on
SAVE_EVERY_S = 10.0
# What preparations of documents and of a text write, beside meta.json and progress.json.
WRITTEN = [f"{split}{name}.bin*" for split in ("train", "val") for name in ("", "-" + "[0-9]" * 5)]


@dataclass(frozen=True)
class Plan:
    """How documents become shards."""

    tokenizer: str = "gpt2"
    shard_tokens: int = 100_000_000
    val_share: float = 0.001
    """Share of the documents that validate."""
    max_tokens: int | None = None
    """Stop with the batch of documents that reaches it; a later run with more goes on from there."""
    jobs: int | None = None
    """Threads that encode; all cores when not given."""
    max_bad: int = 100
    """Rows without a text that are skipped before one ends the preparation."""

    def __post_init__(self):
        faults = []
        if not self._tokenizer_is_ready():
            faults.append(f"tokenizer={self.tokenizer}: allowed are {allowed_specs(without_text=True)}")
        if self.shard_tokens < 1:
            faults.append(f"shard_tokens={self.shard_tokens}: must be at least 1")
        if not 0 < self.val_share < 1:
            faults.append(f"val_share={self.val_share}: must be between 0 and 1")
        for key in ("max_tokens", "jobs"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                faults.append(f"{key}={getattr(self, key)}: must be at least 1")
        if self.max_bad < 0:
            faults.append(f"max_bad={self.max_bad}: must not be negative")
        if faults:
            raise ValueError("\n".join(faults))

    def _tokenizer_is_ready(self) -> bool:
        """Whether the tokenizer can be made before any text is read."""
        try:
            kind = kind_of(self.tokenizer)
        except ValueError:
            return False
        return not kind.needs and (kind is not TOKENIZERS["tokenizer.json"] or self.tokenizer_json.is_file())

    @property
    def tokenizer_json(self) -> Path:
        return tokenizer_folder(self.tokenizer) / "tokenizer.json"

    def identity(self) -> dict:
        """What must not change when a prepare is restarted; a tokenizer's folder may move."""
        same = {key: getattr(self, key) for key in ("tokenizer", "shard_tokens", "val_share")}
        if self.tokenizer_json.is_file():
            same["tokenizer"] = f"sha256 {sha256(self.tokenizer_json)}"
        return same


def split_of(digest: bytes, val_share: float) -> str:
    """The split of a document, by the SHA-256 of its text."""
    return "val" if int.from_bytes(digest[:8], "big") < val_share * 2**64 else "train"


def prepare(
    out_dir: str | Path, source: Source, plan: Plan, overwrite: bool = False, quiet: bool = False
) -> dict:
    """Tokenize documents into shards in out_dir, from where an earlier prepare stopped; returns the meta.

    Raises:
        ValueError: the documents can't be read, another prepare works here, or out_dir holds other data.
    """
    out_dir = Path(out_dir)
    with exclusive_lock(out_dir, "preparing data here"):
        return _prepare(out_dir, source, plan, overwrite, quiet)


def _prepare(out_dir, source, plan, overwrite, quiet) -> dict:
    check_ours(out_dir, "meta.json", "progress.json", *WRITTEN)
    for path in out_dir.glob("*.json.[0-9]*.tmp"):  # of a prepare that was killed
        path.unlink()
    progress = _read_progress(out_dir, source.identity() | plan.identity(), overwrite)
    meta_path = out_dir / "meta.json"
    ended = progress["ended"] and not source.has_more(progress["stream"])
    enough = ended or (plan.max_tokens and progress["tokens"] >= plan.max_tokens)
    if enough and meta_path.exists():
        return _read_json(meta_path)
    rows = None if enough else source.open(progress["stream"], plan.max_bad, quiet)
    encoder = make_tokenizer(plan.tokenizer)
    if encoder.end_of_text_id is None:
        encoder.end_at(encoder.vocab_size)
    end, vocab_size = encoder.end_of_text_id, encoder.vocab_size
    dtype = "uint16" if vocab_size <= 2**16 else "uint32"
    if not progress["splits"]:
        check_unread(out_dir)
        for old in (meta_path, *(path for pattern in WRITTEN for path in out_dir.glob(pattern))):
            old.unlink(missing_ok=True)
    splits = progress["splits"] or {"train": None, "val": None}
    writers = {s: ShardWriter(out_dir, s, dtype, plan.shard_tokens, saved) for s, saved in splits.items()}
    if rows is not None:
        _encode_all(out_dir, plan, rows, partial(_encode, encoder=encoder, end=end), writers, progress, quiet)
    if not all(writer.tokens for writer in writers.values()):
        raise ValueError(_too_few(source, progress["documents"]))
    meta = {
        "format": 2,
        "source": f"{progress['documents']:,} documents of {source}",
        "source_sha256": progress["digest"],
        "vocab_size": vocab_size,
        "end_of_text": end,
        "dtype": dtype,
        "splits": {split: writer.finish() for split, writer in writers.items()},
        "bad_rows": progress["bad"],
        "tokenizer": encoder.to_json(),
    }
    _save(out_dir, writers, progress)  # first: a shard that a meta.json names is not written to again
    return _publish(out_dir, meta)


def _too_few(source: Source, documents: int) -> str:
    if not documents:
        return f"{source}: holds no documents"
    return f"{source}: {documents:,} documents leave a split empty; give more, or another --val_share"


def _publish(out_dir: Path, meta: dict) -> dict:
    """Write meta.json over that of a smaller dataset, which it knows as its past."""
    path = out_dir / "meta.json"
    streams = (
        TokenStream([file.ids for file in open_split(out_dir, split, meta)]) for split in meta["splits"]
    )
    first = [stream[:BASELINE_TOKENS] for stream in streams]
    meta["baselines_nats"] = split_baselines(*first, meta["vocab_size"])
    meta["earlier"] = grown_from(_read_json(path) if path.exists() else None, meta)
    write_json(path, meta)
    return _read_json(path)


def _read_progress(out_dir: Path, identity: dict, overwrite: bool) -> dict:
    """How far an earlier prepare came. Raises ValueError when it made something else."""
    path = out_dir / "progress.json"
    if path.exists() and not overwrite:
        progress = _read_json(path, "made_from")
        before = progress["made_from"]
        other = [key for key in identity | before if identity.get(key) != before.get(key)]
        if other and progress["documents"]:
            raise ValueError(
                f"{out_dir}: holds shards of another {', '.join(other)} "
                f"({other[0]}={before.get(other[0])}, now {identity.get(other[0])}); choose another --out, "
                "or --overwrite"
            )
        if not other:
            return progress
    elif not overwrite and (out_dir / "meta.json").exists():
        raise ValueError(f"{out_dir}: holds another dataset; choose another --out, or --overwrite")
    fresh = {"stream": None, "splits": None, "documents": 0, "tokens": 0, "bad": 0, "digest": ""}
    return {"made_from": identity, "ended": False} | fresh


def _save(out_dir: Path, writers: dict, progress: dict) -> None:
    progress["splits"] = {split: writer.mark() for split, writer in writers.items()}
    write_json(out_dir / "progress.json", progress)


def _encode_all(out_dir, plan, rows: Rows, encode, writers, progress, quiet) -> None:
    """Stream, encode and write until the end or max_tokens, saving progress now and then."""
    saved_at, jobs = time.monotonic(), plan.jobs or cores()
    bar = tqdm(desc="encoding", unit="tok", unit_scale=True, total=plan.max_tokens, disable=quiet or None)
    bar.update(progress["tokens"])
    _save(out_dir, writers, progress)
    try:
        for documents, state in map_in_order(encode, _batches(rows), jobs):
            with unbroken():
                full, before = _write(documents, writers, plan.val_share, progress), progress["tokens"]
                progress["stream"], progress["bad"] = state, state["skipped"]
                progress["tokens"] = sum(w.tokens for w in writers.values())
            bar.update(progress["tokens"] - before)
            if full or time.monotonic() - saved_at > SAVE_EVERY_S:
                _save(out_dir, writers, progress)
                saved_at = time.monotonic()
            if plan.max_tokens and progress["tokens"] >= plan.max_tokens:
                progress["ended"] = False
                break
        else:
            progress["ended"], progress["bad"] = True, rows.bad
    except (ReadError, KeyboardInterrupt):
        _save(out_dir, writers, progress)
        raise
    finally:
        bar.close()
    _save(out_dir, writers, progress)


def _batches(rows: Rows) -> Iterator[tuple[list[str], dict]]:
    """Documents, some at a time, each time with the state of the rows after them."""
    texts, chars, fault = [], 0, None
    try:
        for text in rows:
            texts.append(text)
            chars += len(text)
            if len(texts) == BATCH_DOCUMENTS or chars >= BATCH_CHARS:
                yield texts, rows.state()
                texts, chars = [], 0
    except ReadError as error:  # what came before is not lost
        fault = error
    if texts:
        yield texts, rows.state()
    if fault:
        raise fault


def _encode(batch: tuple[list[str], dict], encoder, end: int) -> tuple[list[tuple], dict]:
    """Of each document its hash, ids (n,) that end with the end of text, characters and bytes; and the state
    of the rows after the batch, as it came."""
    texts, state = batch
    documents = []
    for text in texts:
        raw = text.encode()
        ids = np.append(encoder.encode(text), end)
        documents.append((hashlib.sha256(raw).digest(), ids, len(text), len(raw)))
    return documents, state


def _write(documents, writers, val_share: float, progress: dict) -> bool:
    """Append a batch to its splits; returns whether a shard became full."""
    streams = {"train": [], "val": []}
    for digest, ids, chars, size in documents:
        split = split_of(digest, val_share)
        streams[split].append(ids)
        counts = writers[split].counts
        for key, more in (("documents", 1), ("chars", chars), ("bytes", size)):
            counts[key] += more
        chain = bytes.fromhex(progress["digest"]) + digest  # a hash of all so far that can be continued
        progress["digest"] = hashlib.sha256(chain).hexdigest()
    progress["documents"] += len(documents)
    full = [writers[split].write(np.concatenate(ids)) for split, ids in streams.items() if ids]
    return any(full)


def _read_json(path: Path, *keys: str) -> dict:
    try:
        content = parse_json(path.read_bytes(), str(path))
        if missing := [key for key in keys if key not in content]:
            raise ValueError(f"{path}: damaged (no {missing[0]})")
    except ValueError as error:
        raise ValueError(f"{error}; start again with --overwrite") from None
    return content


def write_json(path: Path, content: dict) -> None:
    write_atomically(path, json.dumps(content, ensure_ascii=False, indent=1))
