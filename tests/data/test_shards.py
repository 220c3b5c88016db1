"""Token files and shards: what is on the disk is what was written, whatever came in between."""

import hashlib
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.data import shards
from reslab.data.shards import ShardWriter, TokenStream, open_split, touched
from reslab.data.tokenfile import TokenFile


def write(path, ids, dtype="uint16") -> dict:
    data = np.asarray(ids, dtype=dtype).tobytes()
    path.write_bytes(data)
    return {"file": path.name, "tokens": len(ids), "sha256": hashlib.sha256(data).hexdigest()}


class Sized:
    """A token file of which only its length is asked."""

    def __init__(self, length: int):
        self.ids = range(length)


@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12), st.data())
def test_exactly_the_shards_under_a_sequence_are_checked(lengths, length, data):
    total = sum(lengths)
    length = min(length, total)
    starts = data.draw(st.lists(st.integers(0, total - length), min_size=1, max_size=3))
    owner = np.repeat(np.arange(len(lengths)), lengths)
    files = [Sized(n) for n in lengths]
    expected = sorted({n for s in starts for n in owner[s : s + length].tolist()})
    assert touched(files, np.array(starts), length) == [files[n] for n in expected]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=5), st.integers(0, 35), st.integers(0, 35))
def test_a_slice_of_a_stream_is_that_of_its_shards_end_to_end(lengths, start, stop):
    ids = np.arange(sum(lengths))
    stream = TokenStream(np.split(ids, np.cumsum(lengths)[:-1]))
    tokens, owners = stream[start:stop], np.repeat(np.arange(len(lengths)), lengths)[start:stop]
    assert len(stream) == len(ids) and tokens.tolist() == ids[start:stop].tolist()
    assert len(set(owners)) != 1 or np.shares_memory(tokens, ids)  # nothing is copied within a shard


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(0, 13), max_size=6), st.integers(1, 7), st.booleans(), st.sampled_from([2, 4]))
def test_shards_hold_what_was_written_across_restarts(tmp_path_factory, sizes, shard_tokens, dies, size):
    """A process that ends after mark() leaves more than that on the disk; the next one takes it off again."""
    folder, dtype, written, saved = tmp_path_factory.mktemp("shards"), f"uint{8 * size}", [], None
    writer = ShardWriter(folder, "val", dtype, shard_tokens)
    for number, count in enumerate(sizes):
        ids = np.arange(count) + 100 * number
        full = writer.tokens // shard_tokens
        assert writer.write(ids) == (writer.tokens // shard_tokens > full)
        written += ids.tolist()
        writer.counts["documents"] += 1
        if dies and number % 2:
            saved = writer.mark()
            writer.write(np.full(9, 7))
            writer.file.close()
            writer = ShardWriter(folder, "val", dtype, shard_tokens, saved)
            assert writer.tokens == len(written)
    entry = writer.finish()
    assert entry["tokens"] == len(written) and entry["documents"] == len(sizes)
    assert sorted(p.name for p in folder.iterdir()) == [shard["file"] for shard in entry["shards"]]
    assert all(shard["tokens"] == shard_tokens for shard in entry["shards"][:-1])
    digests = "".join(shard["sha256"] for shard in entry["shards"])
    assert entry["sha256"] == hashlib.sha256(digests.encode()).hexdigest()
    if written:
        files = open_split(folder, "val", {"dtype": dtype, "splits": {"val": entry}})
        assert TokenStream([file.ids for file in files])[:].tolist() == written


def test_lost_shards_are_not_gone_on_from(tmp_path):
    writer = ShardWriter(tmp_path, "train", "uint16", 10)
    writer.write(np.arange(28))
    saved = writer.mark()
    writer.file.close()
    part = tmp_path / "train-00002.bin.part"
    part.write_bytes(part.read_bytes()[:-2])
    with pytest.raises(ValueError, match="train shards are lost; start again with --overwrite"):
        ShardWriter(tmp_path, "train", "uint16", 10, saved)
    part.write_bytes(bytes(16))
    (tmp_path / "train-00000.bin").unlink()
    with pytest.raises(ValueError, match="train shards are lost"):
        ShardWriter(tmp_path, "train", "uint16", 10, saved)


def test_shards_that_do_not_add_up_are_refused(tmp_path):
    listed = [write(tmp_path / f"train-0000{n}.bin", range(5)) for n in range(2)]
    about = {"tokens": 10, "sha256": "", "shards": listed}
    assert len(open_split(tmp_path, "train", {"dtype": "uint16", "splits": {"train": about}})) == 2
    for change in ({"tokens": 9}, {"tokens": 11}, {"shards": listed[:1]}, {"shards": []}):
        with pytest.raises(ValueError, match=r"meta\.json: damaged"):
            open_split(tmp_path, "train", {"dtype": "uint16", "splits": {"train": about | change}})


def test_a_split_is_hashed_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    """What takes too long to read in one file does in many, too."""
    listed = [write(tmp_path / f"train-0000{n}.bin", range(5)) for n in range(2)]
    meta = {"dtype": "uint16", "splits": {"train": {"tokens": 10, "sha256": "", "shards": listed}}}
    (tmp_path / "train-00001.bin").write_bytes(bytes(10))
    for limit, hashed in ((20, True), (19, False)):
        monkeypatch.setattr(shards, "HASHED_BYTES", limit)
        if hashed:
            with pytest.raises(ValueError, match=r"train-00001\.bin: its sha256 is"):
                open_split(tmp_path, "train", meta)
        else:
            assert len(open_split(tmp_path, "train", meta)) == 2


@pytest.mark.parametrize("dtype", ["uint16", "uint32"])
def test_a_file_of_tokens_is_read_as_it_was_written_and_can_not_be_changed(tmp_path, dtype):
    ids = [0, 1, np.iinfo(dtype).max]
    about = write(tmp_path / "train.bin", ids, dtype)
    file = TokenFile(tmp_path, "train.bin", dtype, 3, about["sha256"])
    assert file.ids.tolist() == ids
    with pytest.raises(ValueError, match="read-only"):
        file.ids[0] = 5
    for tokens in (2, 4):
        with pytest.raises(ValueError, match=r"bytes, its meta\.json says"):
            TokenFile(tmp_path, "train.bin", dtype, tokens, about["sha256"])
    with pytest.raises(ValueError, match="allowed are uint16, uint32"):
        TokenFile(tmp_path, "train.bin", "int64", 3, about["sha256"])
    with pytest.raises(ValueError, match="its sha256 is"):
        TokenFile(tmp_path, "train.bin", dtype, 3, "0" * 64, hashed_bytes=3 * np.dtype(dtype).itemsize)


@pytest.mark.parametrize("how", ["written later", "another file", "longer"])
def test_any_change_of_a_file_that_is_open_is_seen(tmp_path, how):
    """Each of time, place and length alone."""
    path = tmp_path / "train.bin"
    about = write(path, range(9))
    file = TokenFile(tmp_path, "train.bin", "uint16", 9, about["sha256"])
    file.check()
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    if how == "written later":
        os.utime(path, ns=(times[0], times[1] + 1_000_000))
    elif how == "longer":
        with path.open("ab") as open_file:
            open_file.write(b"\0\0")
        os.utime(path, ns=times)
    else:
        write(tmp_path / "new", range(9))
        os.utime(tmp_path / "new", ns=times)
        (tmp_path / "new").replace(path)
    with pytest.raises(ValueError, match="changed while a run reads it"):
        file.check()
