"""Documents in, shards out: every boundary exact, nothing lost or doubled, a kill costs nothing."""

import gzip
import hashlib
import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT

from reslab.data import documents, shards
from reslab.data.baselines import split_baselines
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.data.documents import Plan, prepare, split_of
from reslab.data.rows import ReadError
from reslab.data.source import LocalRows, Source, find_inputs

END = 256  # the byte tokenizer's end of text
TEXTS = [f"Document {i}.\n" + "größer als 1 " * (i * 37 % 29) for i in range(700)]
TEXTS += ["", "<|endoftext|>", TEXTS[5], "x" * 3000]  # empty, a word that looks special, a copy, a long one
PLAN = Plan("byte", shard_tokens=5000, val_share=0.1, jobs=2)
CACHE = ROOT.parent / "shared" / "data" / "tiktoken_cache"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """The same documents as parquet files of several row groups, as jsonl, and as jsonl.gz."""
    folder = tmp_path_factory.mktemp("inputs")
    for number, texts in enumerate([TEXTS[:300], TEXTS[300:]]):
        table = pyarrow.table({"id": list(range(len(texts))), "text": texts})
        (folder / "parquet").mkdir(exist_ok=True)
        pyarrow.parquet.write_table(table, folder / "parquet" / f"{number}.parquet", row_group_size=90)
        lines = "".join(json.dumps({"meta": {"n": n}, "text": t}) + "\n" for n, t in enumerate(texts))
        for name, opened in (("jsonl", Path.open), ("jsonl.gz", gzip.open)):
            (folder / name).mkdir(exist_ok=True)
            with opened(folder / name / f"{number}.{name}", "wt", encoding="utf-8") as file:
                file.write(lines)
    return folder


def source(inputs, kind="parquet", column="text") -> Source:
    return Source("nobody/nothing", None, tuple(find_inputs([inputs / kind]).files), column)


def read_documents(folder: Path, split: str) -> list[str]:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    files = [folder / shard["file"] for shard in meta["splits"][split]["shards"]]
    ids = np.concatenate([np.fromfile(path, dtype=meta["dtype"]) for path in files])
    assert ids[-1] == END
    ends = np.flatnonzero(ids == END)
    return [bytes(part[part != END].tolist()).decode() for part in np.split(ids, ends[:-1] + 1)]


def contents(folder: Path) -> dict:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.suffix == ".bin" or p.name == "meta.json"}


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "jsonl.gz"])
def test_every_document_is_there_once_and_in_order(inputs, tmp_path, kind):
    meta = prepare(tmp_path, source(inputs, kind), PLAN, quiet=True)
    for split in ("train", "val"):
        expected = [t for t in TEXTS if split_of(hashlib.sha256(t.encode()).digest(), 0.1) == split]
        assert read_documents(tmp_path, split) == expected
        counts = meta["splits"][split]
        assert counts["documents"] == len(expected) and counts["chars"] == sum(map(len, expected))
        assert counts["bytes"] == sum(len(t.encode()) for t in expected)
        assert counts["tokens"] == counts["bytes"] + len(expected)
        sizes = [shard["tokens"] for shard in counts["shards"]]
        assert set(sizes[:-1]) <= {5000} and 0 < sizes[-1] <= 5000 and sum(sizes) == counts["tokens"]
        for shard in counts["shards"]:
            assert hashlib.sha256((tmp_path / shard["file"]).read_bytes()).hexdigest() == shard["sha256"]
    assert meta["end_of_text"] == END and meta["vocab_size"] == END + 1
    assert len(meta["splits"]["train"]["shards"]) > 10


def test_the_validation_split_does_not_depend_on_how_much_is_read(inputs, tmp_path):
    prepare(tmp_path / "part", source(inputs), Plan("byte", 5000, 0.1, max_tokens=60_000), quiet=True)
    prepare(tmp_path / "all", source(inputs), PLAN, quiet=True)
    for split in ("train", "val"):
        part, all_rows = read_documents(tmp_path / "part", split), read_documents(tmp_path / "all", split)
        assert 0 < len(part) < len(all_rows) and all_rows[: len(part)] == part
    share = np.mean(
        [split_of(hashlib.sha256(bytes([i, j])).digest(), 0.1) == "val" for i in range(99) for j in range(99)]
    )
    assert share == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize("kind", ["parquet", "jsonl.gz"])
def test_more_goes_on_where_less_stopped(inputs, tmp_path, monkeypatch, kind):
    prepare(tmp_path / "at-once", source(inputs, kind), PLAN, quiet=True)
    plan = Plan("byte", 5000, 0.1, max_tokens=60_000)
    first = prepare(tmp_path / "parts", source(inputs, kind), plan, quiet=True)
    encoded = []
    real = documents._encode
    monkeypatch.setattr(
        documents, "_encode", lambda batch, **rest: encoded.extend(batch[0]) or real(batch, **rest)
    )
    meta = prepare(tmp_path / "parts", source(inputs, kind), PLAN, quiet=True)
    for split in ("train", "val"):
        assert read_documents(tmp_path / "parts", split) == read_documents(tmp_path / "at-once", split)
    assert len(encoded) == len(TEXTS) - sum(counts["documents"] for counts in first["splits"].values())
    encoded.clear()
    assert prepare(tmp_path / "parts", source(inputs, kind), PLAN, quiet=True) == meta and not encoded


KILLED = """
import os, sys
from pathlib import Path
from reslab.data import documents
from reslab.data.source import Source, find_inputs
out, inputs, place, left = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], [int(sys.argv[4])]
documents.BATCH_DOCUMENTS = 20
owner = documents if place == "write_json" else documents.ShardWriter
real = getattr(owner, place)
def dying(*args, **rest):
    left[0] -= 1
    if left[0] == 0 and place == "write":
        args[0].file.write(b"torn")
        args[0].file.flush()
    if left[0] == 0:
        os._exit(9)
    return real(*args, **rest)
setattr(owner, place, dying)
plan = documents.Plan("byte", 5000, 0.1, jobs=2)
documents.prepare(out, Source("nobody/nothing", None, tuple(find_inputs([inputs]).files)), plan, quiet=True)
"""


def test_a_killed_prepare_goes_on_to_the_same_bytes(inputs, tmp_path):
    """Killed in an append, at a shard's end and at a saving of progress; finished shards stay untouched."""
    prepare(tmp_path / "whole", source(inputs), PLAN, quiet=True)
    killed, finished = tmp_path / "killed", {}
    for place, nth in (("write", 31), ("close", 4), ("write_json", 3)):
        argv = [sys.executable, "-c", KILLED, killed, inputs / "parquet", place, str(nth)]
        assert subprocess.run(argv, cwd=ROOT).returncode == 9
        assert not (killed / "meta.json").exists()
        assert {path: path.stat().st_mtime_ns for path in finished} == finished
        progress = json.loads((killed / "progress.json").read_text(encoding="utf-8"))
        shards = [
            killed / shard["file"] for split in progress["splits"].values() for shard in split["shards"]
        ]
        assert len(shards) > len(finished)
        finished = {path: path.stat().st_mtime_ns for path in shards}
    prepare(killed, source(inputs), PLAN, quiet=True)
    assert contents(killed) == contents(tmp_path / "whole")
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert {p.name for p in killed.iterdir()} - set(contents(killed)) == {"progress.json"}


def test_batches_of_shards_are_those_of_one_file(inputs, tmp_path):
    """Windows go over the ends of shards as if there were none."""
    meta = prepare(
        tmp_path / "shards", source(inputs), Plan("byte", shard_tokens=1000, val_share=0.1), quiet=True
    )
    (tmp_path / "one").mkdir()
    for split, counts in meta["splits"].items():
        pieces = [(tmp_path / "shards" / shard["file"]).read_bytes() for shard in counts.pop("shards")]
        assert len(pieces) > 5
        (tmp_path / "one" / f"{split}.bin").write_bytes(b"".join(pieces))
        counts["sha256"] = hashlib.sha256(b"".join(pieces)).hexdigest()
    (tmp_path / "one" / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    many, one = (TokenDataset(tmp_path / name, block_size=64, seed=3) for name in ("shards", "one"))
    for split in ("train", "val"):
        for step in range(20):
            for a, b in zip(many.batch(split, step, 16), one.batch(split, step, 16), strict=True):
                assert a.equal(b)
        assert (many.eval_starts(split, 50) == one.eval_starts(split, 50)).all()
    assert many.baselines(20) == one.baselines(20)
    ids = [np.fromfile(tmp_path / "one" / f"{split}.bin", meta["dtype"]) for split in ("train", "val")]
    assert meta["baselines_nats"] == split_baselines(*ids, meta["vocab_size"])


def test_shards_are_opened_without_being_read(inputs, tmp_path, monkeypatch):
    prepare(tmp_path, source(inputs), PLAN, quiet=True)
    dataset = TokenDataset(tmp_path, 64, 0)
    assert all(isinstance(shard, np.memmap) for shard in dataset.ids["train"].shards)
    shard = sorted(tmp_path.glob("train-*.bin"))[2]
    shard.write_bytes(b"\x01\x00" * 5000)
    dataset.sequences("train", np.array([0, 9_935, 15_000]))  # the sequences next to it
    for start in (9_936, 14_999):
        with pytest.raises(ValueError, match=r"train-00002\.bin: changed while a run reads it"):
            dataset.sequences("train", np.array([start]))
    with pytest.raises(ValueError, match=r"train-00002\.bin: its sha256 is"):
        TokenDataset(tmp_path, 64, 0)
    monkeypatch.setattr(shards, "HASHED_BYTES", 100_000)  # as if they were larger
    TokenDataset(tmp_path, 64, 0)
    shard.unlink()
    with pytest.raises(ValueError, match=r"train-00002\.bin: missing"):
        TokenDataset(tmp_path, 64, 0)
    meta = json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    meta["splits"]["train"]["shards"].pop()
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ValueError, match=r"meta\.json: damaged \(the shards of train do not add up\)"):
        TokenDataset(tmp_path, 64, 0)


def test_a_model_trains_on_shards(inputs, tmp_path, train_config):
    from reslab.training.loop import train

    prepare(tmp_path / "shards", source(inputs), PLAN, quiet=True)
    assert train(train_config(dataset=str(tmp_path / "shards"), max_iters=3)) == 0


@pytest.mark.skipif(not (CACHE.exists() or "TIKTOKEN_CACHE_DIR" in os.environ), reason="needs GPT-2's merges")
def test_gpt2_documents_end_with_its_own_token(inputs, tmp_path, monkeypatch):
    if "TIKTOKEN_CACHE_DIR" not in os.environ:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(CACHE))
    meta = prepare(tmp_path, source(inputs), Plan("gpt2", 5000, 0.1), quiet=True)
    assert (meta["end_of_text"], meta["vocab_size"], meta["dtype"]) == (50256, 50257, "uint16")
    for counts in meta["splits"].values():
        ids = np.concatenate([np.fromfile(tmp_path / s["file"], np.uint16) for s in counts["shards"]])
        assert (ids == 50256).sum() == counts["documents"] and ids[-1] == 50256


def test_what_can_not_be_read_is_told_in_a_line(inputs, tmp_path, monkeypatch, capsys):
    script = ROOT / "data" / "fineweb_edu" / "prepare.py"
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"text": null}\n', encoding="utf-8")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 not really")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.doc").write_text("a", encoding="utf-8")
    cases = {
        (tmp_path / "none.parquet",): "none.parquet: no such file or folder",
        (tmp_path / "notes.doc",): "notes.doc: must end in .parquet, .jsonl, ",
        (tmp_path / "empty",): "empty: holds no file that ends in",
        (inputs,): "files of 2 kinds; give one kind: json (",
        (tmp_path / "broken.parquet",): "broken.parquet: can't be read (",
        (tmp_path / "bad.jsonl", "--max_bad=0"): "bad.jsonl, line 2: its text is None, which is no text",
        (inputs / "parquet", "--text_column=body"): "no column body; there are id, text: choose with --text",
        (inputs / "parquet", "--val_share=2"): "val_share=2.0: must be between 0 and 1",
        (inputs / "parquet", "--max_tokens=0"): "max_tokens=0: must be at least 1",
        (inputs / "parquet", "--tokenizer=char"): "tokenizer=char: allowed are byte, gpt2, and",
        (inputs / "parquet", "--tokenizer=byte", "--val_share=1e-9"): "documents leave a split empty",
    }
    for number, (argv, told) in enumerate(cases.items()):
        out = tmp_path / f"out{number % 9}"
        command = [script, "--out", out, "--tokenizer=byte", "--input", *argv]
        monkeypatch.setattr(sys, "argv", list(map(str, command)))
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(script), run_name="__main__")
        assert end.value.code == 2
        stderr = capsys.readouterr().err
        assert stderr.startswith("error: ") and told in stderr and len(stderr.splitlines()) == 1, stderr
        assert not (out / "meta.json").exists()


def test_a_hub_out_of_reach_is_told_in_a_line(tmp_path, monkeypatch):
    def unreachable(*argv, **options):
        raise ConnectionError("no route\nand a long story")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        ValueError, match=r"some/text: can't .* Hub \(ConnectionError: no route\); .* --input"
    ):
        prepare(tmp_path, Source("some/text"), PLAN, quiet=True)


def test_a_network_that_fails_later_loses_nothing(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 20)
    real = LocalRows.__iter__

    def failing(self):
        for number, text in enumerate(real(self)):
            if number == 500:
                raise ReadError("ConnectionError: reset")
            yield text

    monkeypatch.setattr(LocalRows, "__iter__", failing)
    with pytest.raises(ValueError, match="ConnectionError: reset"):
        prepare(tmp_path / "parts", source(inputs), PLAN, quiet=True)
    assert json.loads((tmp_path / "parts" / "progress.json").read_text(encoding="utf-8"))["documents"] == 500
    monkeypatch.setattr(LocalRows, "__iter__", real)
    prepare(tmp_path / "parts", source(inputs), PLAN, quiet=True)
    prepare(tmp_path / "whole", source(inputs), PLAN, quiet=True)
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_another_dataset_in_the_folder_is_left_alone(inputs, tmp_path):
    write_dataset(tmp_path, lambda: ["mine " * 50], "char", "mine", quiet=True)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds another dataset; choose another --out"):
        prepare(tmp_path, source(inputs), PLAN, quiet=True)
    assert contents(tmp_path) == before
    prepare(tmp_path, source(inputs), PLAN, overwrite=True, quiet=True)
    with pytest.raises(ValueError, match=r"another val_share \(val_share=0\.1, now 0\.2\)"):
        prepare(tmp_path, source(inputs), Plan("byte", 5000, 0.2), quiet=True)
    for text in ("", "[]", "{}", "[" * 100_000):
        (tmp_path / "progress.json").write_text(text, encoding="utf-8")
        with pytest.raises(
            ValueError, match=r"progress.json: damaged \([^\n]*\); start again with --overwrite$"
        ):
            prepare(tmp_path, source(inputs), PLAN, quiet=True)
