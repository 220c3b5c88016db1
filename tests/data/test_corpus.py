"""Text in, a dataset out: nothing lost, nothing half-written, memory flat."""

import hashlib
import itertools
import json
import math
import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from conftest import ROOT, run_python
from hypothesis import given, settings
from hypothesis import strategies as st

from reslab.data import baselines, corpus, textfiles
from reslab.data.baselines import split_baselines
from reslab.data.corpus import split_safely, write_dataset
from reslab.data.survey import survey
from reslab.data.textfiles import read_files
from reslab.data.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from_json, train_bpe

TEXT = "".join(f"def f{i}(x):\n    return x + {i}  # größer\n\n\n" for i in range(300))
BPE = train_bpe([TEXT], 300)


def make(folder, text=TEXT, tokenizer="char"):
    return write_dataset(folder, lambda: [text], tokenizer, "a test", quiet=True)


@given(st.text())
def test_tokenizers_give_back_what_they_got(text):
    for tokenizer in (ByteTokenizer(), CharTokenizer(text + "a"), BPE):
        ids = tokenizer.encode(text)
        again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
        assert again.decode_bytes(ids.tolist()).decode() == text
        assert (again.encode(text) == ids).all()
        assert ids.max(initial=0) < tokenizer.vocab_size


def test_a_trained_bpe_is_smaller_than_bytes():
    assert BPE.vocab_size == 300
    assert len(BPE.encode(TEXT)) < 0.6 * len(TEXT.encode())


@settings(max_examples=200)
@given(st.lists(st.text(alphabet="ab1 \n\t.'é"), max_size=8), st.integers(1, 9))
def test_parts_encode_like_the_whole(pieces, size):
    text = "".join(pieces)
    parts = list(split_safely(pieces, size))
    assert "".join(parts) == text
    if len(text) < 16 * size:  # where a safe place may be waited for
        assert [i for part in parts for i in BPE.encode(part)] == BPE.encode(text).tolist()


@pytest.mark.parametrize("tokenizer", ["char", "byte", "bpe:270"])
def test_the_two_bins_hold_the_text(tmp_path, tokenizer):
    meta = make(tmp_path, tokenizer=tokenizer)
    assert meta == json.loads((tmp_path / "meta.json").read_text(encoding="utf-8"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["meta.json", "train.bin", "val.bin"]
    encoder = tokenizer_from_json(meta["tokenizer"])
    texts = {}
    for split, counts in meta["splits"].items():
        ids = np.fromfile(tmp_path / f"{split}.bin", dtype=meta["dtype"])
        texts[split] = encoder.decode_bytes(ids.tolist()).decode()
        assert counts["tokens"] == len(ids)
        assert counts["chars"] == len(texts[split])
        assert counts["bytes"] == len(texts[split].encode())
    assert texts["train"] + texts["val"] == TEXT
    assert len(texts["train"]) == int(len(TEXT) * 0.9)


def test_large_vocabularies_take_four_bytes(tmp_path):
    text = "".join(chr(0x10000 + i) for i in range(65_536)) * 2
    meta = make(tmp_path, text)
    assert meta["dtype"] == "uint32"
    assert np.fromfile(tmp_path / "train.bin", dtype=np.uint32).max() == 65_535


def test_a_broken_prepare_leaves_the_old_dataset(tmp_path):
    make(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    text = "new text " * 50
    for other in ("", text + "more", text.replace("n", "t"), text.replace("n", "ß")):
        readings = itertools.chain([[text]], itertools.repeat([other]))  # to know it, to write it
        with pytest.raises(ValueError, match="the text changed while it was read"):
            write_dataset(tmp_path, lambda readings=readings: next(readings), "char", "another", quiet=True)
        assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_killed_prepare_leaves_nothing_that_looks_finished(tmp_path):
    script = (
        "import os, sys; from pathlib import Path; from reslab.data.corpus import write_dataset\n"
        "readings = iter([1, 2])\n"
        "def read():\n"
        "    yield 'some text ' * 1000\n"
        "    if next(readings) == 2: os._exit(9)\n"
        "write_dataset(Path(sys.argv[1]), read, 'char', 'x', quiet=True)"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path], cwd=ROOT)
    assert done.returncode == 9
    assert not (tmp_path / "meta.json").exists() and not (tmp_path / "train.bin").exists()
    assert list(tmp_path.glob("*.tmp")) and (tmp_path / "lock").exists()
    make(tmp_path)  # and what it left is not in the way
    assert sorted(p.name for p in tmp_path.iterdir()) == ["meta.json", "train.bin", "val.bin"]
    before = (tmp_path / "meta.json").stat().st_mtime_ns
    write_dataset(tmp_path, lambda: ["another " * 99], "char", "x", quiet=True, if_missing=True)
    assert (tmp_path / "meta.json").stat().st_mtime_ns == before


def test_memory_does_not_grow_with_the_text(tmp_path, monkeypatch):
    monkeypatch.setattr(textfiles, "PIECE", 1 << 15)
    monkeypatch.setattr("reslab.data.survey.CACHED", 1 << 15)
    monkeypatch.setattr(baselines, "CHUNK", 1 << 15)
    peaks = []
    for copies in (20, 200):
        path = tmp_path / f"{copies}.txt"
        path.write_text(TEXT * copies, encoding="utf-8")
        tracemalloc.start()
        write_dataset(tmp_path / str(copies), lambda path=path: read_files([path]), "byte", "x", quiet=True)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert path.stat().st_size > 2_000_000
    assert peaks[1] < 1.2 * peaks[0]


def test_bad_text_is_told_in_one_line(tmp_path):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9 " * 10)
    with pytest.raises(ValueError, match=r"latin\.txt, line 1, byte 4: not UTF-8 text \(byte 0xe9"):
        list(read_files([latin]))
    with pytest.raises(ValueError, match="a test: 0 characters"):
        make(tmp_path / "out", "")
    with pytest.raises(ValueError, match=r"tokenizer=word: allowed are char, byte, gpt2, bpe:N"):
        make(tmp_path / "out", tokenizer="word")
    with pytest.raises(ValueError, match="character 'ß' at position 2"):
        CharTokenizer("abc").encode("abß")
    assert not (tmp_path / "out" / "meta.json").exists()


def test_links_in_a_loop_are_not_followed_for_ever(tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.txt").write_text(TEXT, encoding="utf-8")
    (tmp_path / "in" / "deep" / "up").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "self.txt").symlink_to(tmp_path / "in" / "self.txt")
    argv = [ROOT / "data/text/prepare.py", tmp_path / "in", "--out", tmp_path / "out", "--quiet"]
    run_python(*argv)
    meta = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))
    assert sum(split["chars"] for split in meta["splits"].values()) == len(TEXT)


def test_gpt2_without_a_network_says_what_to_do(tmp_path):
    """All names of this process lead to a closed port; characters and bytes need no network."""
    environment = os.environ | {"TIKTOKEN_CACHE_DIR": str(tmp_path / "empty")}
    environment |= {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    argv = [ROOT / "data/text/prepare.py", ROOT / "train.py", "--quiet", "--out"]
    told = run_python(*argv, tmp_path / "a", "--tokenizer=gpt2", env=environment, code=2).stderr
    assert (
        "TIKTOKEN_CACHE_DIR" in told
        and "go online once, or use another --tokenizer" in told
        and len(told.splitlines()) == 1
    )
    assert not (tmp_path / "a").exists()
    for name in ("char", "byte"):
        run_python(*argv, tmp_path / name, f"--tokenizer={name}", env=environment)


def test_characters_need_no_tiktoken(dataset_folder):
    script = (
        "import sys; from pathlib import Path; from reslab.data.dataset import TokenDataset\n"
        "TokenDataset(Path(sys.argv[1]), 8, 0); sys.exit('tiktoken' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script, dataset_folder], cwd=ROOT).returncode == 0


def test_baselines_are_those_of_a_count_by_hand(monkeypatch):
    train, val = np.array([0, 1, 0, 1, 2, 0, 1], np.uint16), np.array([1, 2, 0], np.uint16)
    lines = split_baselines(train, val, 3)
    p = {0: 4 / 10, 1: 4 / 10, 2: 2 / 10}
    assert lines["uniform"] == math.log(3)
    # a token that has none before it is left out, so that all lines read the same tokens
    assert lines["unigram"]["val"] == pytest.approx(-(math.log(p[2]) + math.log(p[0])) / 2)
    # pairs: 01 three times, 10 once, 12 once, 20 once
    twelve, twenty = (1 + p[2]) / (2 + 1), (1 + p[0]) / (1 + 1)
    assert lines["bigram"]["val"] == pytest.approx(-(math.log(twelve) + math.log(twenty)) / 2)
    random = np.random.default_rng(0).integers(0, 40, 5000).astype(np.uint16)
    dense = split_baselines(random[:4000], random[4000:], 40)
    monkeypatch.setattr(baselines._DensePairs, "limit", 3999)  # of a longer split: read anew, in pieces
    again = split_baselines(random[:4000], random[4000:], 40)
    assert again["bigram"] == pytest.approx(dense["bigram"])
    assert again["unigram"] == pytest.approx(dense["unigram"])
    monkeypatch.setattr(baselines, "DENSE_LIMIT", 10)
    monkeypatch.setattr(baselines, "CHUNK", 700)
    sparse = split_baselines(random[:4000], random[4000:], 40)
    assert sparse["bigram"] == pytest.approx(dense["bigram"])
    assert sparse["unigram"] == pytest.approx(dense["unigram"])


def test_pieces_encoded_at_the_same_time_give_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setattr(corpus, "PART", 1000)
    monkeypatch.setattr("reslab.data.survey.CACHED", 1000)
    text = "".join(f"line {i}: naïve — {i * i} 日本\n" for i in range(2000))
    for tokenizer in ("char", "byte", "bpe:300"):
        metas = []
        for jobs in (1, 4):
            folder = tmp_path / f"{tokenizer}-{jobs}"
            write_dataset(folder, lambda: [text], tokenizer, "x", quiet=True, jobs=jobs)
            metas.append((folder / "meta.json").read_text(encoding="utf-8"))
        assert metas[0] == metas[1] and '"sha256"' in metas[0]


def test_characters_are_those_of_the_text():
    text = "naïve — 日本 \U0001f600 \ud800"
    assert survey([text, "a"], True).characters == "".join(sorted(set(text)))
    assert survey([], True).characters == ""


@pytest.mark.parametrize("jobs", [1, 3])
def test_hashes_and_baselines_do_not_depend_on_the_size_of_the_pieces(tmp_path, monkeypatch, jobs):
    text, metas = TEXT + "naïve — 日本 \U0001f600\n" * 40, []
    for size in (50, 1 << 17):
        monkeypatch.setattr("reslab.data.survey.CACHED", size)
        monkeypatch.setattr(baselines, "COUNTED", size)
        pieces = [text[start : start + 7 * size] for start in range(0, len(text), 7 * size)]
        folder = tmp_path / str(size)
        metas.append(write_dataset(folder, lambda p=pieces: p, "char", "x", quiet=True, jobs=jobs))
    assert metas[0] == metas[1]
    assert metas[0]["source_sha256"] == hashlib.sha256(text.encode()).hexdigest()
    for split, counts in metas[0]["splits"].items():
        assert counts["sha256"] == hashlib.sha256((folder / f"{split}.bin").read_bytes()).hexdigest()


def test_tokens_are_counted_with_the_last_one():
    train = np.array([0, 1, 0, 1, 2, 0, 1], np.uint16)
    for kind in (baselines._DensePairs, baselines._SparsePairs):
        assert kind(train, 4).tokens(train).tolist() == [3, 3, 1, 0]


@pytest.mark.parametrize("size", [4, 9])
def test_a_text_without_a_place_to_cut_is_cut_at_16_sizes(size):
    lengths = [len(part) for part in split_safely("a" * 500, size)]
    assert sum(lengths) == 500 and set(lengths[:-1]) == {size} and 15 * size <= lengths[-1] < 16 * size
    assert list(split_safely(["ab cd" * 3], 4)) == ["ab cdab", " cdab", " cd"]
