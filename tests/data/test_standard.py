"""text8, enwik8 and WikiText from small files of their form: what is in which split, and its counts."""

import json
import math
import zipfile

import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT, run_python

import reslab
from reslab.data import standard
from reslab.data.dataset import TokenDataset
from reslab.data.survey import count_words
from reslab.training.outcome import per_text

WIKI = {
    "train": ["", " = A title = \n", "", " two words <unk> \n"] * 30,
    "valid": ["", " = B = \n", " three more words \n"] * 4,
    "test": [" the last = \n"] * 9,
}
HUB_NAMES = {
    "train": "train-00000-of-00001",
    "valid": "validation-00000-of-00001",
    "test": "test-00000-of-00001",
}


@pytest.fixture
def small(monkeypatch):
    """Corpora of 2,000 bytes."""
    monkeypatch.setattr(standard, "SIZE", 2000)


def prepare(monkeypatch, out, *words, name="enwik8", tokenizer="byte") -> TokenDataset:
    monkeypatch.setattr("sys.argv", ["prepare.py", "--quiet", "--out", str(out), *map(str, words)])
    standard.run_wikipedia("", ROOT / "data" / name, "http://127.0.0.1:9/x.zip", "", tokenizer)
    return TokenDataset(out, 8, 0)


def text_of(dataset: TokenDataset, split: str) -> bytes:
    return dataset.tokenizer.decode_bytes(dataset.ids[split][:].tolist())


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(("split", "begin", "end"), [("valid", 1800, 1900), ("test", 1900, 2000)])
def test_the_splits_are_the_first_90_and_the_next_5_percent_or_the_last(
    monkeypatch, tmp_path, small, packed, split, begin, end
):
    data = bytes(32 + number * 7 % 90 for number in range(2000))
    path = tmp_path / ("x.zip" if packed else "enwik8")
    if packed:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("enwik8", data)
    else:
        path.write_bytes(data)
    dataset = prepare(monkeypatch, tmp_path / "out", "--input", path, "--split", split)
    assert text_of(dataset, "train") == data[:1800] and text_of(dataset, "val") == data[begin:end]
    assert dataset.meta["splits"]["val"]["bytes"] == 100 and split in dataset.meta["source"]


def test_no_character_is_cut_and_what_the_end_of_the_file_has_cut_is_left_out(monkeypatch, tmp_path, small):
    data = ("a" + "é" * 2000).encode()[:2000]  # é begins at every odd byte: 1800 and 1900 are in its middle
    (tmp_path / "enwik8").write_bytes(data)
    valid, test = (
        prepare(monkeypatch, tmp_path / split, "--input", tmp_path / "enwik8", "--split", split)
        for split in ("valid", "test")
    )
    assert text_of(valid, "train") == data[:1799] and text_of(valid, "val") == data[1799:1899]
    assert text_of(test, "val") == data[1899:1999]


def test_the_test_split_has_a_folder_of_its_own(monkeypatch, tmp_path, small):
    (tmp_path / "x").write_bytes(b"some text\n" * 200)
    monkeypatch.setattr("sys.argv", ["prepare.py", "--quiet", "--input", str(tmp_path / "x"), "--split=test"])
    standard.run_wikipedia("", tmp_path / "enwik8", "http://127.0.0.1:9/x.zip", "", "byte")
    assert TokenDataset(tmp_path / "enwik8_test", 8, 0).meta["splits"]["val"]["bytes"] == 100
    assert not (tmp_path / "enwik8").exists()


def test_text8_has_27_letters_and_its_unigram_baseline_is_their_entropy(monkeypatch, tmp_path, small):
    """Of a text whose every hundred letters are the same ones, so that all splits have their shares."""
    letters, shares = " abcdefghijklmnopqrstuvwxyz", [18, 12, 9, 8, 7, 6, 6, 5, 5, 4, *3 * [2], *14 * [1]]
    counts = dict(zip(letters, shares, strict=True))
    period = "".join(letter * count for letter, count in counts.items())
    entropy = -sum(count / 100 * math.log(count / 100) for count in counts.values())
    (tmp_path / "text8").write_text(period * 20, encoding="utf-8")
    words = ["--input", tmp_path / "text8"]
    meta = prepare(monkeypatch, tmp_path / "out", *words, name="text8", tokenizer="char").meta
    assert len(period) == 100 and meta["vocab_size"] == 27
    assert meta["splits"]["train"]["tokens"] == 1800 and meta["splits"]["val"]["tokens"] == 100
    lines = meta["baselines_nats"]
    assert lines["uniform"] == pytest.approx(math.log(27))
    for split in ("train", "val"):
        assert lines["unigram"][split] == pytest.approx(entropy, rel=1e-2)
        assert lines["bigram"][split] < entropy / 2  # the order of the letters is the same too


def test_carriage_returns_stay(monkeypatch, tmp_path, small):
    """Bits per byte are those of the corpus itself."""
    data = b"ab\r\ncd\r\n" * 250
    (tmp_path / "enwik8").write_bytes(data)
    dataset = prepare(monkeypatch, tmp_path / "out", "--input", tmp_path / "enwik8")
    assert text_of(dataset, "train") == data[:1800]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"x" * 1999, "1,999 bytes; the corpus has 2,000"),
        (None, "no such file"),
        ({"a": "1", "b": "2"}, "holds 2 files, must be one"),
    ],
)
def test_another_file_is_refused_in_one_line(monkeypatch, tmp_path, small, content, fault):
    path = tmp_path / "file"
    if isinstance(content, dict):
        with zipfile.ZipFile(path, "w") as archive:
            for name, text in content.items():
                archive.writestr(name, text)
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=fault) as error:
        prepare(monkeypatch, tmp_path / "out", "--input", path)
    assert "\n" not in str(error.value)


def write_wikitext(folder, form: str):
    folder.mkdir()
    for split, rows in WIKI.items():
        if form == "parquet":
            table = pyarrow.table({"text": rows})
            pyarrow.parquet.write_table(table, folder / f"{HUB_NAMES[split]}.parquet")
        else:
            lines = "".join(row or " \n" for row in rows)
            (folder / f"wiki.{split}.tokens").write_text(lines, encoding="utf-8", newline="\n")


@pytest.mark.parametrize("form", ["parquet", "tokens"])
@pytest.mark.parametrize("split", ["valid", "test"])
def test_wikitext_is_read_in_its_own_splits(tmp_path, form, split):
    """Rows of the Hub give the text of the original files, whose blank lines are words too."""
    write_wikitext(tmp_path / "wiki", form)
    words = ["--input", tmp_path / "wiki", "--split", split, "--tokenizer", "char", "--quiet"]
    run_python("data/wikitext/prepare.py", *words, "--out", tmp_path / "out")
    dataset = TokenDataset(tmp_path / "out", 8, 0)
    for ours, theirs in {"train": "train", "val": split}.items():
        text = "".join(row or " \n" for row in WIKI[theirs])
        assert text_of(dataset, ours).decode() == text
        expected = sum(len(row.split()) + 1 for row in WIKI[theirs])
        assert dataset.meta["splits"][ours]["words"] == expected


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_words_are_counted_however_the_text_is_cut(size):
    text, count = " the cat  sat\n\non it\n \nat last", {"words": 0}
    pieces = [text[k : k + size] for k in range(0, len(text), size)] + [""]
    assert "".join(count_words(pieces, count)) == text
    assert count["words"] == 7 + 4


def test_a_split_that_is_not_there_is_named(tmp_path):
    write_wikitext(tmp_path / "wiki", "tokens")
    (tmp_path / "wiki" / "wiki.test.tokens").unlink()
    words = ["--input", tmp_path / "wiki", "--split", "test", "--quiet", "--out", tmp_path / "out"]
    error = run_python("data/wikitext/prepare.py", *words, code=2).stderr
    assert error.count("\n") == 1 and "no file with test in its name" in error


def test_a_run_tells_the_perplexity_of_a_word(tmp_path):
    """exp of the loss per word: that of all tokens of the split over its words."""
    write_wikitext(tmp_path / "wiki", "tokens")
    run_python(
        "data/wikitext/prepare.py",
        "--input",
        tmp_path / "wiki",
        "--tokenizer=byte",
        "--quiet",
        "--out",
        tmp_path / "out",
    )
    shape = {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 8, "batch_size": 2, "device": "cpu"}
    where = {"dataset": tmp_path / "out", "out_dir": tmp_path / "run"}
    run = reslab.train("config/smoke.py", **shape, **where, max_iters=1, warmup_iters=0, sample_tokens=0)
    val = json.loads((tmp_path / "out" / "meta.json").read_text(encoding="utf-8"))["splits"]["val"]
    nats = run.last("val/loss") * val["tokens"]
    assert run.last("val/word_perplexity") == pytest.approx(math.exp(nats / val["words"]))
    assert run.last("val/bits_per_byte") == pytest.approx(nats / math.log(2) / val["bytes"])
    assert per_text(run).startswith(f"{run.last('val/bits_per_byte'):.3f} bits per byte, word perplexity ")
