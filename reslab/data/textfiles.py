"""Files of text, found and read: UTF-8 as Windows and Unix write it, and none of a project's machinery.

A byte order mark is no text, and a line ends with one newline: the same text gives the same tokens
wherever it was checked out.
"""

import codecs
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from reslab.run.fields import one_line

PIECE = 1 << 22  # bytes read in one go
MACHINERY = {"node_modules", "__pycache__", "site-packages", "dist-packages"}
BOM = "\N{ZERO WIDTH NO-BREAK SPACE}"
UTF16_STARTS = (codecs.BOM_UTF16_LE[0], codecs.BOM_UTF16_BE[0])


def clean(text: str) -> str:
    """A whole text without its byte order mark, its lines ended by a newline alone."""
    return _newlines(text.removeprefix(BOM))


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n") if "\r" in text else text


def read_files(paths: Iterable[Path]) -> Iterator[str]:
    """The files' clean text one after the other, in pieces; each file is made to end with a newline.

    Raises ValueError for a file that is not UTF-8.
    """
    for path in paths:
        last = "\n"
        for piece in read_file(path):
            last = piece[-1]
            yield piece
        if last != "\n":
            yield "\n"


def read_file(path: Path) -> Iterator[str]:
    """A file's clean text in pieces, none of them empty. Raises ValueError where it is not UTF-8."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    read, lines, first, held = 0, 0, True, ""
    with path.open("rb") as file:
        while True:
            data = file.read(PIECE)
            try:
                text = held + decoder.decode(data, final=not data)
            except UnicodeDecodeError as error:
                before = read + len(data) - len(error.object)
                line = 1 + lines + error.object.count(b"\n", 0, error.start)
                raise ValueError(not_utf8(path, error, line, before + error.start)) from None
            if first and text:
                text, first = text.removeprefix(BOM), False
            read, lines, held = read + len(data), lines + text.count("\n"), ""
            if data and text.endswith("\r"):  # its newline may come with the next piece
                text, held = text[:-1], "\r"
            if text:
                yield _newlines(text)
            if not data:
                return


def not_utf8(path: Path, error: UnicodeDecodeError, line: int, at: int) -> str:
    """One line for a file that is not UTF-8: where, and what to do.

    Args:
        at: bytes of the file before the wrong one.
    """
    encoding = "UTF-16" if at == 0 and error.object[error.start] in UTF16_STARTS else "LATIN1"
    return (
        f"{path}, line {line}, byte {at + 1}: not UTF-8 text (byte {error.object[error.start]:#04x}: "
        f"{error.reason}); leave the file out, or convert it, from {encoding} for example: "
        f"iconv -f {encoding} -t UTF-8 FILE > NEW_FILE"
    )


@dataclass
class FoundFiles:
    """What a search in files and folders gave, and what it passed over."""

    files: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    """Hidden ones, environments, installed packages and links, which were not entered."""
    others: Counter = field(default_factory=Counter)
    """Files of other suffixes: suffix -> how many."""

    def __str__(self) -> str:
        """What is read and what is left out, for people."""
        kinds = Counter(path.suffix.lower() or path.name for path in self.files)
        size = sum(path.stat().st_size for path in self.files)
        text = f"reading {len(self.files):,} files, {size:,} bytes ({_counts(kinds)})"
        if self.folders:
            names = Counter(path.name for path in self.folders)
            text += f"\nleft out the folders {_counts(names)}; name one as a PATH to read it"
        if self.others:
            text += f"\nleft out {self.others.total():,} files of other kinds ({_counts(self.others)})"
        return text


def _counts(counter: Counter) -> str:
    most = 8
    parts = [f"{name} {count:,}" if count > 1 else name for name, count in counter.most_common(most)]
    return ", ".join(parts + ["..."] * (len(counter) > most))


def find_files(paths: Iterable[Path], takes) -> FoundFiles:
    """The files themselves, and those in the folders that `takes` a name, sorted, each one once.

    Folders that hold no text of the user are not entered: hidden ones, virtual environments, installed
    packages. Links to folders are not followed.

    Args:
        takes: of a file's name, whether to read it.

    Raises:
        ValueError: a path does not exist, or is a pipe.
    """
    result, files = FoundFiles(), {}
    for path in paths:
        if path.is_dir():
            for file in _walk(path, result):
                if takes(file.name):
                    files.setdefault(file.resolve(), file)
                else:
                    result.others[file.suffix.lower() or "no suffix"] += 1
        elif path.is_file():
            files.setdefault(path.resolve(), path)
        else:  # a pipe can be read once, and the text is read more often
            fault = "not a regular file; save it to one first" if path.exists() else "no such file or folder"
            raise ValueError(f"{one_line(path)}: {fault}")
    result.files = list(files.values())
    return result


def _walk(root: Path, result: FoundFiles) -> Iterator[Path]:
    inside = []
    for folder, names, files in os.walk(root):
        place = Path(folder)
        skipped = [name for name in names if _is_machinery(place / name)]
        result.folders += [place / name for name in skipped]
        names[:] = [name for name in names if name not in skipped]
        inside += [place / name for name in files if not name.startswith(".") and (place / name).is_file()]
    yield from sorted(inside)


def _is_machinery(folder: Path) -> bool:
    named = folder.name.startswith(".") or folder.name in MACHINERY or folder.is_symlink()
    return named or (folder / "pyvenv.cfg").exists() or (folder / "conda-meta").exists()
