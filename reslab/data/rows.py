"""Rows of documents files: only the text column is read, and a row that holds no text is told by its place.

Its content says what a file is: parquet, or JSON, plain or packed by gzip or zstd. Comma-separated values
and plain text are known by the end of the name.
"""

import csv
import gzip
import io
import json
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reslab.data.textfiles import BOM, clean, not_utf8
from reslab.run.fields import first_line, named_line

KINDS = {
    ".parquet": "parquet",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "txt",
}
PACKED = (".gz", ".zst")
ENDINGS = f"{', '.join(KINDS)}, plain or with {' or '.join(PACKED)}"


class ReadError(ValueError):
    """The documents can't be read on; what was written so far is good."""


@dataclass(frozen=True)
class Bad:
    """A row that holds no text: where, and why."""

    place: str
    why: str


def kind_by_name(name: str) -> str | None:
    """The kind that the end of a file's name tells, in any letter case."""
    name = name.lower()
    for ending in PACKED:
        name = name.removesuffix(ending)
    return KINDS.get(Path(name).suffix)


def kind_of(path: Path) -> str:
    """parquet, json, csv or txt. Raises ValueError for anything else, or where it can't be unpacked."""
    named = kind_by_name(path.name)
    try:
        with unpacked(path) as file:
            start = file.read(1000)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: can't be read ({error})") from None
    if start[:4] == b"PAR1":
        return "parquet"
    if named in ("csv", "txt", "parquet"):
        return named
    start = start.removeprefix(BOM.encode()).lstrip()[:1]
    if start in (b"{", b"[") or (named and not start):
        return "json"
    wrong = "does not begin with { or [, as JSON does" if named else f"must end in {ENDINGS}"
    raise ValueError(f"{path}: {wrong}")


def _packing(path: Path) -> str:
    """gzip or zstd, by a file's first bytes; empty for what is not packed."""
    with path.open("rb") as file:
        start = file.read(4)
    return "gzip" if start[:2] == b"\x1f\x8b" else "zstd" if start == b"\x28\xb5\x2f\xfd" else ""


def unpacked(path: Path) -> io.BufferedIOBase:
    """The bytes of a file, out of gzip or zstd where it begins as those do.

    Raises ValueError where zstd can't be read here.
    """
    packing = _packing(path)
    if packing == "gzip":
        return gzip.open(path, "rb")
    if not packing:
        return path.open("rb")
    import pyarrow

    if not pyarrow.Codec.is_available("zstd"):
        raise ValueError(f"{path}: this pyarrow reads no zstd; run: pip install --force-reinstall pyarrow")
    return io.BufferedReader(pyarrow.input_stream(str(path), compression="zstd"), 1 << 20)


def rows_of(path: Path, column: str) -> Iterator[str | Bad]:
    """The texts of a file's rows in order, clean; a Bad for each that holds none. An empty file has no rows.

    Raises:
        ReadError: the file is damaged, or of no known kind, or has no such column.
    """
    if not path.stat().st_size:
        return
    try:
        for place, text in READERS[kind_of(path)](path, column):
            if not isinstance(text, str | Bad):
                text = Bad(place, f"its {column} is {_short(text)}, which is no text")
            yield _checked(place, text)
    except ReadError:
        raise
    except Exception as error:  # damaged files: errors of several libraries
        reason = first_line(error)
        message = reason if reason.startswith(str(path)) else f"{path}: can't be read ({named_line(error)})"
        raise ReadError(message) from None


def _checked(place: str, text: str | Bad) -> str | Bad:
    if isinstance(text, Bad):
        return text
    try:
        text.isascii() or text.encode()
    except UnicodeEncodeError as error:
        byte = ord(text[error.start]) - 0xDC00
        half = f"byte {byte:#04x}" if 0x80 <= byte < 0x100 else "half of a surrogate pair"
        return Bad(place, f"not UTF-8 text ({half} at character {error.start + 1})")
    return clean(text)


def _short(value) -> str:
    text = repr(value)
    return text if len(text) < 60 else text[:57] + "..."


def _parquet(path: Path, column: str) -> Iterator[tuple[str, object]]:
    import pyarrow
    import pyarrow.parquet

    with _seekable(path) as raw, pyarrow.parquet.ParquetFile(raw) as file:
        _check_column(path, column, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=1024, columns=[column]):
            values = batch.column(0)
            if isinstance(values, pyarrow.DictionaryArray):
                values = values.dictionary_decode()
            if pyarrow.types.is_string(values.type):  # as bytes: one wrong row must not end the others
                values = values.cast(pyarrow.binary())
            elif pyarrow.types.is_large_string(values.type):
                values = values.cast(pyarrow.large_binary())
            for value in values.to_pylist():
                number += 1
                place = f"{path}, row {number}"
                yield place, _decoded(place, value) if isinstance(value, bytes) else value


def _seekable(path: Path):
    """A file's bytes, unpacked, in which parquet can seek: on the disk, as they may not fit into memory."""
    if not _packing(path):
        return path.open("rb")
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads closes it
    with unpacked(path) as file:
        shutil.copyfileobj(file, copy)
    copy.seek(0)
    return copy


def _decoded(place: str, data: bytes) -> str | Bad:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return Bad(place, f"not UTF-8 text (byte {data[error.start]:#04x} at byte {error.start + 1})")


def _json(path: Path, column: str) -> Iterator[tuple[str, object]]:
    """An object a line; or, where the file begins with a bracket or a brace alone, as a whole."""
    with unpacked(path) as file:
        number, first = 0, True
        for line in file:
            number += 1
            line = line.removeprefix(BOM.encode()).strip() if first else line.strip()
            if not line:
                continue
            if first and (line == b"{" or line.startswith(b"[")):
                yield from _whole_json(path, line + b"\n" + file.read(), column)
                return
            first = False
            place = f"{path}, line {number}"
            text = _decoded(place, line)
            yield place, _of_line(place, text, column) if isinstance(text, str) else text


def _of_line(place: str, line: str, column: str):
    try:
        return _member(place, json.loads(line), column)
    except (ValueError, RecursionError) as error:
        return Bad(place, f"not JSON ({error})")


def _whole_json(path: Path, data: bytes, column: str) -> Iterator[tuple[str, object]]:
    text, decoder, at, number = data.decode(), json.JSONDecoder(), 0, 0
    while at < len(text):
        value, at = decoder.raw_decode(text, at)
        while at < len(text) and text[at].isspace():
            at += 1
        for row in value if isinstance(value, list) else [value]:
            number += 1
            place = f"{path}, row {number}"
            yield place, _member(place, row, column)


def _member(place: str, row, column: str):
    if not isinstance(row, dict):
        return Bad(place, f"is {_short(row)}, not an object")
    if column not in row:
        keys = ", ".join(map(str, row)) or "none"
        return Bad(place, f"no column {column}; there are {_short(keys)[1:-1]}: choose with --text_column")
    return row[column]


def _csv(path: Path, column: str) -> Iterator[tuple[str, object]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # documents are longer than its limit
    with unpacked(path) as raw:
        # A byte that is not UTF-8 becomes half of a surrogate pair, and so a bad row.
        file = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        header = file.readline()
        if not header:
            return
        names = {mark: next(csv.reader([header], delimiter=mark), []) for mark in ",;\t"}
        mark = next(
            (mark for mark in names if column in names[mark]), max(names, key=lambda m: len(names[m]))
        )
        _check_column(path, column, names[mark])
        at, rows = names[mark].index(column), csv.reader(file, delimiter=mark)
        while True:
            place = f"{path}, line {rows.line_num + 2}"
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield place, Bad(place, f"not CSV ({error})")
                continue
            if row:
                fault = Bad(place, f"{len(row)} fields, and {column} is number {at + 1}")
                yield place, row[at] if at < len(row) else fault


def _txt(path: Path, column: str) -> Iterator[tuple[str, object]]:
    """A file is a document."""
    with unpacked(path) as file:
        data = file.read()
    try:
        yield str(path), data.decode()
    except UnicodeDecodeError as error:
        place, _, why = not_utf8(path, error, 1 + data.count(b"\n", 0, error.start), error.start).partition(
            ": "
        )
        yield place, Bad(place, why)


def _check_column(path: Path, column: str, names: list[str]) -> None:
    if column not in names:
        raise ReadError(
            f"{path}: no column {column}; there are {', '.join(names)}: choose with --text_column"
        )


READERS = {"parquet": _parquet, "json": _json, "csv": _csv, "txt": _txt}
