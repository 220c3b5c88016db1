"""Documents in, a dataset of many shards out: streamed, on all cores, and continued after a kill.

Every document is encoded whole and ends with the end-of-text token. Whether it is a validation
document is told by the hash of its text alone, so it stays one however much is read, and copies of it
fall into the same split. progress.json says how far the shards are good; what lies beyond is made again.
"""

import hashlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from tqdm import tqdm

from reslab.corpus import arguments, describe
from reslab.lock import only_one
from reslab.shards import ShardWriter, TokenStream, open_split
from reslab.source import KINDS, ReadError, Source, find_inputs
from reslab.tokenizer import make_tokenizer
from reslab.yardstick import yardsticks

BATCH_DOCUMENTS, BATCH_CHARS = 256, 1 << 21  # a batch ends with the document that reaches one of them
YARDSTICK_TOKENS = 10_000_000  # first tokens of each split that the yardsticks are fitted and read on
SAVE_EVERY_S = 10.0


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

    def __post_init__(self):
        faults = []
        if self.tokenizer not in ("gpt2", "byte"):
            faults.append(f"tokenizer={self.tokenizer}: allowed are gpt2 and byte")
        if self.shard_tokens < 1:
            faults.append(f"shard_tokens={self.shard_tokens}: must be at least 1")
        if not 0 < self.val_share < 1:
            faults.append(f"val_share={self.val_share}: must be between 0 and 1")
        for key in ("max_tokens", "jobs"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                faults.append(f"{key}={getattr(self, key)}: must be at least 1")
        if faults:
            raise ValueError("\n".join(faults))

    def identity(self) -> dict:
        return {key: getattr(self, key) for key in ("tokenizer", "shard_tokens", "val_share")}


def split_of(digest: bytes, val_share: float) -> str:
    """The split of a document, by the SHA-256 of its text."""
    return "val" if int.from_bytes(digest[:8], "big") < val_share * 2**64 else "train"


def prepare(out_dir: Path, source: Source, plan: Plan, overwrite: bool = False, quiet: bool = False) -> dict:
    """Tokenize documents into shards in out_dir, from where an earlier life stopped; returns the meta.

    Raises:
        ValueError: the documents can't be read, another prepare works here, or out_dir holds other data.
    """
    with only_one(out_dir, "preparing data here"):
        return _prepare(out_dir, source, plan, overwrite, quiet)


def _prepare(out_dir, source, plan, overwrite, quiet) -> dict:
    progress = _read_progress(out_dir, source.identity() | plan.identity(), overwrite)
    meta_path = out_dir / "meta.json"
    enough = progress["ended"] or (plan.max_tokens and progress["tokens"] >= plan.max_tokens)
    if enough and meta_path.exists():
        return json.loads(meta_path.read_text(encoding="utf-8"))
    stream = None if enough else source.open(progress["stream"])
    encoder = make_tokenizer(plan.tokenizer, (), "")
    end = encoder.vocab_size - 1 if plan.tokenizer == "gpt2" else encoder.vocab_size
    dtype = "uint16" if end < 2**16 else "uint32"
    for old in [meta_path] if progress["splits"] else [meta_path, *out_dir.glob("*.bin")]:
        old.unlink(missing_ok=True)
    splits = progress["splits"] or {"train": None, "val": None}
    writers = {s: ShardWriter(out_dir, s, dtype, plan.shard_tokens, saved) for s, saved in splits.items()}
    if stream is not None:
        encode = partial(_encode, encoder=encoder, end=end)
        _encode_all(out_dir, source, plan, stream, encode, writers, progress, quiet)
    if not all(writer.tokens for writer in writers.values()):
        n = progress["documents"]
        raise ValueError(f"{source}: {n:,} documents leave a split empty; give more, or another --val_share")
    meta = {
        "format": 2,
        "source": f"{progress['documents']:,} documents of {source}",
        "source_sha256": progress["digest"],
        "vocab_size": end + 1,
        "end_of_text": end,
        "dtype": dtype,
        "splits": {split: writer.finish() for split, writer in writers.items()},
        "tokenizer": encoder.to_json(),
    }
    streams = (TokenStream([file.ids for file in open_split(out_dir, split, meta)]) for split in splits)
    first = [stream[:YARDSTICK_TOKENS] for stream in streams]
    _write_json(meta_path, meta | {"yardsticks_nats": yardsticks(*first, end + 1)})
    return json.loads(meta_path.read_text(encoding="utf-8"))


def _read_progress(out_dir: Path, identity: dict, overwrite: bool) -> dict:
    """How far an earlier life came. Raises ValueError when it made something else."""
    path = out_dir / "progress.json"
    if path.exists() and not overwrite:
        try:
            progress = json.loads(path.read_text(encoding="utf-8"))
            made = progress["made_from"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError) as error:
            raise ValueError(f"{path}: damaged ({error}); start again with --overwrite") from None
        other = [key for key in identity | made if identity.get(key) != made.get(key)]
        if other and progress["documents"]:
            raise ValueError(
                f"{out_dir}: holds shards of another {', '.join(other)} "
                f"({other[0]}={made.get(other[0])}, now {identity.get(other[0])}); choose another --out, or "
                "--overwrite"
            )
        if not other:
            return progress
    elif not overwrite and ((out_dir / "meta.json").exists() or any(out_dir.glob("*.bin"))):
        raise ValueError(f"{out_dir}: holds another dataset; choose another --out, or --overwrite")
    fresh = {"stream": None, "splits": None, "documents": 0, "tokens": 0, "digest": "", "ended": False}
    return {"made_from": identity} | fresh


def _encode_all(out_dir, source, plan, stream, encode, writers, progress, quiet) -> None:
    """Stream, encode and write until the end or max_tokens, saving progress now and then."""
    saved_at, jobs = time.monotonic(), plan.jobs or os.cpu_count() or 1

    def save():
        progress["splits"] = {split: writer.mark() for split, writer in writers.items()}
        _write_json(out_dir / "progress.json", progress)

    bar = tqdm(desc="encoding", unit="tok", unit_scale=True, total=plan.max_tokens, disable=quiet or None)
    bar.update(progress["tokens"])
    batches, pool = _batches(source, stream, progress["documents"]), ThreadPoolExecutor(jobs)
    save()
    try:
        for documents, state in _in_order(pool, encode, batches, 2 * jobs):
            full, before = _write(documents, writers, plan.val_share, progress), progress["tokens"]
            progress["stream"], progress["tokens"] = state, sum(w.tokens for w in writers.values())
            bar.update(progress["tokens"] - before)
            if full or time.monotonic() - saved_at > SAVE_EVERY_S:
                save()
                saved_at = time.monotonic()
            if plan.max_tokens and progress["tokens"] >= plan.max_tokens:
                break
        else:
            progress["ended"] = True
    except ReadError:
        save()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        bar.close()
    save()


def _batches(source: Source, stream, done: int) -> Iterator[tuple[list[str], dict]]:
    """Documents, some at a time, each time with the state of the stream after them."""
    texts, chars = [], 0
    for text in source.texts(stream, done):
        texts.append(text)
        chars += len(text)
        if len(texts) == BATCH_DOCUMENTS or chars >= BATCH_CHARS:
            yield texts, stream.state_dict()
            texts, chars = [], 0
    if texts:
        yield texts, stream.state_dict()


def _in_order(pool, encode, batches, ahead: int) -> Iterator[tuple]:
    """Encoded batches in the order of their texts, with up to `ahead` under way."""
    waiting = deque()
    for texts, state in batches:
        waiting.append((pool.submit(encode, texts), state))
        if len(waiting) > ahead:
            future, state = waiting.popleft()
            yield future.result(), state
    while waiting:
        future, state = waiting.popleft()
        yield future.result(), state


def _encode(texts: list[str], encoder, end: int) -> list[tuple[bytes, np.ndarray, int, int]]:
    """Hash, ids (n,) that end with the end of text, characters and bytes of each document."""
    found = []
    for text in texts:
        raw = text.encode()
        ids = np.append(encoder.encode(text), end)
        found.append((hashlib.sha256(raw).digest(), ids, len(text), len(raw)))
    return found


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


def _write_json(path: Path, content: dict) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def run_documents(doc: str, here: Path, repo: str, subset: str | None) -> None:
    """A prepare.py of documents as a command line: prints a summary, or one line and exit code 2."""
    parser = arguments(doc, here)
    add, plan = parser.add_argument, Plan()
    add("--input", nargs="+", type=Path, metavar="PATH", help=f"{', '.join(KINDS)} files, or folders of them")
    add("--text_column", default="text", metavar="NAME", help="column of the text (default: %(default)s)")
    add("--subset", default=subset, metavar="NAME", help="subset on the Hub (default: %(default)s)")
    add("--tokenizer", default=plan.tokenizer, help="gpt2 or byte (default: %(default)s)")
    add("--max_tokens", type=float, metavar="N", help="stop there, e.g. 1e9; a later run with more goes on")
    add("--shard_tokens", type=float, default=plan.shard_tokens, metavar="N", help="(default: %(default)s)")
    share = "of the documents (default: %(default)s)"
    add("--val_share", type=float, default=plan.val_share, metavar="X", help=share)
    add("--jobs", type=int, metavar="N", help="threads that encode (default: all cores)")
    add("--overwrite", action="store_true", help="delete what is in the folder first")
    args = parser.parse_args()
    try:
        files = find_inputs(args.input or [])
        source = Source(repo, args.subset, files, args.text_column)
        limit = None if args.max_tokens is None else int(args.max_tokens)
        plan = Plan(args.tokenizer, int(args.shard_tokens), args.val_share, limit, args.jobs)
        if not files and not args.quiet:
            print(f"reading {source} from the Hugging Face Hub", flush=True)
        meta = prepare(args.out, source, plan, args.overwrite, args.quiet)
    except (ValueError, OSError) as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the last finished shard or later", file=sys.stderr)
        raise SystemExit(130) from None
    if not args.quiet:
        print(describe(args.out, meta))
