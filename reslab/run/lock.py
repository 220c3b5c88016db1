"""One process at a time in a folder: a lock that dies with its process."""

import contextlib
import os
import platform
import re
import time
from pathlib import Path

from filelock import FileLock, Timeout

from reslab.run.children import unbroken

POLL = 0.1  # seconds between two attempts


@contextlib.contextmanager
def exclusive_lock(folder: Path, activity: str, wait: float = 0):
    """Hold folder/lock. The system gives it back when the process ends, however it ends.

    Args:
        folder: is made when it is not there, and removed again if it stays empty.
        activity: what the holder does, for the message.
        wait: seconds for it to become free; math.inf to raise never.

    Raises:
        ValueError: another process, which still runs, holds it; or the folder has another file of that name.
    """
    if not _is_lock(folder / "lock"):
        raise ValueError(f"{folder}: its file lock is not ours; choose another folder, or move the file away")
    created = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "lock"
    lock = FileLock(path, fallback_to_soft=False)  # a soft lock would outlive a process that is killed
    try:
        deadline = time.monotonic() + wait
        while not _taken(lock):
            if time.monotonic() >= deadline:
                raise ValueError(
                    f"{folder}: another process is {activity} ({_holder(path)}); wait or stop it"
                )
            time.sleep(POLL)
        yield
    finally:
        if lock.is_locked:
            if os.name == "posix":
                path.unlink(missing_ok=True)  # while held: filelock takes no lock on a removed file
            lock.release()
        with contextlib.suppress(OSError):  # not empty
            for place in created:
                place.rmdir()


def _taken(lock: FileLock) -> bool:
    """Whether the lock could be had, with its file signed. A signal comes before or after: half-way the file
    would be left."""
    with unbroken():
        try:
            lock.acquire(timeout=0)
        except Timeout:  # not through unbroken(), which would forget a signal that came meanwhile
            return False
        if os.name == "posix":  # elsewhere nobody else can read a locked file
            Path(lock.lock_file).write_text(f"pid {os.getpid()} on {platform.node()}\n", encoding="utf-8")
        return True


def _is_lock(path: Path) -> bool:
    """Whether a file is the lock of a process, living or dead, or none at all."""
    try:
        return path.read_bytes()[:4] in (b"", b"pid ")
    except (FileNotFoundError, NotADirectoryError):  # who makes the folder tells
        return True
    except PermissionError:  # Windows, while it is held
        return True
    except OSError:
        return False


def _holder(path: Path) -> str:
    """The process and the host of whoever holds the lock, as its file names them."""
    try:
        return path.read_text(encoding="utf-8").strip() or "unknown"
    except OSError:
        return "unknown"


def host_of_holder(folder: Path) -> str | None:
    """The host whose process holds folder/lock, or held it when the host was lost; None if it is not told."""
    named = re.fullmatch(r"pid \d+ on (.+)", _holder(folder / "lock"))
    return named and named[1]
