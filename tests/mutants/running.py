"""Runs tests on a copy of the tree with a mutant in it, and remembers what came out.

The working tree is never touched. Each worker has a copy of its own, which is restored before every mutant:
nothing of one mutant is left for the next.
"""

import contextlib
import filecmp
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+)", re.MULTILINE)
PASSED = (0, 5)  # pytest: all passed, or none of the file's tests was chosen
SAID = "said.txt"  # what pytest prints in a copy
# Most of a test file's time goes into these, so one process imports them and the others are forks of it.
SHARED = ["pytest", "hypothesis", "numpy", "torch", "torch.utils.checkpoint", "torch.distributed.fsdp"]
SHARED += [
    "torch.testing",
    "safetensors.torch",
    "plotly.graph_objects",
    "tyro",
    "tqdm",
    "filelock",
    "tokenizers",
]
FORKS = "forkserver" in multiprocessing.get_all_start_methods()
SERVER = multiprocessing.get_context("forkserver" if FORKS else "spawn")
SERVER.set_forkserver_preload(SHARED)


def run_pytest(folder: Path, arguments: list[str]) -> None:
    """What a process of its own does: run tests in a copy of the tree, and end with their exit code."""
    import pytest  # here, because the process that starts the others has no need of it

    if hasattr(os, "setsid"):
        os.setsid()  # so that what the tests start ends with them
    os.chdir(folder)
    with open(SAID, "w", encoding="utf-8") as output, open(os.devnull) as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    # As `python -m pytest` begins: of this program and what it imports nothing is left.
    sys.path[:] = [str(folder), *(path for path in sys.path if Path(path or ".").resolve() != ROOT)]
    own = {path.stem for path in ROOT.iterdir()}
    for name in [name for name in sys.modules if name.partition(".")[0] in own]:
        del sys.modules[name]
    sys.modules["__main__"] = types.ModuleType("__main__")
    sys.argv = ["pytest", *arguments]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.update(OMP_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
    sys.dont_write_bytecode = True
    sys.exit(int(pytest.main(arguments)))


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
    """

    def __init__(self, root: Path, files: list[str], folder: Path):
        self.root, self.files, self.folder = root, set(files), folder
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

    def test(self, file: str, limit_s: float, options: tuple[str, ...] = ()) -> dict:
        """Run one test file until its first failure.

        Args:
            options: more of pytest's, such as which tests of the file.

        Returns:
            status: passed, failed or timeout; test: the one that failed; seconds.
        """
        began = time.monotonic()
        said = self.folder / SAID
        said.write_text("")
        arguments = ["-n", "0", "-x", "-p", "no:cacheprovider", "--tb=no", "-rfE", *options, file]
        self.process = SERVER.Process(target=run_pytest, args=(self.folder, arguments))
        try:
            self.process.start()
            self.process.join(limit_s)
            code = self.process.exitcode
        finally:
            self.stop()
        first = FAILED.search(said.read_text(encoding="utf-8", errors="replace"))
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
            self.process.join()
