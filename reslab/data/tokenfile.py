"""A file of token ids: opened only when it is what meta.json says, and watched while it is read."""

import contextlib
import os
import weakref
from pathlib import Path

import numpy as np

from reslab.run.files import parse_json
from reslab.run.files import sha256 as file_sha256

try:
    import fcntl
except ImportError:  # Windows, where a file that is read can't be replaced anyhow
    fcntl = None

HASHED_BYTES = 1 << 30  # a larger file is taken by its size: reading it whole would delay every start
DTYPES = ("uint16", "uint32")


class TokenFile:
    """Token ids on the disk.

    Args:
        folder: of the dataset.
        name: the file's name in it, as meta.json gives it.
        dtype, tokens, sha256: what meta.json says of it.
        hashed_bytes: a larger file is not hashed.

    Raises:
        ValueError: it is not there, or not what meta.json says, or its name leads out of the folder.
    """

    def __init__(
        self, folder: Path, name: str, dtype: str, tokens: int, sha256: str, hashed_bytes: int = HASHED_BYTES
    ):
        if Path(name).name != name or name in ("", ".", ".."):
            raise ValueError(f"{folder}: its meta.json names {name!r}, which is not a file of that folder")
        if dtype not in DTYPES:
            raise ValueError(f"{folder}: its meta.json has dtype {dtype!r}; allowed are {', '.join(DTYPES)}")
        self.path, self.sha256 = folder / name, sha256
        if not self.path.is_file():
            raise ValueError(f"{self.path}: missing, its meta.json lists it; prepare it again")
        size, expected = self.path.stat().st_size, tokens * np.dtype(dtype).itemsize
        if size != expected:
            raise ValueError(
                f"{self.path}: {size:,} bytes, its meta.json says {expected:,}; prepare it again"
            )
        self._mark = self._stat()
        if size <= hashed_bytes and file_sha256(self.path) != sha256:
            raise ValueError(f"{self.path}: {self._hashes()}; prepare it again")
        self.ids = np.memmap(self.path, dtype=dtype, mode="r")

    def check(self) -> None:
        """Raises ValueError when the file was replaced, written to or cut since it was opened."""
        if self._stat() != self._mark:
            change = "it is gone" if not self.path.is_file() else self._hashes()
            raise ValueError(
                f"{self.path}: changed while a run reads it ({change}); prepare it again to go on"
            )

    def _stat(self) -> tuple | None:
        try:
            stat = self.path.stat()
        except OSError:
            return None
        return stat.st_size, stat.st_mtime_ns, stat.st_ino

    def _hashes(self) -> str:
        return f"its sha256 is {file_sha256(self.path)}, its meta.json says {self.sha256}"

    def hold(self) -> None:
        """While this object is there, check_unread() of the folder raises; the system frees what a killed
        process held."""
        if fcntl:
            handle = os.open(self.path, os.O_RDONLY)
            weakref.finalize(self, os.close, handle)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)


def check_ours(folder: Path, *patterns: str) -> None:
    """See that files which a preparation replaces or deletes are of a preparation of ours.

    Args:
        patterns: of their names.

    Raises:
        ValueError: some are there, and nothing that only our programs write is beside them.
    """
    there = sorted({path.name for pattern in patterns for path in folder.glob(pattern)})
    if there and not any(map(_is_ours, [*folder.glob("meta.json*"), folder / "progress.json"])):
        raise ValueError(
            f"{folder}: holds {there[0]}, which no prepare.py of this project has written; nothing was "
            "changed: choose another --out, or move that away"
        )


def _is_ours(path: Path) -> bool:
    """Whether a file is a dataset's meta.json, finished or about to be, or the progress of one."""
    try:
        content = parse_json(path.read_bytes(), str(path))
    except (OSError, ValueError):
        return False
    return (content.get("format") in (1, 2) and "splits" in content) or "made_from" in content


def check_unread(folder: Path) -> None:
    """Raises ValueError when a process on this machine reads token files of the folder."""
    for path in sorted(filter(Path.is_file, folder.glob("*.bin"))) if fcntl else ():
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"{folder}: a run reads {path.name}, and would end; nothing was changed: wait until it has "
                "finished, or choose another --out"
            ) from None
        except OSError:
            pass
        finally:
            os.close(handle)
