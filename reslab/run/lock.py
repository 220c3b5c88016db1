"""One process at a time in a folder: a lock that dies with its process."""

import contextlib
import os
import platform
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt


@contextlib.contextmanager
def exclusive_lock(folder: Path, doing: str, wait: bool = False):
    """Hold folder/lock. The system gives it back when the process ends, however it ends.

    Args:
        folder: is made when it is not there, and gone again if it stays empty.
        doing: what the holder does, for the message.
        wait: until it is free, instead of raising.

    Raises:
        ValueError: another process, which lives, holds it.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    while (file := _take(path)) is None:
        if not wait:
            try:
                holder = path.read_text(encoding="utf-8").strip()
            except OSError:
                holder = ""
            raise ValueError(f"{folder}: another process is {doing} ({holder or 'unknown'}); wait or stop it")
        time.sleep(0.1)
    try:
        if fcntl:  # elsewhere a locked file can't be read
            os.ftruncate(file, 0)
            os.write(file, f"pid {os.getpid()} on {platform.node()}\n".encode())
        yield
    finally:
        if fcntl:
            path.unlink(missing_ok=True)  # while held: whoever waits sees that it is another file now
        os.close(file)
        with contextlib.suppress(OSError):  # not empty
            for place in made:
                place.rmdir()


def _take(path: Path) -> int | None:
    """A locked file at path, or None when another process has it."""
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if fcntl:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        else:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            return file
    except (BlockingIOError, PermissionError, FileNotFoundError):
        pass
    os.close(file)
    return None
