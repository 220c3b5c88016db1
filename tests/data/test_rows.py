"""Documents files of many shapes: what is read, what is skipped, and what is told in a line."""

import csv
import gzip
import io
import json
import subprocess
import sys

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from conftest import ROOT, run_python

from reslab.data.documents import Plan, prepare
from reslab.data.rows import Bad, ReadError, kind_of, rows_of
from reslab.data.source import Source, find_inputs

BOM = b"\xef\xbb\xbf"


def lines(*rows) -> bytes:
    return b"".join(row if isinstance(row, bytes) else json.dumps(row).encode() + b"\n" for row in rows)


def table(columns: dict, **options) -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, **options)
    return file.getvalue()


def rows(*values) -> bytes:
    file = io.StringIO()
    csv.writer(file).writerows(values)
    return file.getvalue().encode()


def zst(data: bytes) -> bytes:
    return pyarrow.compress(data, "zstd", asbytes=True)


A, B = {"text": "a"}, {"text": "b"}
SHAPES = {  # name of the file: its bytes, the texts; None stands for a bad row
    "plain.jsonl": (lines(A, B), ["a", "b"]),
    "UPPER.JSONL": (lines(A, B), ["a", "b"]),
    "other.ndjson": (lines(A, B), ["a", "b"]),
    "lines.json": (lines(A, B), ["a", "b"]),
    "array.json": (json.dumps([A, B]).encode(), ["a", "b"]),
    "array.jsonl": (json.dumps([A, B]).encode(), ["a", "b"]),
    "pretty.json": (json.dumps([A, B], indent=2).encode(), ["a", "b"]),
    "object.json": (json.dumps(A, indent=2).encode(), ["a"]),
    "objects.json": (b"\n".join(json.dumps(one, indent=1).encode() for one in (A, B)), ["a", "b"]),
    "packed.jsonl.gz": (gzip.compress(lines(A, B)), ["a", "b"]),
    "packed.json.gz": (gzip.compress(json.dumps([A, B]).encode()), ["a", "b"]),
    "PACKED.JSON.GZ": (gzip.compress(lines(A, B)), ["a", "b"]),
    "two members.jsonl.gz": (gzip.compress(lines(A)) + gzip.compress(lines(B)), ["a", "b"]),
    "zst.jsonl.zst": (zst(lines(A, B)), ["a", "b"]),
    "two frames.json.zst": (zst(lines(A)) + zst(lines(B)), ["a", "b"]),
    "packed, not named so.jsonl": (gzip.compress(lines(A, B)), ["a", "b"]),
    "named so, not packed.jsonl.gz": (lines(A, B), ["a", "b"]),
    "no suffix": (lines(A, B), ["a", "b"]),
    "bom.jsonl": (BOM + lines(A, B), ["a", "b"]),
    "bom.json": (BOM + json.dumps([A, B]).encode(), ["a", "b"]),
    "sequences.jsonl": (lines(A, B).replace(b"\n", b"\r\n"), ["a", "b"]),
    "no last newline.jsonl": (lines(A, B).rstrip(), ["a", "b"]),
    "blank lines.jsonl": (b"\n\n" + lines(A, b"  \n", B), ["a", "b"]),
    "null.jsonl": (lines(A, {"text": None}, B), ["a", None, "b"]),
    "number.jsonl": (lines(A, {"text": 5}, {"text": ["x"]}, B), ["a", None, None, "b"]),
    "other keys.jsonl": (lines(A, {"body": "x"}, {}, B), ["a", None, None, "b"]),
    "no object.jsonl": (lines(A, b'"x"\n', b"[1]\n", b"7\n", B), ["a", None, None, None, "b"]),
    "torn.jsonl": (lines(A, b'{"text": "x\n', B), ["a", None, "b"]),
    "latin.jsonl": (lines(A, b'{"text": "caf\xe9"}\n', B), ["a", None, "b"]),
    "half a pair.jsonl": (lines(A, b'{"text": "\\ud83d"}\n', B), ["a", None, "b"]),
    "deep.jsonl": (lines(A, b"[" * 100_000 + b"\n", B), ["a", None, "b"]),
    "meta changes.jsonl": (
        lines(A | {"meta": None}, B | {"meta": "x"}, A | {"meta": {"n": [1]}}),
        ["a", "b", "a"],
    ),
    "text with breaks.jsonl": (lines({"text": "\ufeffa\r\nb\rc"}), ["a\nb\rc"]),
    **{f"empty.{end}": (b"", []) for end in ("jsonl", "json", "csv", "txt", "parquet", "parquet.gz")},
    "nothing packed.csv.gz": (gzip.compress(b""), []),
    "empty text.jsonl": (lines({"text": ""}), [""]),
    "plain.parquet": (table({"text": ["a", "b"]}), ["a", "b"]),
    "not named so.jsonl": (table({"text": ["a", "b"]}), ["a", "b"]),
    "packed.parquet.gz": (gzip.compress(table({"text": ["a", "b"]})), ["a", "b"]),
    "packed, not named so.gz": (gzip.compress(table({"text": ["a", "b"]})), ["a", "b"]),
    "nulls.parquet": (table({"text": ["a", None, "b"]}), ["a", None, "b"]),
    "groups.parquet": (table({"text": list("abcde")}, row_group_size=2), list("abcde")),
    "others.parquet": (table({"id": [1, 2], "m": [{"x": 1}, None], "text": ["a", "b"]}), ["a", "b"]),
    "large.parquet": (table({"text": pyarrow.array(["a", "b"], pyarrow.large_string())}), ["a", "b"]),
    "codes.parquet": (table({"text": pyarrow.array(["a", "b", "a"]).dictionary_encode()}), ["a", "b", "a"]),
    "bytes.parquet": (table({"text": [b"a", b"caf\xe9", b"b"]}), ["a", None, "b"]),
    "latin.parquet": (table({"text": pyarrow.array([b"a", b"\xe9", b"b"]).view("string")}), ["a", None, "b"]),
    "numbers.parquet": (table({"text": [1, 2]}), [None, None]),
    "plain.csv": (rows(["id", "text"], [1, "a"], [2, "b"]), ["a", "b"]),
    "UPPER.CSV": (rows(["text"], ["a"], ["b"]), ["a", "b"]),
    "bom.csv": (BOM + rows(["text", "id"], ["a", 1]), ["a"]),
    "lines in a field.csv": (rows(["text"], ["a\r\nb"], ['say "c", d']), ["a\nb", 'say "c", d']),
    "semicolons.csv": (b"id;text\n1;a, b\n2;b\n", ["a, b", "b"]),
    "tabs.tsv": (b"id\ttext\n1\ta\n", ["a"]),
    "short row.csv": (b"id,text\n1,a\n2\n3,b\n", ["a", None, "b"]),
    "latin.csv": (b"text\na\ncaf\xe9\nb\n", ["a", None, "b"]),
    "long field.csv": (rows(["text"], ["x" * 200_000]), ["x" * 200_000]),
    "packed.csv.gz": (gzip.compress(rows(["text"], ["a"])), ["a"]),
    "plain.txt": (b"one\ntwo\n", ["one\ntwo\n"]),
    "sequences.TXT": (BOM + b"one\r\ntwo", ["one\ntwo"]),
    "latin.txt": (b"caf\xe9", [None]),
    "packed.txt.gz": (gzip.compress(b"one"), ["one"]),
    "braces.txt": (b'{"text": 1}', ['{"text": 1}']),
}


@pytest.mark.parametrize("name", SHAPES)
def test_rows_of_many_shapes(tmp_path, name):
    content, texts = SHAPES[name]
    (tmp_path / name).write_bytes(content)
    rows = list(rows_of(tmp_path / name, "text"))
    assert [None if isinstance(row, Bad) else row for row in rows] == texts
    for row in rows:
        assert not isinstance(row, Bad) or row.place.startswith(str(tmp_path / name))


def test_a_row_of_a_long_parquet_file_is_named_by_its_number(tmp_path):
    file = tmp_path / "long.parquet"
    file.write_bytes(table({"text": [*["a"] * 1500, None, *["b"] * 1000]}))
    (bad,) = [row for row in rows_of(file, "text") if isinstance(row, Bad)]
    assert bad.place == f"{file}, row 1501"


DAMAGED = {
    "cut.jsonl.gz": (gzip.compress(lines(A, B) * 99)[:-20], "can't be read (EOFError"),
    "broken.parquet": (b"PAR1 not really", "can't be read ("),
    "not.parquet": (b"text", "can't be read ("),
    "cut.json": (b'[{"text": "a"}, {"te', "can't be read (JSONDecodeError: "),
    "page.json": (b"<html>", "does not begin with { or [, as JSON does"),
    "notes.doc": (b"word", "must end in .parquet, .jsonl, "),
    "other.parquet": (
        table({"id": [1], "body": ["x"]}),
        "no column text; there are id, body: choose with --text",
    ),
    "other.csv": (b"id,body\n1,x\n", "no column text; there are id, body: choose with --text_column"),
    "cut.parquet.gz": (gzip.compress(table({"text": ["a"]}))[:-20], "can't be read (Compressed file ended"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_told_in_a_line(tmp_path, name):
    content, reason = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ReadError) as caught:
        list(rows_of(tmp_path / name, "text"))
    message = str(caught.value)
    assert message.startswith(str(tmp_path / name)) and reason in message and len(message.splitlines()) == 1


PLACES = {
    "null.jsonl": (lines(A, {"text": None}), "line 2: its text is None, which is no text"),
    "latin.jsonl": (lines(A, b'{"text": "\xe9"}\n'), "line 2: not UTF-8 text (byte 0xe9 at byte 11)"),
    "keys.jsonl": (
        lines(A, {"body": 1}),
        "line 2: no column text; there are body: choose with --text_column",
    ),
    "null.parquet": (table({"text": ["a", None]}), "row 2: its text is None, which is no text"),
    "short.csv": (b'id,text\n1,"a\nb"\n2\n', "line 4: 1 fields, and text is number 2"),
    "latin.csv": (b"text\na\ncaf\xe9\n", "line 3: not UTF-8 text (byte 0xe9 at character 4)"),
    "pair.jsonl": (
        lines(A, b'{"text": "\\ud83d"}\n'),
        "line 2: not UTF-8 text (half of a surrogate pair at char",
    ),
    "latin.txt": (b"one\ncaf\xe9", "line 2, byte 8: not UTF-8 text (byte 0xe9"),
}


@pytest.mark.parametrize("name", PLACES)
def test_a_bad_row_is_told_with_its_place(tmp_path, name):
    content, reason = PLACES[name]
    (tmp_path / name).write_bytes(content)
    row = list(rows_of(tmp_path / name, "text"))[-1]
    assert reason in f"{row.place}: {row.why}"


DOCUMENTS = [{"text": f"document {i} " * (1 + i % 7)} for i in range(300)]


def make(folder, path, max_bad=3, **options) -> dict:
    source = Source("nobody/nothing", None, tuple(find_inputs([path]).files))
    return prepare(folder, source, Plan("byte", 2000, 0.2, jobs=1, max_bad=max_bad, **options), quiet=True)


def ids_of(folder) -> dict:
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    shards = {s: [folder / one["file"] for one in about["shards"]] for s, about in meta["splits"].items()}
    return {
        s: np.concatenate([np.fromfile(p, meta["dtype"]) for p in paths]).tolist()
        for s, paths in shards.items()
    }


@pytest.mark.parametrize("mended", ["deleted", "written anew"])
def test_a_mended_file_goes_on(tmp_path, monkeypatch, mended):
    from reslab.data import documents

    monkeypatch.setattr(documents, "BATCH_DOCUMENTS", 20)
    good, path = {"text": "mended"} if mended == "written anew" else None, tmp_path / "in.jsonl"
    broken = [*DOCUMENTS[:200], {"text": None}, *DOCUMENTS[200:]]
    path.write_bytes(lines(*broken))
    with pytest.raises(ReadError, match=r"in\.jsonl, line 201: its text is None.* --max_bad=0; mend it"):
        make(tmp_path / "out", path, max_bad=0)
    assert json.loads((tmp_path / "out" / "progress.json").read_text(encoding="utf-8"))["documents"] == 200
    path.write_bytes(lines(*[row for row in [*broken[:200], good, *broken[201:]] if row]))
    make(tmp_path / "out", path, max_bad=0)
    make(tmp_path / "at once", path, max_bad=0)
    assert ids_of(tmp_path / "out") == ids_of(tmp_path / "at once")


def test_bad_rows_are_skipped_counted_and_told(tmp_path, capsys):
    path = tmp_path / "in.jsonl"
    path.write_bytes(lines(*DOCUMENTS[:100], b"{\n", *DOCUMENTS[100:200], {"text": None}, *DOCUMENTS[200:]))
    script = ROOT / "data" / "openwebtext" / "prepare.py"
    argv = ["--input", path, "--tokenizer=byte", "--val_share=0.2", "--out", tmp_path / "out"]
    done = run_python(script, *argv)
    assert (
        f"skipped {path}, line 101: not JSON" in done.stderr and f"{path}, line 202: its text" in done.stderr
    )
    assert "rows without a text that were skipped: 2" in done.stdout
    path.write_bytes(lines(*DOCUMENTS))
    make(tmp_path / "clean", path)
    assert ids_of(tmp_path / "out") == ids_of(tmp_path / "clean")
    with pytest.raises(ReadError, match=r"line 4: .* bad rows so far: 4, skipped are up to --max_bad=3"):
        path.write_bytes(lines(*[{"body": "x"}] * 9, *DOCUMENTS))
        make(tmp_path / "many", path)
    path.write_bytes(lines({"body": "x"}, {"body": "y"}))
    with pytest.raises(
        ReadError, match=r"line 1: no column text; there are body: .*; and no row holds a text"
    ):
        make(tmp_path / "none", path)


def test_files_without_a_document_are_told(tmp_path):
    files = (tmp_path / "a.csv", tmp_path / "b.csv")
    for path in files:
        path.touch()
    with pytest.raises(ValueError, match=r"a\.csv, b\.csv: holds no documents"):
        prepare(tmp_path / "out", Source("x/y", files=files), Plan("byte"), quiet=True)


def test_what_was_read_already_must_stay(tmp_path):
    """Rows and files may follow; others in the place of those that were read are refused."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "0.jsonl").write_bytes(lines(*DOCUMENTS[:100]))
    make(tmp_path / "out", folder)
    (folder / "0.jsonl").write_bytes(lines(*DOCUMENTS[:200]))  # more rows
    make(tmp_path / "out", folder)
    folder = folder.rename(tmp_path / "moved")
    (folder / "1.jsonl").write_bytes(lines(*DOCUMENTS[200:]))  # more files
    make(tmp_path / "out", folder)
    (tmp_path / "whole.jsonl").write_bytes(lines(*DOCUMENTS))
    make(tmp_path / "at once", tmp_path / "whole.jsonl")
    assert ids_of(tmp_path / "out") == ids_of(tmp_path / "at once")
    for others in (DOCUMENTS[201:], DOCUMENTS[150:]):  # fewer, and more
        (folder / "1.jsonl").write_bytes(lines(*others))
        with pytest.raises(ReadError, match=r"1\.jsonl: its first 100 documents are not those"):
            make(tmp_path / "out", folder)
    (folder / "0.jsonl").write_bytes(lines(*DOCUMENTS))
    with pytest.raises(
        ValueError, match=r"file 1 is 0\.jsonl of .* bytes, the shards were made from 0\.jsonl of"
    ):
        make(tmp_path / "out", folder)


def test_files_of_the_same_name_are_two_and_a_file_given_twice_is_one(tmp_path):
    for name, text in (("a", "first"), ("b", "second")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "same.jsonl").write_bytes(lines(*[{"text": text}] * 9))
    rows = find_inputs([tmp_path, tmp_path / "a" / "same.jsonl"])
    assert [path.parent.name for path in rows.files] == ["a", "b"]
    assert str(Source("x", None, tuple(rows.files))) == ", ".join(str(path) for path in rows.files)
    assert kind_of(rows.files[0]) == "json"


def test_local_files_need_no_home_of_the_hub(tmp_path):
    """Where HF_HOME can't be written, and without a network, local files are read all the same."""
    (tmp_path / "in.jsonl").write_bytes(lines(*DOCUMENTS))
    script = (
        "import sys; from pathlib import Path; from reslab.data.documents import Plan, prepare\n"
        "from reslab.data.source import Source\n"
        "files = (Path(sys.argv[2]),)\n"
        "prepare(Path(sys.argv[1]), Source('x', None, files), Plan('byte', 9999, 0.2), False, True)\n"
        "sys.exit('datasets' in sys.modules or 'torch' in sys.modules)"
    )
    argv = [sys.executable, "-c", script, tmp_path / "out", tmp_path / "in.jsonl"]
    assert subprocess.run(argv, cwd=ROOT).returncode == 0
