"""Command lines of argparse whose faults are told in one line, as the doors tell theirs."""

import argparse

from reslab.run.fields import one_line


class ArgumentParser(argparse.ArgumentParser):
    """Options in full words; a fault is one line on stderr and exit code 2.

    Args:
        doc: the program's docstring, which the help shows as it is.
    """

    def __init__(self, doc: str):
        formatter = argparse.RawDescriptionHelpFormatter
        super().__init__(description=doc, formatter_class=formatter, allow_abbrev=False)

    def error(self, message: str):
        line = one_line(message.removeprefix("argument "))
        self.exit(2, f"error: {line if len(line) <= 300 else f'{line[:297]}...'}; see --help\n")
