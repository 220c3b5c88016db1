"""What ends a program reaches the programs that it has started, and a lock that it takes meanwhile."""

import os
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT
from filelock import FileLock, Timeout

from reslab.run.children import Interrupted, on_ending_signals, raise_interrupted
from reslab.run.lock import exclusive_lock

# A child that says when it is there, and how it was asked to end; and a parent that waits for two of them.
CHILD = """
import signal, sys, time
from pathlib import Path
from reslab.run.children import follow_parent
signal.signal(signal.SIGTERM, lambda *_: (Path(sys.argv[1] + '.saved').touch(), sys.exit(143)))
follow_parent()
Path(sys.argv[1]).touch()
time.sleep(60)
"""
PARENT = f"""
import sys
from concurrent.futures import ThreadPoolExecutor
from reslab.run.children import Children
def one(name):
    if name == 'broken':
        try:
            from pathlib import Path
            while not (Path('a').exists() and Path('b').exists()): pass
            raise LookupError
        except LookupError:
            children.stop()
            raise
    return children.run([sys.executable, '-c', {CHILD!r}, name])
with Children() as children, ThreadPoolExecutor(3) as pool:
    codes = [done and done.returncode for done in pool.map(one, sys.argv[1:])]
print(codes, children.signal_number, children.run(['true']))
"""


def start(tmp_path, *names: str) -> subprocess.Popen:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT, *names]
    return subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)


def wait_for(*paths) -> None:
    end = time.monotonic() + 30
    while not all(path.exists() for path in paths):
        assert time.monotonic() < end, paths
        time.sleep(0.01)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2", "SIGQUIT", "SIGABRT"])
def test_a_signal_reaches_the_children_and_the_parent_waits(tmp_path, name):
    parent, number = start(tmp_path, "a", "b"), getattr(signal, name)
    wait_for(tmp_path / "a", tmp_path / "b")
    parent.send_signal(number)
    assert parent.communicate(timeout=30)[0] == f"[143, 143] {int(number)} None\n"
    assert (tmp_path / "a.saved").exists() and (tmp_path / "b.saved").exists()


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_an_exception_in_the_parent_reaches_them_too(tmp_path):
    parent = start(tmp_path, "a", "b", "broken")
    parent.communicate(timeout=30)
    assert parent.returncode == 1 and (tmp_path / "a.saved").exists() and (tmp_path / "b.saved").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl is Linux's")
def test_a_parent_that_is_killed_leaves_nothing_behind(tmp_path):
    parent = start(tmp_path, "a", "b")
    wait_for(tmp_path / "a", tmp_path / "b")
    parent.kill()
    wait_for(tmp_path / "a.saved", tmp_path / "b.saved")
    parent.communicate()


def test_a_signal_that_comes_while_the_lock_is_taken_leaves_nothing(tmp_path, monkeypatch):
    acquire = FileLock.acquire

    def acquire_and_stop(*args, **given):
        acquire(*args, **given)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(FileLock, "acquire", acquire_and_stop)
    lock = exclusive_lock(tmp_path / "new" / "out", "testing")
    with on_ending_signals(raise_interrupted), pytest.raises(Interrupted), lock:
        pytest.fail("begun")
    assert not list(tmp_path.iterdir())


def test_a_signal_that_comes_while_another_process_has_the_lock_is_not_lost(tmp_path, monkeypatch):
    def stop_and_fail(*args, **given):
        os.kill(os.getpid(), signal.SIGTERM)
        raise Timeout(tmp_path / "lock")

    monkeypatch.setattr(FileLock, "acquire", stop_and_fail)
    lock = exclusive_lock(tmp_path, "testing", wait=1)
    with on_ending_signals(raise_interrupted), pytest.raises(Interrupted), lock:
        pytest.fail("begun")
