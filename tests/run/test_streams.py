"""Printing where a stream fails: the program goes on, and the first failure is told once where it can be."""

import io
import sys

import pytest

from reslab import TOP
from reslab.run.launch import command_line
from reslab.run.streams import Lossy, warn_once


class Failing(io.StringIO):
    """A stream on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def fileno(self):
        raise OSError


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("stdout", "stdout can't be written ([Errno 28] No space left on device); this goes on without it\n"),
        ("stderr", ""),  # there is no other place to tell it
    ],
)
def test_the_first_failure_is_told_on_stderr_alone(monkeypatch, name, told):
    stderr = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stderr)
    stream = Lossy(Failing(), name)
    for _ in range(3):
        print("a line", file=stream, flush=True)
    assert stream.failed and stderr.getvalue() == told


def test_without_a_stderr_nothing_is_told(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    stream = Lossy(Failing(), "stdout")
    print("a line", file=stream)
    assert stream.failed


def test_a_stream_that_works_is_passed_through():
    stream = Lossy(io.StringIO(), "stdout")
    print("a line", file=stream)
    assert stream.getvalue() == "a line\n" and not stream.failed


def test_what_failed_is_told_once(capsys):
    for error in (KeyError("no such\nsite"), ValueError("later")):
        warn_once("probe told once", error, "it is left out")
    warn_once("figure told once", ZeroDivisionError(), "it is left out")
    assert capsys.readouterr().err == (
        "warning: probe told once failed (KeyError: 'no such\\nsite'); it is left out\n"
        "warning: figure told once failed (ZeroDivisionError); it is left out\n"
    )


def test_a_record_holds_no_folder_of_the_machine(monkeypatch):
    """A grid starts its runs by the whole path of train.py."""
    monkeypatch.setattr(sys, "argv", [str(TOP / "train.py"), "config/smoke.py", "--max_iters=3"])
    assert command_line() == "train.py config/smoke.py --max_iters=3"
    monkeypatch.setattr(sys, "argv", ["train.py"])
    assert command_line() == "train.py"
