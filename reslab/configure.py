"""Command lines: config files of plain assignments, then --key=value, into one frozen dataclass.

The grammar is nanoGPT's: `python train.py config/deep.py --residual=none --n_layer=24`. Later words
win. Every fault of a command line is told at once, one line each, and nothing is run.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import re
import runpy
import sys
import types
from pathlib import Path
from typing import TypeVar

import tyro

Config = TypeVar("Config")


CONFIG_BYTES = 1 << 20  # of the largest config file; beyond that it is something else


class UsageError(ValueError):
    """What the user typed can't be run; each line of the message is one fault."""


class MachineError(Exception):
    """The machine can't go on, whatever was typed: its disk or its memory is full. Exit code 1."""


def parse(
    cls: type[Config], words: list[str], takes_files: bool = True, leave_out: tuple[str, ...] = ()
) -> tuple[Config, list[str]]:
    """Read a command line.

    Args:
        cls: a dataclass, whose fields may be dataclasses; their fields are keys without a prefix. Its
            faults() method lists what is not allowed.
        words: the command line without the program's name. `--key=value`, `--key value`, and for a
            boolean just `--key`.
        takes_files: words that end in .py are config files, and no other is allowed; if not, one word
            has to be there, a run directory.
        leave_out: names in config files that another program reads.

    Returns:
        the config, and the run directory in a list, or an empty one.

    Raises:
        UsageError: unknown keys, wrong types, values that are not allowed, files that fail.
    """
    if "--help" in words or "-h" in words:
        _help(cls)
    fields = leaf_fields(cls)
    settings, faults, rest = [], [], []
    words = list(words)
    while words:
        word = words.pop(0)
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            if not equals and fields.get(key) in (bool, "bool") and words[:1] not in (["True"], ["False"]):
                value = "True"
            elif not equals:
                value = words.pop(0) if words and not words[0].startswith("--") else ""
            settings.append((key, value, ""))
        elif takes_files and word.endswith(".py"):
            try:
                read = read_config_file(word)
                settings += [(k, str(v), f" in {word}") for k, v in read.items() if k not in leave_out]
            except UsageError as error:
                faults.append(str(error))
        else:
            rest.append(word)
    if takes_files:
        faults += [f"{_short(word)}: neither a config file (*.py) nor --key=value" for word in rest]
    elif len(rest) != 1:
        faults.append(f"{len(rest)} runs given; give one: RUN [--key=value ...]")
    final = {key: value for key, value, _ in settings}
    try:
        config = None if faults or set(final) - set(fields) else _tyro(cls, _words(final))
    except SystemExit:
        config = None
    if config is None:  # find out which of the settings it was
        faults += _all_faults(cls, fields, settings)
        raise UsageError("\n".join(dict.fromkeys(faults)))
    if config.faults():
        raise UsageError("\n".join(config.faults()))
    return config, rest


def collect(*checks) -> list:
    """What the checks return; the faults of all of them are raised together.

    Raises:
        UsageError: at least one raised ValueError.
    """
    answers, faults = [], []
    for check in checks:
        try:
            answers.append(check())
        except ValueError as error:
            faults.append(str(error))
    if faults:
        raise UsageError("\n".join(faults))
    return answers


def read_config_file(path: str) -> dict:
    """The assignments of a config file. Names that start with _ and modules are its own."""
    if not Path(path).is_file():
        near = difflib.get_close_matches(Path(path).name, [p.name for p in Path(path).parent.glob("*.py")], 1)
        raise UsageError(f"{path}: no such config file" + (f"; did you mean {near[0]}?" if near else ""))
    if (size := Path(path).stat().st_size) > CONFIG_BYTES:
        raise UsageError(f"{path}: {size:,} bytes; a config file has at most {CONFIG_BYTES:,}")
    try:
        names = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {_short(error)}") from None
    return {k: v for k, v in names.items() if not k.startswith("_") and not isinstance(v, types.ModuleType)}


def leaf_fields(cls: type) -> dict[str, type]:
    """Key -> type of all settable fields, nested dataclasses opened."""
    found = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            found |= leaf_fields(field.type)
        else:
            found[field.name] = field.type
    return found


def flat(config) -> dict:
    """Key -> value of a config, nested dataclasses opened."""
    found = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        found |= flat(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return found


def from_flat(cls: type[Config], values: dict) -> Config:
    """The config that flat() took apart; keys of another version are left out."""
    arguments = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            arguments[field.name] = from_flat(field.type, values)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return cls(**arguments)


def _all_faults(cls, fields: dict, settings: list[tuple[str, str, str]]) -> list[str]:
    """What is wrong with each setting, and with those together that can be read."""
    found, unread = [], set()
    for key, value, where in settings:
        if fault := _fault(cls, fields, key, value):
            found.append(fault + where)
            unread.add(key)
    read = {key: value for key, value, _ in settings if key not in unread}
    # A fault that speaks of an unread setting speaks of its default, which nobody asked for.
    return found + [
        fault for fault in _tyro(cls, _words(read)).faults() if not unread & set(re.findall(r"\w+", fault))
    ]


def _fault(cls, fields: dict, key: str, value: str) -> str | None:
    """What is wrong with one setting, if anything."""
    if key not in fields:
        near = difflib.get_close_matches(key[:80], fields, 1)
        return f"--{_short(key)}={_short(value)}: no such setting" + (
            f"; did you mean --{near[0]}?" if near else "; see --help"
        )
    try:
        _tyro(cls, _words({key: value}))
    except SystemExit:
        name = getattr(fields[key], "__name__", str(fields[key]))
        return f"--{key}={_short(value)}: must be of type {name}"
    return None


def _short(value) -> str:
    """For a message: one line, not too long."""
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(value)[:81])
    return text if len(text) <= 80 else f"{text[:77]}..."


def _help(cls) -> None:
    """Print the help and exit; without colours where NO_COLOR says so, which tyro does not ask."""
    shown = io.StringIO()
    plain = contextlib.redirect_stdout(shown) if os.environ.get("NO_COLOR") else contextlib.nullcontext()
    try:
        with plain:
            _tyro(cls, ["--help"], quiet=False)
    finally:
        print(re.sub(r"\x1b\[[0-9;]*m", "", shown.getvalue()) + getattr(cls, "CHOICES", ""), end="")


def _words(settings: dict[str, str]) -> list[str]:
    return [f"--{key}={value}" for key, value in settings.items()]


def _tyro(cls, words: list[str], quiet: bool = True):
    """Let tyro convert the words; when quiet, it raises SystemExit and its own error text is dropped."""
    marked = tyro.conf.OmitArgPrefixes[tyro.conf.FlagConversionOff[cls]]
    with contextlib.redirect_stderr(io.StringIO()) if quiet else contextlib.nullcontext():
        return tyro.cli(marked, args=words, use_underscores=True)


def run_door(main) -> None:
    """Call a program's main(words); a user's error is one line per fault on stderr and exit code 2."""
    try:
        code = main(sys.argv[1:])
    except ValueError as error:
        print("\n".join(f"error: {line}" for line in str(error).splitlines()), file=sys.stderr)
        code = 2
    except MachineError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        code = 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        code = 130
    raise SystemExit(code)
