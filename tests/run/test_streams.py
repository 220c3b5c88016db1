"""Printing where a stream fails: the program goes on, and the first failure is told once where it can be."""

import io
import sys

import pytest

from reslab.run.streams import Lossy


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
