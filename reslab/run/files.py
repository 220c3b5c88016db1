"""Files that must be right on the disk: their hashes, where they can be written, writing them whole or not
at all, JSON that is ours."""

import errno
import hashlib
import json
import os
import re
import shutil
import stat
import tempfile
from pathlib import Path

from reslab.run.fields import did_you_mean, one_line


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


RECORD = ("config.json", "metrics.jsonl", "probes.jsonl", "checkpoint")  # of a run directory


def flush(path: Path) -> None:
    """Wait until a file, or the entries of a folder, are on the disk and outlive a power cut."""
    if path.is_dir() and os.name == "nt":  # Windows can't open folders
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomically(path: Path, text: str) -> None:
    """Write a text file; whoever reads it meets the old content or the new one, never a part.

    A link stays and its target is written; a device, a pipe or what this program prints to is written to.
    """
    try:
        if mode := _through(path):
            _write_through(path, mode, text)
        else:
            _replace(path, text)
    except OSError as error:
        error.filename = error.filename or f"{path}"  # a write that fails, on a full disk, names no file
        raise


def _replace(path: Path, text: str) -> None:
    """Write a file beside the old one, then in its place."""
    path = path.resolve() if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        if path.exists():
            shutil.copymode(path, temporary)
        flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    flush(path.parent)


def read_input(path: Path) -> bytes:
    """The bytes of a file that a user names; of a pipe, all that is written to it.

    Raises:
        ValueError: the file is empty, or a pipe that nobody writes to: reading it would wait for ever.
    """
    if not stat.S_ISFIFO(path.stat().st_mode):
        data = path.read_bytes()
    else:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        with open(handle, "rb", buffering=0) as file:  # noqa: PTH123
            data = file.read(1)
            if data == b"":
                raise ValueError(f"{one_line(path)}: a pipe that nobody writes to; start its writer first")
            os.set_blocking(handle, True)
            data = (data or b"") + file.read()
    if not data:
        raise ValueError(f"{one_line(path)}: is empty")
    return data


def no_such_place(path: Path) -> str | None:
    """That there is nothing at a place which a program reads, as a message; None where there is."""
    if path.exists():
        return None
    names = (other.name for other in path.parent.iterdir()) if path.parent.is_dir() else ()
    return f"{path}: no such file or folder{did_you_mean(path.name, names)}"


def output_fault(path: Path, folder: bool = False, made: Path | None = None) -> str | None:
    """Why a file, or a folder of files, can't be written at a place; None where it can.

    A file needs a folder that is there: a typo shall not make one. A folder is made, with those above it.

    Args:
        folder: whether it is a folder, which may be there already.
        made: a folder that the program makes, so that files may lie in it and in those above it.
    """
    try:
        path = path.resolve() if path.is_symlink() else path
    except RuntimeError:  # Python before 3.13
        return "is a link that leads to itself"
    if path.is_file() and (run := run_that_owns(path)):
        return f"is a file of the run {run}; choose another place"
    if path.exists() and path.is_dir() != folder:
        return f"is a {'folder' if path.is_dir() else 'file'}, must be a {'folder' if folder else 'file'}"
    if path.is_file() and (owner := owner_of(path)):
        return f"is {owner}; choose another place"
    if path.exists() and not folder and _through(path):
        return None
    place = path if folder else path.parent
    if folder or (made and made.absolute().is_relative_to(place.absolute())):
        place = next(above for above in (place.absolute(), *place.absolute().parents) if above.exists())
    if not place.is_dir():
        return (
            f"{place} is a file" if place.exists() else f"no folder {place}; make it, or give another place"
        )
    try:
        tempfile.TemporaryFile(dir=place).close()
    except OSError as error:
        return f"nothing can be written in {place} ({error.strerror})"
    return None


def owner_of(path: Path) -> str | None:
    """What a file outside of runs belongs to that no output may replace: a dataset, an exported model, source
    text. None of any other file."""
    folder = path.absolute().parent
    if (folder / "meta.json").is_file() and (path.name == "meta.json" or path.suffix == ".bin"):
        return f"a file of the dataset {folder}"
    if (folder / "model.safetensors").is_file() and path.suffix in (".safetensors", ".json"):
        return f"a file of the exported model {folder}"
    return "text that a person wrote" if path.suffix in (".py", ".ipynb", ".md") else None


def run_that_owns(path: Path) -> Path | None:
    """The run directory whose record or checkpoint a file is; None where it is no part of a run."""
    for folder in path.absolute().parents:
        if (folder / "config.json").is_file() and (folder / "metrics.jsonl").is_file():
            first = path.absolute().relative_to(folder).parts[0]
            return folder if first in RECORD else None
    return None


def _write_through(path: Path, mode: str, text: str) -> None:
    """Write to what can't be replaced. Raises ValueError for a pipe that nobody reads."""

    def opener(name, flags):
        handle = os.open(name, flags | getattr(os, "O_NONBLOCK", 0))  # else it waits for a reader, for ever
        os.set_blocking(handle, True)
        return handle

    try:
        with open(path, mode, encoding="utf-8", opener=opener) as file:
            file.write(text)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        raise ValueError(f"{one_line(path)}: nobody reads from it; start its reader first") from None


def _through(path: Path) -> str:
    """The mode to open what can't be replaced; empty for a regular file, and where nothing is yet."""
    try:
        about = path.stat()
    except (OSError, ValueError):
        return ""
    for number in (1, 2):  # --json=/dev/stdout, with stdout in a file
        try:
            if os.path.samestat(about, os.fstat(number)):
                return "a"
        except OSError:
            continue
    return "" if stat.S_ISREG(about.st_mode) else "w"


def parse_json(text: str | bytes, place: str) -> dict:
    """A JSON object.

    Args:
        place: where the text is from, for the message.

    Raises:
        ValueError: it is no JSON, something else than an object, or nothing that Python can hold; one line.
    """
    try:
        value = json.loads(text)
        if re.search(rb"\\u[dD][89a-fA-F]", text if isinstance(text, bytes) else text.encode()):
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:  # ValueError: thousands of digits, or not UTF-8, too
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{place}: damaged ({reason})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{place}: damaged (a {type(value).__name__}, must be an object)")
    return value
