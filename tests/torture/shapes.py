"""Files of documents and of text in many shapes: each gives its documents or its text, or one line."""

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np

from reslab.data.prepare_cli import arguments, run_documents, run_prepare
from reslab.data.textfiles import read_files
from reslab.data.tokenizer import tokenizer_from_json

from .outputs import one_fault, run

TEXTS = [f"document {n}: a text of its own, größer → \U0001f600" for n in range(60)]


def jsonl(texts: list, columns=lambda n: {}) -> bytes:
    return "\n".join(json.dumps({"text": text} | columns(n)) for n, text in enumerate(texts)).encode()


def table(texts: list) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerows([["id", "text"], *enumerate(texts)])
    return file.getvalue().encode()


def parquet(texts: list) -> bytes:
    import pyarrow
    from pyarrow.parquet import write_table

    file = io.BytesIO()
    write_table(pyarrow.table({"text": texts, "id": list(range(len(texts)))}), file, row_group_size=7)
    return file.getvalue()


def zstd(data: bytes) -> bytes:
    import pyarrow

    file = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(file, "zstd") as out:
        out.write(data)
    return file.getvalue().to_pybytes()


BOM = b"\xef\xbb\xbf"
# Kind -> its files; a .txt holds one document.
PLAIN = {
    "jsonl": [jsonl(TEXTS)],
    "json": [json.dumps([{"text": text} for text in TEXTS]).encode()],
    "csv": [table(TEXTS)],
    "parquet": [parquet(TEXTS)],
    "txt": [f"{text}\n{text}".encode() for text in TEXTS],
}
ROWS, CUT = PLAIN["jsonl"][0], '\n{"text": "cut'


def document_files() -> dict[str, tuple[str, list[bytes], int | None]]:
    """Case -> the end of the files' names, their bytes, and how many documents they hold, None where they are
    refused."""
    ways = {
        "": (lambda kind: f".{kind}", bytes),
        " under a suffix in capitals": (lambda kind: f".{kind.upper()}", bytes),
        ".gz": (lambda kind: f".{kind}.gz", gzip.compress),
        ".zst": (lambda kind: f".{kind}.zst", zstd),
        " with a byte order mark": (lambda kind: f".{kind}", lambda data: BOM + data),
        " with the lines of Windows": (lambda kind: f".{kind}", lambda data: data.replace(b"\n", b"\r\n")),
    }
    cases = {
        kind + way: (name(kind), [change(data) for data in PLAIN[kind]], len(TEXTS))
        for kind in PLAIN
        for way, (name, change) in ways.items()
        if kind != "parquet" or not way.startswith(" with ")
    }
    return cases | {case: (name, [data], count) for case, (name, data, count) in _rows().items()}


def _rows() -> dict[str, tuple[str, bytes, int | None]]:
    """The same for one file whose rows are of other shapes."""
    holes = [None if n % 20 == 7 else text for n, text in enumerate(TEXTS)]
    kinds = [None, "a", {"b": 1}, [2], 3.5]
    return {
        "null texts": (".jsonl", jsonl(holes), 57),
        "null texts in parquet": (".parquet", parquet(holes), 57),
        "a number as a text": (".jsonl", jsonl([*TEXTS, 3]), 60),
        "a list as a text": (".jsonl", jsonl([*TEXTS, ["a"]]), 60),
        "blank lines": (".jsonl", ROWS.replace(b"\n", b"\n\n"), 60),
        "an unread column of any type": (".jsonl", jsonl(TEXTS, lambda n: {"meta": kinds[n % 5]}), 60),
        "columns that come and go": (".jsonl", jsonl(TEXTS, lambda n: {f"k{n}": n}), 60),
        "rows that are no objects": (".jsonl", ROWS + b"\n[1, 2]\n7", 60),
        "a row that is no JSON": (".jsonl", ROWS + CUT.encode(), 60),
        "a row in another encoding": (".jsonl", ROWS + b'\n{"text": "caf\xe9"}', 60),
        "parquet under the suffix of jsonl": (".jsonl", PLAIN["parquet"][0], 60),
        "gz without its suffix": (".jsonl", gzip.compress(ROWS), 60),
        "an empty file": (".jsonl", b"", None),
        "only blank lines": (".jsonl", b"\n\n\n", None),
        "no text column": (".jsonl", ROWS.replace(b'"text"', b'"body"'), None),
        "a parquet that is cut": (".parquet", PLAIN["parquet"][0][:-9], None),
        "a gz that is cut": (".jsonl.gz", gzip.compress(ROWS)[:-20], None),
        "a suffix of nothing": (".doc", b"x", None),
    }


def documents(folder: Path) -> dict:
    """Prepare the files of each case; what can't be read is one line, and the files once mended go on."""
    read = refused = 0
    for number, (case, (end, files, expected)) in enumerate(document_files().items()):
        place = folder / str(number)
        (place / "in").mkdir(parents=True)
        for n, data in enumerate(files):
            (place / "in" / f"{n}{end}").write_bytes(data)
        code, told = _prepare_documents(place)
        assert "Traceback" not in told, (case, told)
        if code == 0:
            meta = json.loads((place / "out" / "meta.json").read_text(encoding="utf-8"))
            assert sum(split["documents"] for split in meta["splits"].values()) == expected, (case, meta)
            read += 1
            continue
        assert code == 2 and one_fault(told) and expected is None, (case, code, told)
        assert not (place / "out" / "meta.json").exists(), case
        refused += 1
        if end != ".doc":
            (data,) = PLAIN[end.split(".")[1]]
            (place / "in" / f"0{end}").write_bytes(gzip.compress(data) if end.endswith("gz") else data)
            code, told = _prepare_documents(place)
            assert code == 0, (case, told)
    return {"shapes": read + refused, "read": read, "one line, and read once mended": refused}


def _prepare_documents(place: Path) -> tuple[int, str]:
    argv = ["--input", place / "in", "--out", place / "out", "--tokenizer=byte", "--val_share=0.3"]
    return run(lambda argv: run_documents("", Path(), "", None), argv)


LINE = "a line of text, größer → \U0001f600 日本\n"
# Name -> bytes of a file; what is no UTF-8 is refused with its place.
TEXT_SHAPES = {
    "plain": (LINE * 40).encode(),
    "ASCII": b"a line of text\n" * 40,
    "byte order mark": BOM + (LINE * 40).encode(),
    "two byte order marks": BOM * 2 + (LINE * 40).encode(),
    "a mark in the middle": (LINE * 20).encode() + BOM + (LINE * 20).encode(),
    "lines of Windows": (LINE * 40).replace("\n", "\r\n").encode(),
    "lines of old Macs": (LINE * 40).replace("\n", "\r").encode(),
    "all ends of lines": (LINE + "a\r\nb\rc\n\rd\r\r\n").encode() * 20,
    "no newline at the end": (LINE * 40).encode().rstrip(),
    "a CR at the end": (LINE * 40).encode() + b"\r",
    "only newlines": b"\n" * 500,
    "only blanks": b" " * 500,
    "a million blanks": b" " * 1_000_000 + b"x" * 100_000,
    "a million newlines": b"\n" * 1_000_000 + b"x" * 100_000,
    "a million blanks at the end": b"x" * 100_000 + b" \t" * 500_000,
    "one long word": b"x" * 300_000,
    "one long number": b"7" * 300_000,
    "one long line": b"word and word, " * 20_000,
    "control characters": bytes(range(32)) * 40,
    "NUL bytes": (b"\0" * 50 + b"text ") * 40,
    "line separators of Unicode": ("a\u2028b\u2029c\x85d\x0be\x0cf" * 40).encode(),
    "right to left": ("שלום עולם مرحبا\u200f\u202e " * 40).encode(),
    "combining marks": ("e\u0301\u0323\u200d\u0915\u094d\u0937 " * 40).encode(),
    "families of emoji": ("\U0001f468\u200d\U0001f469\u200d\U0001f467\ufe0f" * 40).encode(),
    "the last code points": ("\ufffd\uffff\U0010ffff\ue000" * 40).encode(),
    "every character": "".join(map(chr, [*range(0xD800), *range(0xE000, 0x12000)])).encode(),
    "words of the model": ("<|endoftext|> <s> [PAD] " * 40).encode(),
    "code with tabs": b"def f():\n\tif x:\n\t\treturn 1\n" * 40,
    "Latin-1": "größer\n".encode("latin-1") * 40,
    "UTF-16": (LINE * 40).encode("utf-16"),
    "a surrogate": (LINE * 40).encode() + b"\xed\xa0\x80",
    "cut in a character": (LINE * 40).encode() + "→".encode()[:2],
    "an overlong form": (LINE * 40).encode() + b"\xc0\xaf",
}


def texts(folder: Path) -> dict:
    """Prepare each text with each tokenizer: its splits decode to it, or a line says where it is no UTF-8."""
    whole = refused = 0
    for number, (case, data) in enumerate(TEXT_SHAPES.items()):
        path = folder / f"{number}.txt"
        path.write_bytes(data)
        for tokenizer in ("char", "byte", "bpe:300"):
            out = folder / f"{number} {tokenizer[:4]}"
            code, told = run(lambda argv, p=path, t=tokenizer: _prepare(argv, p, t), ["--out", out])
            assert "Traceback" not in told, (case, told)
            if code:
                assert code == 2 and one_fault(told) and "not UTF-8" in told, (case, tokenizer, told)
                assert f"{path}, line " in told and not out.exists(), (case, told)
                refused += 1
                continue
            expected = data.decode().removeprefix("\ufeff").replace("\r\n", "\n")
            assert _decoded(out) == expected + "\n" * (not expected.endswith("\n")), (case, tokenizer)
            whole += 1
    return {
        "shapes": len(TEXT_SHAPES),
        "tokenizers": 3,
        "given back whole": whole,
        "one line with the place": refused,
    }


def _prepare(argv: list[str], path: Path, tokenizer: str) -> None:
    args = arguments("", Path()).parse_args(argv)
    run_prepare(args, lambda: read_files([path]), tokenizer, "a text")


def _decoded(out: Path) -> str:
    meta = json.loads((out / "meta.json").read_text(encoding="utf-8"))
    tokenizer = tokenizer_from_json(meta["tokenizer"])
    ids = [np.fromfile(out / f"{split}.bin", dtype=meta["dtype"]).tolist() for split in ("train", "val")]
    return b"".join(map(tokenizer.decode_bytes, ids)).decode("utf-8")
