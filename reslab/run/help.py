"""What --help says: the settings of a program, grouped by where they are declared and by role. No torch."""

import ast
import dataclasses
import inspect
import shutil
import sys
import textwrap
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path

from reslab import INSTALLED
from reslab.run.fields import settings
from reslab.run.launch import as_typed

# Role -> what a program's own settings of that role decide, in the order of the help.
HEADINGS = {
    "experiment": "What is done",
    "schedule": "How the updates to come are made",
    "measuring": "How much, and how often",
    "machine": "On which device, and how",
    "place": "What is written and shown",
}
PLACEHOLDERS = {int: "N", float: "X", str: "TEXT", Path: "PATH"}  # of a setting whose default is empty
EXIT_CODES = (
    "Exit codes: 0 done; 1 the disk or the memory is full; 2 what was asked can't be done; 3 a run diverged; "
    "130 Ctrl-C; 128 + N another signal N. A training that is stopped has saved its state."
)
WIDEST, INDENT = 100, 28  # a longer line is hard to read


def help_text(cls: type, text: str) -> str:
    """The whole help of a program.

    Args:
        cls: a dataclass with POSITIONALS; its fields may be dataclasses.
        text: examples, and what else there is to say.
    """
    width = columns()
    usage = " ".join(filter(None, ["usage:", program(), cls.POSITIONALS.usage, "[--key=value ...]"]))
    about, _ = documentation(cls)
    about += " Each setting stands here with its default."
    parts = [*textwrap.wrap(usage, width, subsequent_indent="    "), "", reflowed(about, width)]
    seen = {}
    for heading, lines in _groups(cls):
        parts += ["", reflowed(heading, width)]
        for holder, name in lines:
            parts += _setting_lines(holder, name, width, seen)
    return "\n".join([*parts, "", reflowed(as_typed(f"{text.strip(chr(10))}\n\n{EXIT_CODES}"), width)])


def columns() -> int:
    """Characters of a line of help."""
    return min(shutil.get_terminal_size().columns, WIDEST)


def program() -> str:
    """How this program is called: `train.py`, `reslab train`, `python -m reslab.training.reprobe`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec:
        return f"python -m {spec.name.removesuffix('.__main__')}"
    door = Path(sys.argv[0])
    return f"reslab {door.stem}" if INSTALLED else door.name


def documentation(cls: type) -> tuple[str, dict[str, str]]:
    """The docstring of a dataclass and those of its fields, from the source: python -OO keeps none."""
    about, fields = "", {}
    for holder in [c for c in reversed(cls.__mro__) if dataclasses.is_dataclass(c)]:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(holder))).body
        about = ast.get_docstring(node) or about
        for field, after in pairwise(node.body):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                fields[field.target.id] = " ".join(after.value.value.split())
    return about, fields


def _groups(cls: type) -> Iterator[tuple[str, list[tuple[type, str]]]]:
    """Heading and settings of each group: a nested dataclass is one, and the own settings of each role."""
    fields = dataclasses.fields(cls)
    nested = [field for field in fields if dataclasses.is_dataclass(field.type)]
    for role, heading in HEADINGS.items():
        names = [f.name for f in fields if f not in nested and settings(cls)[f.name].role.name == role]
        if names:
            yield f"{heading}:", [(cls, name) for name in names]
        for field in nested if role == "experiment" else ():
            if hasattr(field.type, "POSITIONALS"):  # a program of its own, which has its own help
                other = as_typed(f"python {field.name}.py")
                yield f"And every setting of the runs that are trained: see `{other} --help`.", []
            else:
                yield (
                    documentation(field.type)[0],
                    [(field.type, f.name) for f in dataclasses.fields(field.type)],
                )


def _setting_lines(cls: type, name: str, width: int, seen: dict) -> list[str]:
    """One setting with its default, then what it means and what it may be.

    Args:
        seen: choices -> the setting that named them first; this one is added.
    """
    setting, default = settings(cls)[name], cls.__dataclass_fields__[name].default
    if setting.kind is bool and not default:
        option = f"  --{name}"
    elif default is None or default == "":
        option = f"  --{name}={PLACEHOLDERS.get(setting.kind, 'NAME')}"
    else:
        option = f"  --{name}={default:g}" if isinstance(default, float) else f"  --{name}={_quoted(default)}"
    text = documentation(cls)[1][name]
    if choices := tuple(filter(None, setting.choices)):
        first = seen.setdefault(choices, name)
        text += f" ({', '.join(choices)})" if first == name else f" (those of {first})"
    beside = width >= 2 * INDENT
    indent = " " * (INDENT if beside else 6)
    lines = textwrap.wrap(
        text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    if beside and len(option) < INDENT - 1:
        return [option.ljust(INDENT) + lines[0].strip(), *lines[1:]]
    return [option, *lines]


def _quoted(default) -> str:
    text = str(default)
    return text if text.isprintable() else repr(text)


def reflowed(text: str, width: int) -> str:
    """Paragraphs filled to a width; indented lines stay as they are, but for a remark behind a command.

    A remark stands two blanks or more behind its command; where both don't fit, it goes below.
    """
    lines = []
    for indented, group in groupby(text.splitlines(), lambda line: line[:1].isspace() or not line):
        if not indented:
            lines += textwrap.wrap(" ".join(group), width, break_on_hyphens=False)
            continue
        for line in group:
            command, _, remark = line.strip().partition("  ")
            below = [f"    {command}", f"        {remark.strip()}"] if remark else [line]
            lines += [line] if len(line) <= width else below
    return "\n".join(lines)
