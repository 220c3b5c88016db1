"""Printing where a stream can't take it: a code page without the character, a reader that is gone."""

import contextlib
import os
import shutil
import sys
import textwrap

from reslab.run.fields import named_line


def replace_what_cannot_be_shown() -> None:
    """From now on a character that stdout or stderr has no code for is a question mark, and no error; what is
    printed to a closed one goes nowhere."""
    for name in NAMES:
        if getattr(sys, name) is None:  # else the next file that is opened would stand in its place
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: PTH123, SIM115
    for stream in (sys.stdout, sys.stderr):
        strict = getattr(stream, "errors", "") in ("strict", "surrogateescape")  # that of an ASCII locale
        if strict and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


@contextlib.contextmanager
def lossy():
    """Inside, a print that fails (a full disk, a closed terminal, a reader that is gone) is no error."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (
        stream and Lossy(stream, name) for stream, name in zip(before, NAMES, strict=True)
    )
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Lossy):
                stream.flush()
        sys.stdout, sys.stderr = before


NAMES = ("stdout", "stderr")


def terminal_width() -> int:
    """Characters of a line; a file or a pipe has no limit."""
    return shutil.get_terminal_size().columns if sys.stdout and sys.stdout.isatty() else 1 << 20


def wrapped(text: str, width: int | None = None) -> list[str]:
    """A sentence as lines that fit a width, or the terminal; paths stay whole."""
    options = {"subsequent_indent": "  ", "break_long_words": False, "break_on_hyphens": False}
    return textwrap.wrap(text, width or terminal_width(), **options)


def warn_once(what: str, error: Exception, result: str, warned: set = set()) -> None:  # noqa: B006
    """Tell on stderr that a part of the user's own failed, and what comes of it: once while the program runs.

    Args:
        what: the part, such as `probe x`.
        result: such as `it is left out`.
        warned: what was told, kept between the calls.
    """
    if what not in warned:
        warned.add(what)
        print(f"warning: {what} failed ({named_line(error)}); {result}", file=sys.stderr, flush=True)


class Lossy:
    """A text stream whose first failure is told on stderr, if that is another, and ends all that it shows."""

    def __init__(self, stream, name: str):
        self.stream, self.name, self.failed = stream, name, False

    def write(self, text: str) -> int:
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self.stream.flush)

    def _try(self, job) -> None:
        if self.failed:
            return
        try:
            job()
        except (OSError, ValueError) as error:  # ValueError: it is closed
            self.failed = True
            self._discard()
            if self.name == "stdout" and sys.stderr:
                print(f"stdout can't be written ({error}); this goes on without it", file=sys.stderr)

    def _discard(self) -> None:
        """What is still buffered goes nowhere, or Python would fail on it as it ends."""
        with contextlib.suppress(OSError, ValueError), open(os.devnull, "wb") as nothing:  # noqa: PTH123
            os.dup2(nothing.fileno(), self.stream.fileno())

    def __getattr__(self, name: str):
        return getattr(self.stream, name)
