"""Command lines: config files of plain assignments, then --key=value, into one frozen dataclass.

The grammar is nanoGPT's: `python train.py config/deep.py --residual=none --n_layer=24`. Later words
win. Every fault of a command line is told at once, one line each, and nothing is run.
"""

import contextlib
import dataclasses
import difflib
import io
import os
import runpy
import sys
import types
from pathlib import Path
from typing import TypeVar

import tyro

Config = TypeVar("Config")


class UsageError(ValueError):
    """What the user typed can't be run; each line of the message is one fault."""


def parse(
    cls: type[Config], words: list[str], takes_files: bool = True, leave_out: tuple[str, ...] = ()
) -> tuple[Config, list[str]]:
    """Read a command line.

    Args:
        cls: a dataclass, whose fields may be dataclasses; their fields are keys without a prefix. Its
            faults() method lists what is not allowed.
        words: the command line without the program's name. `--key=value`, `--key value`, and for a
            boolean just `--key`.
        takes_files: words that end in .py are config files; if not, they are positional like others.
        leave_out: names in config files that another program reads.

    Returns:
        the config, and the words that are neither.

    Raises:
        UsageError: unknown keys, wrong types, values that are not allowed, files that fail.
    """
    if "--help" in words or "-h" in words:
        _tyro(cls, ["--help"], quiet=False)
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
    final = {key: value for key, value, _ in settings}
    try:
        config = None if faults or set(final) - set(fields) else _tyro(cls, _words(final))
    except SystemExit:
        config = None
    if config is None:  # find out which of the settings it was
        for key, value, where in settings:
            fault = _fault(cls, fields, key, value)
            faults += [fault + where] if fault else []
        raise UsageError("\n".join(faults))
    if config.faults():
        raise UsageError("\n".join(config.faults()))
    return config, rest


def read_config_file(path: str) -> dict:
    """The assignments of a config file. Names that start with _ and modules are its own."""
    if not Path(path).is_file():
        near = difflib.get_close_matches(Path(path).name, [p.name for p in Path(path).parent.glob("*.py")], 1)
        raise UsageError(f"{path}: no such config file" + (f"; did you mean {near[0]}?" if near else ""))
    try:
        names = runpy.run_path(path)
    except Exception as error:
        raise UsageError(f"{path}: {type(error).__name__}: {error}") from None
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


def _fault(cls, fields: dict, key: str, value: str) -> str | None:
    """What is wrong with one setting, if anything."""
    if key not in fields:
        near = difflib.get_close_matches(key, fields, 1)
        return f"--{key}={value}: no such setting" + (
            f"; did you mean --{near[0]}?" if near else "; see --help"
        )
    try:
        _tyro(cls, _words({key: value}))
    except SystemExit:
        name = getattr(fields[key], "__name__", str(fields[key]))
        return f"--{key}={value}: must be of type {name}"
    return None


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
