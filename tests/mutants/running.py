"""Runs tests on a copy of the tree with a mutant in it, and remembers what came out.

The working tree is never touched. Each worker has a copy of its own, which is restored before every mutant:
nothing of one mutant is left for the next.
"""

import contextlib
import filecmp
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
PASSED = (0, 5)  # pytest: all passed, or none of the file's tests was chosen


class Store:
    """Results by key, one JSON line each, written as they come: what was run once is not run again."""

    def __init__(self, path: Path):
        self.path, self._lock, self.rows = path, threading.Lock(), {}
        if path.exists():
            for line in path.read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(ValueError):  # a last line that was cut
                    row = json.loads(line)
                    self.rows[row["key"]] = row

    def add(self, key: str, row: dict) -> dict:
        with self._lock:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.rows[key] = row = {"key": key} | row
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        return row


def digest(*parts: str | bytes) -> str:
    """A short hash of some texts."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else part.encode()
        hasher.update(len(data).to_bytes(8, "big") + data)
    return hasher.hexdigest()[:20]


def tracked(root: Path) -> list[str]:
    """The files of a working tree that git knows or would take, as they are now."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode().split("\0")
    return sorted(name for name in set(names) if name and (root / name).is_file())


class Copy:
    """A copy of the tree in which tests are run.

    Args:
        root: of the working tree; files: what is copied of it.
        folder: where to; is made.
        slow: run the slow tests too.
    """

    def __init__(self, root: Path, files: list[str], folder: Path, slow: bool = False):
        self.root, self.files, self.folder, self.slow = root, set(files), folder, slow
        self.process = None
        self.restore()
        for command in ("git init --quiet", "git add --all"):  # some tests ask git for the files of the tree
            subprocess.run(command.split(), cwd=folder, check=True)

    def restore(self) -> None:
        """Make the copy equal to the working tree: changed files are copied again, new ones deleted."""
        for path in self.folder.rglob("*") if self.folder.exists() else ():
            name = path.relative_to(self.folder).as_posix()
            if name.startswith(".git/"):
                continue
            if path.is_symlink() or (path.is_file() and name not in self.files):
                path.unlink()
        for name in self.files:
            here, there = self.folder / name, self.root / name
            if not here.is_file() or not filecmp.cmp(there, here, shallow=False):
                here.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(there, here)

    def put(self, mutant) -> None:
        """Restore the copy and put a mutant in."""
        self.restore()
        path = self.folder / mutant.path
        path.write_text(mutant.apply(path.read_text(encoding="utf-8")), encoding="utf-8")

    def test(self, file: str, limit_s: float) -> dict:
        """Run one test file until its first failure.

        Returns:
            status: passed, failed or timeout; test: the one that failed; seconds.
        """
        began = time.monotonic()
        options = ["-n", "0", "-x", "-p", "no:cacheprovider", "--tb=no", "-rfE"]
        options += ["-m", "not cluster"] if self.slow else []
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with (self.folder / "said.txt").open("w+", encoding="utf-8", errors="replace") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *options, file],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,  # so that what the tests start ends with them
            )
            try:
                code = self.process.wait(limit_s)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self.stop()
            output.seek(0)
            first = FAILED.search(output.read())
        status = "timeout" if code is None else "passed" if code in PASSED else "failed"
        name = first[1] if first else file if status != "passed" else ""
        return {"status": status, "test": name, "seconds": round(time.monotonic() - began, 1)}

    def stop(self) -> None:
        """End the tests that run here, and all that they have started."""
        if self.process and hasattr(os, "killpg"):
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        elif self.process:
            self.process.kill()
        if self.process:
            self.process.wait()
