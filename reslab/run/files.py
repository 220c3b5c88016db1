"""Files that must be right on the disk: their hashes, writing them whole or not at all, JSON that is ours."""

import hashlib
import json
import os
import shutil
import stat
from pathlib import Path


def sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
    if mode := _through(path):
        with path.open(mode, encoding="utf-8") as file:
            file.write(text)
        return
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
    except (ValueError, RecursionError) as error:  # ValueError: thousands of digits, or not UTF-8, too
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{place}: damaged ({reason})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{place}: damaged (a {type(value).__name__}, must be an object)")
    return value
