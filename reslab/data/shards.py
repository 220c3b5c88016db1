"""A split of many shards: one stream of tokens on the disk, appended to and read without loading it.

Shards are <split>-00000.bin, <split>-00001.bin, ...: each has the same number of tokens, but for those
that ended a preparation. A finished shard never changes: a dataset grows by further ones, and its
meta.json says under `earlier` what it was before, so that runs go on with what they began with. A text
may go on in the next shard, and so may a sequence: put end to end, the shards are the stream that one
large file would hold, and batches are the same.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from reslab.data.tokenfile import HASHED_BYTES, TokenFile
from reslab.run.files import flush, sha256


class TokenStream:
    """Arrays of token ids, end to end as one array (n,).

    Args:
        shards: memory-mapped arrays (n_k,); only what a slice asks for is read.
    """

    def __init__(self, shards: list[np.ndarray]):
        self.shards = shards
        self.ends = np.cumsum([len(shard) for shard in shards])

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, part: slice) -> np.ndarray:
        """ids[start:stop]; a view where one shard holds all of it."""
        start, stop, step = part.indices(len(self))
        assert step == 1
        pieces = [self.shards[0][:0]]
        for number in range(int(np.searchsorted(self.ends, start, side="right")), len(self.shards)):
            if start >= stop:
                break
            shard, end = self.shards[number], int(self.ends[number])
            begin = end - len(shard)
            pieces.append(shard[start - begin : min(stop, end) - begin])
            start = end
        return pieces[-1] if len(pieces) <= 2 else np.concatenate(pieces[1:])


def open_split(folder: Path, split: str, meta: dict) -> list[TokenFile]:
    """The files of a split in order: <split>.bin, or the shards that meta.json lists.

    Their hashes are compared where the split as a whole is small enough for that.

    Raises:
        ValueError: a file is not what meta.json says, or meta.json is damaged.
    """
    about = meta["splits"][split]
    listed = about.get("shards", [{"file": f"{split}.bin"} | about])
    try:
        if sum(shard["tokens"] for shard in listed) != about["tokens"]:
            raise TypeError(f"the shards of {split} do not add up")
        limit = HASHED_BYTES // len(listed)
        entries = [(shard["file"], meta["dtype"], shard["tokens"], shard["sha256"]) for shard in listed]
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise ValueError(f"{folder / 'meta.json'}: damaged ({error}); prepare it again") from None
    return [TokenFile(folder, *entry, limit) for entry in entries]


def grown_from(old: dict | None, new: dict) -> list[dict]:
    """The `earlier` of a new meta.json that follows an old one: what differs, with counts for shards."""
    if old is None or old["splits"] == new["splits"]:
        return [] if old is None else old.get("earlier", [])
    past = {key: old[key] for key in ("source", "source_sha256", "baselines_nats")}
    past["splits"] = {s: about | {"shards": len(about["shards"])} for s, about in old["splits"].items()}
    return [*old.get("earlier", []), past]


def earlier_meta(meta: dict, train_sha256: str) -> dict | None:
    """meta.json as it was when the training split had this hash, or None.

    Raises:
        ValueError: what it says of its past is damaged.
    """
    try:
        for number, past in enumerate(meta.get("earlier", [])):
            if past["splits"]["train"]["sha256"] == train_sha256:
                splits = {
                    split: about | {"shards": meta["splits"][split]["shards"][: about["shards"]]}
                    for split, about in past["splits"].items()
                }
                return meta | past | {"splits": splits, "earlier": meta["earlier"][:number]}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"meta.json: damaged (earlier: {error}); prepare it again") from None
    return None


def touched(files: list[TokenFile], starts: np.ndarray, length: int) -> list[TokenFile]:
    """Those of a split's files that hold a part of the sequences [start, start + length)."""
    ends = np.cumsum([len(file.ids) for file in files])
    firsts, lasts = (np.searchsorted(ends, starts + shift, side="right") for shift in (0, length - 1))
    numbers = {n for first, last in zip(firsts, lasts, strict=True) for n in range(first, last + 1)}
    return [files[n] for n in sorted(numbers)]


class ShardWriter:
    """Appends tokens to a split's open shard, a .part; a full one gets its name and its hash.

    Args:
        saved: what mark() returned in an earlier prepare: all that was written after it is cut off.

    Raises:
        ValueError: a file holds less than mark() knew.
    """

    def __init__(self, folder: Path, split: str, dtype: str, shard_tokens: int, saved: dict | None = None):
        self.folder, self.split, self.dtype, self.shard_tokens = folder, split, np.dtype(dtype), shard_tokens
        saved = saved or {"shards": [], "open_tokens": 0, "documents": 0, "chars": 0, "bytes": 0}
        self.shards, self.open_tokens = list(saved["shards"]), saved["open_tokens"]
        self.counts = {key: saved[key] for key in ("documents", "chars", "bytes")}
        self._cut()

    def _path(self, number: int) -> Path:
        return self.folder / f"{self.split}-{number:05d}.bin"

    def _part(self) -> Path:
        path = self._path(len(self.shards))
        return path.with_name(path.name + ".part")

    def _cut(self) -> None:
        """Make the files what mark() knew, and open the last. A shard that mark() did not know as finished
        is in no meta.json yet."""
        if self._path(len(self.shards)).exists():
            self._path(len(self.shards)).replace(self._part())
        known = {shard["file"] for shard in self.shards} | {self._part().name}
        for path in self.folder.glob(f"{self.split}-{'[0-9]' * 5}.bin*"):
            if path.name not in known:
                path.unlink()
        self.file = self._part().open("ab")
        if self.file.tell() < self.open_tokens * self.dtype.itemsize or not all(
            (self.folder / shard["file"]).is_file() for shard in self.shards
        ):
            raise ValueError(f"{self.folder}: {self.split} shards are lost; start again with --overwrite")
        self.file.truncate(self.open_tokens * self.dtype.itemsize)

    @property
    def tokens(self) -> int:
        """Tokens written so far."""
        return sum(shard["tokens"] for shard in self.shards) + self.open_tokens

    def write(self, ids: np.ndarray) -> bool:
        """Append ids (n,); returns whether a shard became full."""
        before = len(self.shards)
        while len(ids):
            head, ids = np.split(ids, [self.shard_tokens - self.open_tokens])
            self.file.write(head.astype(self.dtype).tobytes())
            self.open_tokens += len(head)
            if self.open_tokens == self.shard_tokens:
                self.shards.append(self.close())
                self.open_tokens = 0
                self.file = self._part().open("wb")
        return len(self.shards) > before

    def mark(self) -> dict:
        """Bring everything to the disk; returns what goes on from here."""
        if not self.file.closed:
            self.file.flush()
            os.fsync(self.file.fileno())
        return {"shards": list(self.shards), "open_tokens": self.open_tokens} | self.counts

    def close(self) -> dict:
        """Give the open shard its name; returns its entry for meta.json."""
        self.mark()
        self.file.close()
        path = self._path(len(self.shards))
        self._part().replace(path)
        flush(self.folder)  # the new name must outlive a power cut, too
        return {"file": path.name, "tokens": self.open_tokens, "sha256": sha256(path)}

    def finish(self) -> dict:
        """Give the open shard its name, however short it is, and close the split; returns its entry for
        meta.json. mark() knows the shard as finished from then on."""
        if self.open_tokens:
            self.shards.append(self.close())
            self.open_tokens = 0
        else:
            self.file.close()
            self._part().unlink()
        digest = hashlib.sha256("".join(shard["sha256"] for shard in self.shards).encode()).hexdigest()
        return {"tokens": self.tokens} | self.counts | {"sha256": digest, "shards": self.shards}
