"""A recorder of what is flushed and renamed, and in which order: what a power cut would leave."""

import os
from pathlib import Path

import pytest


class PowerCut(BaseException):
    """Ends everything at once, and nothing cleans up."""


class Disk:
    """Flushes and renames in their order; `cut_at` ends the program before one of them."""

    def __init__(self):
        self.events, self.flushed, self.cut_at = [], {}, None

    def _happens(self, *event) -> None:
        if len(self.events) == self.cut_at:
            raise PowerCut
        self.events.append(event)

    def flush(self, handle: int) -> None:
        about = os.fstat(handle)
        self._happens("flush", about.st_ino)
        self.flushed[about.st_ino] = (about.st_size, about.st_mtime_ns)

    def rename(self, source, target) -> None:
        self._happens("rename", Path(source), Path(target))

    def holds(self, path: Path) -> bool:
        """Whether a file was flushed after the last byte was written to it."""
        about = path.stat()
        return self.flushed.get(about.st_ino) == (about.st_size, about.st_mtime_ns)

    def flushed_after_renames(self, folder: Path) -> bool:
        """Whether a folder's entries were flushed after the last name was given in it."""
        last = max(n for n, e in enumerate(self.events) if e[0] == "rename" and e[2].parent == folder)
        return ("flush", folder.stat().st_ino) in self.events[last:]


@pytest.fixture
def disk(monkeypatch) -> Disk:
    disk = Disk()
    for name in ("rename", "replace"):
        real = getattr(os, name)

        def renaming(source, target, real=real, **kwargs):
            disk.rename(source, target)
            real(source, target, **kwargs)

        monkeypatch.setattr(os, name, renaming)
    monkeypatch.setattr(os, "fsync", disk.flush)
    return disk
