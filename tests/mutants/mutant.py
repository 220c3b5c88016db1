"""A mutant: one change of one source file; and the hand-written ones, read from list/*.txt.

An entry of a list, after a line `@ FILE` or `@ FILE FUNCTION` that holds until the next one:

    * what is wrong now
    - the old text, which stands once in the file, or once in the function
    + the new text
    = why it changes no behaviour       (optional: the mutant is counted as equivalent and never run)
    ~ why no test can notice it here    (optional: that it survives is no news)

Several lines with - or + are lines of code one below the other, with their indentation. A line that starts
with # is a comment. It is plain text, so that whatever renames something in the code renames it here too.
"""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

LISTS = Path(__file__).resolve().parent / "list"


class StaleError(ValueError):
    """The code is no longer what the mutant changes."""


@dataclass(frozen=True)
class Mutant:
    """A change of one file."""

    path: str
    """Of the source file, from the root of the repository, with slashes."""
    about: str
    old: str
    new: str
    scope: str = ""
    """The function, method or class in which `old` stands, as Class.method; empty for the whole file."""
    start: int = -1
    """Where in the file `old` begins; -1 looks for it."""
    equivalent: str = ""
    survives: str = ""

    def place(self, text: str) -> int:
        """Where in the file the change is. Raises StaleError when it is not there exactly once."""
        if self.start >= 0:
            return self.start
        begin, end = span(text, self.scope) if self.scope else (0, len(text))
        count = text.count(self.old, begin, end)
        if count != 1:
            raise StaleError(f"stands {count} times in {self.scope or 'the file'}: {self.old}")
        return text.index(self.old, begin, end)

    def apply(self, text: str) -> str:
        """The file with the mistake in it."""
        at = self.place(text)
        return text[:at] + self.new + text[at + len(self.old) :]

    def line(self, text: str) -> int:
        return text.count("\n", 0, self.place(text)) + 1


@functools.cache
def span(text: str, scope: str) -> tuple[int, int]:
    """Where a function or class begins and ends in a file."""
    nodes = ast.parse(text).body
    for name in scope.split("."):
        kinds = ast.FunctionDef | ast.ClassDef
        node = next((n for n in nodes if isinstance(n, kinds) and n.name == name), None)
        if node is None:
            raise StaleError(f"there is no {scope}")
        nodes = node.body
    lines = text.splitlines(keepends=True)
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    return len("".join(lines[: first - 1])), len("".join(lines[: node.end_lineno]))


def read_lists(folder: Path = LISTS) -> list[Mutant]:
    """All hand-written mutants. Raises ValueError, naming file and line, for a line of no kind."""
    return [mutant for path in sorted(folder.glob("*.txt")) for mutant in _read_list(path)]


def _read_list(path: Path) -> list[Mutant]:
    target, entries = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        mark, text = line[:2].strip(), line[2:]
        if mark == "@":
            target = text.split()
        elif mark == "*":
            entries.append({"target": target, "*": [text], "-": [], "+": [], "=": [], "~": []})
        elif mark in ("-", "+", "=", "~") and entries:
            entries[-1][mark].append(text)
        elif mark and not mark.startswith("#"):
            raise ValueError(f"{path}:{number}: a line starts with one of @ * - + = ~ #, and a blank: {line}")
    return [_mutant(entry) for entry in entries]


def _mutant(entry: dict) -> Mutant:
    path, *scope = entry["target"]
    old, new, equivalent, survives = ("\n".join(entry[mark]) for mark in "-+=~")
    return Mutant(path, entry["*"][0], old, new, "".join(scope), -1, equivalent, survives)
