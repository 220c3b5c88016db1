"""Command lines of argparse whose faults are told in one line, as the doors tell theirs."""

import argparse
from pathlib import Path

from reslab.run.fields import expand, one_line, short
from reslab.run.files import output_fault
from reslab.run.help import columns, program, reflowed


class ArgumentParser(argparse.ArgumentParser):
    """Options in full words; a fault is one line on stderr and exit code 2.

    Args:
        doc: the program's docstring, which the help shows, filled to the terminal's width.
        called: how it is called; None reads it from the command line.
        after: what the help says after the options.
    """

    def __init__(self, doc: str, called: str | None = None, after: str = ""):
        super().__init__(
            called or program(),
            description=reflowed(doc, columns()),
            epilog=reflowed(after, columns()),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str):
        line = one_line(message.removeprefix("argument "))
        self.exit(2, f"error: {line if len(line) <= 300 else f'{line[:297]}...'}; see --help\n")


def home_path(name: str) -> Path:
    """A path whose ~ is the home directory, also in --out=~/data, which shells leave as it is."""
    if not name:
        raise argparse.ArgumentTypeError("needs a value")
    return Path(expand(name))


def output_folder(name: str) -> Path:
    """A folder that can be written. Raises ArgumentTypeError where it can't."""
    return _output(name, folder=True)


def output_file(name: str) -> Path:
    """A file that can be written; asked before the work begins whose result it takes. Raises
    ArgumentTypeError where it can't."""
    return _output(name, folder=False)


def _output(name: str, folder: bool) -> Path:
    path = home_path(name)
    if reason := output_fault(path, folder=folder):
        raise argparse.ArgumentTypeError(f"{name}: {reason}")
    return path


def at_least(least: int):
    """A type of options: whole numbers from least on. Raises ArgumentTypeError for any other."""

    def whole(text: str) -> int:
        if not text.isascii() or not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{short(text)} is not a whole number from {least} on")
        return int(text)

    return whole
