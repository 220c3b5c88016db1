"""Command lines of argparse whose faults are told in one line, as the doors tell theirs."""

import argparse

from reslab.run.fields import one_line
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
