"""Command lines: config files of plain assignments, then --key=value, into one frozen dataclass.

The grammar is nanoGPT's: `python train.py config/deep.py --residual=none --n_layer=24`. Later ones
win. Every fault of a command line is told at once, one line each, and nothing is run.
"""

import contextlib
import dataclasses
import errno
import io
import os
import re
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from reslab.run import children, launch, streams
from reslab.run.configfile import UsageError, read_config_file
from reslab.run.fields import (
    INT_LIMIT,
    Config,
    Setting,
    did_you_mean,
    expand,
    flat,
    from_flat,
    not_text,
    one_line,
    settings,
    short,
)
from reslab.run.help import help_text


class MachineError(Exception):
    """The machine can't go on, whatever was typed: its disk or its memory is full. Exit code 1."""


@dataclass(frozen=True)
class Positionals:
    """The words of a command line that are not settings.

    Args:
        usage: how the help names them.
        configs: whether a word that ends in .py is a config file.
        count: how many other words there are; None for any number.
        example: of these words, for whoever gives none.
    """

    usage: str
    configs: bool = False
    count: int | None = 0
    example: str = ""

    def faults(self, args: list[str]) -> list[str]:
        """What is wrong with the words that are no config files."""
        if self.count is None or len(args) == self.count:
            return []
        if self.example and not args:
            return [f"no {self.usage} given; run for example: python {sys.argv[0]} {self.example}"]
        if self.count:
            return [f"{len(args)} of {self.count} given; give {self.usage} [--key=value ...]"]
        what = "neither a config file (*.py) nor --key=value" if self.configs else "not a --key=value"
        return [f"{short(word)}: {what}" for word in args]


class Given(NamedTuple):
    """One setting as it was typed."""

    key: str
    text: str
    file: str = ""
    """The config file that it is from; empty on the command line."""
    has_value: bool = True
    """Whether a value stood there: `--csv` at the end of a command line has none, `--prompt=` has."""

    def __str__(self) -> str:
        where = f"{self.file}: " if self.file else "--"
        return f"{where}{short(self.key)}={short(self.text)}" if self.has_value else f"--{short(self.key)}"


class Parsed(NamedTuple):
    """A command line that can be run."""

    config: Config
    places: list[str]
    """Config files, run directories: the words that are not settings."""
    overrides: dict[str, str]
    """The settings of the command line itself, without those of config files."""


def parse(cls: type[Config], argv: list[str], text: str = "", leave_out: tuple[str, ...] = ()) -> Parsed:
    """Read a command line; --help and --print_config print and end the program.

    Args:
        cls: a dataclass with POSITIONALS, whose fields may be dataclasses; their fields are keys without a
            prefix. Its faults() method lists what is not allowed.
        argv: the command line without the program's name. `--key=value`, `--key value`, and for a
            boolean just `--key`.
        text: what the help says after the settings: examples, and what else there is to say.
        leave_out: names in config files that another program reads.

    Raises:
        UsageError: unknown keys, wrong types, values that are not allowed, files that fail.
        SystemExit: with code 0, after --help or --print_config.
    """
    if "--help" in argv or "-h" in argv:
        print(help_text(cls, text))
        raise SystemExit(0)
    known = settings(cls)
    given, places = _split(argv, known)
    files = [word for word in places if cls.POSITIONALS.configs and word.endswith(".py")]
    faults = cls.POSITIONALS.faults([word for word in places if word not in files])
    faults += ["an argument is empty; leave it out, or give a path"] if "" in places else []
    faults += [f"{short(place)}: {fault}" for place in places if (fault := not_text(place))]
    from_files = []
    for file in files:
        try:
            from_files += _read_file(file, known, leave_out)
        except UsageError as error:
            faults.append(str(error))
    config, setting_faults = _build(cls, known, [*from_files, *given])
    if faults := faults + setting_faults:
        raise UsageError("\n".join(dict.fromkeys(faults)))
    if flat(config).get("print_config"):
        print("\n".join(f"{key} = {value!r}" for key, value in flat(config).items()))
        raise SystemExit(0)
    return Parsed(
        config, [expand(place) for place in places], {setting.key: setting.text for setting in given}
    )


def _build(cls: type[Config], known: dict[str, Setting], given: list[Given]) -> tuple[Config, list[str]]:
    """The config of the settings that were given, the later ones winning, and its faults."""
    final = {setting.key: setting for setting in given}
    faults = {key: fault for key, setting in final.items() if (fault := _fault(known, setting))}
    read = final.keys() - faults.keys()
    config = from_flat(cls, {key: _convert(known[key], final[key].text) for key in read})
    # A fault of a setting that could not be read would be about its default, which was not given.
    combined = [
        line + _from_files(line, final)
        for line in config.faults()
        if not faults.keys() & set(re.findall(r"\w+", line))
    ]
    return config, [*faults.values(), *combined]


def _from_files(fault: str, final: dict[str, Given]) -> str:
    """Which of the settings that a fault names are from config files, and from which."""
    named = dict.fromkeys(re.findall(r"(\w+)=", fault))
    given = [str(final[key]) for key in named if key in final and final[key].file]
    return f" ({', '.join(given)})" if given else ""


def _split(argv: list[str], known: dict[str, Setting]) -> tuple[list[Given], list[str]]:
    """The settings of a command line, and its other words."""
    given, places, argv = [], [], list(argv)
    while argv:
        word = argv.pop(0)
        if not word.startswith("--"):
            places.append(word)
            continue
        key, equals, value = word[2:].partition("=")
        is_flag = key in known and known[key].kind is bool
        if not equals and is_flag and argv[:1] not in (["True"], ["False"]):
            value = "True"
        elif not equals:
            equals = argv and not argv[0].startswith("--")
            value = argv.pop(0) if equals else ""
        text = expand(value) if key in known and known[key].is_path else value
        given.append(Given(key, text, has_value=bool(equals or value)))
    return given, places


def _read_file(file: str, known: dict[str, Setting], leave_out: tuple[str, ...]) -> list[Given]:
    """The settings of a config file. What it imports or defines, functions and classes, is its own."""
    assigned = []
    for key, value in read_config_file(expand(file)).items():
        if key in leave_out or (callable(value) and key not in known):
            continue
        text = hex(value) if isinstance(value, int) and value.bit_length() > 64 else str(value)
        assigned.append(Given(key, expand(text) if key in known and known[key].is_path else text, file))
    return assigned


def _fault(known: dict[str, Setting], given: Given) -> str | None:
    """What is wrong with one setting, if anything."""
    if given.key not in known:
        near = did_you_mean(f"--{given.key}", (f"--{key}" for key in known))
        return f"{given}: no such setting" + (near or "; see --help")
    setting = known[given.key]
    if given.text == "" and (setting.kind is Path or not given.has_value):
        return f"{given}: needs a value"
    if fault := not_text(given.text):
        return f"{given}: {fault}"
    try:
        value = _convert(setting, given.text)
    except SystemExit:
        if not (setting.kind is int and re.fullmatch(r"[+-]?(\d{18,}|0x[0-9a-f]{16,})", given.text)):
            return f"{given}: {setting.must_be}{did_you_mean(given.text, setting.choices)}"
        value = -INT_LIMIT if given.text.startswith("-") else INT_LIMIT  # more digits than Python converts
    fault = setting.fault(value)
    return f"{given}: {fault}" if fault else None


@cache  # a study has hundreds of cells with the same few values
def _convert(setting: Setting, text: str):
    """Let tyro convert a text by the type of its setting; its own messages are dropped.

    Raises:
        SystemExit: the text does not fit.
    """
    import tyro  # here, because whoever raises a UsageError imports this module

    holder = dataclasses.make_dataclass("One", [(setting.name, setting.annotation)])
    marked, typed = tyro.conf.FlagConversionOff[holder], [f"--{setting.name}={text}"]
    with contextlib.redirect_stderr(io.StringIO()):
        return getattr(tyro.cli(marked, args=typed, use_underscores=True), setting.name)


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


def told(error: OSError) -> str:
    """What the system refused, as a message begins: the file, then the reason, without its number."""
    names = [one_line(name)[:1000] for name in (error.filename, error.filename2) if name is not None]
    return f"{' -> '.join(names)}: {error.strerror}" if names and error.strerror else str(error)


def _tell(message: str) -> None:
    """Print a message of one fault in a line. What a terminal would obey is escaped, and so is a newline that
    was typed, in a path for example."""
    for word in re.split(r"[=/,;]", "=".join(sys.argv[1:])):
        if word.strip() and not word.isprintable():
            message = message.replace(word, one_line(word))
    print("\n".join(f"error: {one_line(line)}" for line in message.split("\n")), file=sys.stderr)


def run_door(main) -> None:
    """Call a door's main(argv); a user's error is one line per fault on stderr and exit code 2.

    A rank of torchrun ends at once: torch may abort it (-6) when gloo's threads outlive Python's own end, and
    torchrun then calls a training failed that has saved everything.
    """
    children.follow_parent()
    streams.replace_what_cannot_be_shown()
    try:
        code = main(sys.argv[1:])
    except ValueError as error:
        _tell(launch.as_typed(str(error)))
        code = 2
    except RuntimeError as error:
        if not str(error).startswith("Symlink loop"):  # of pathlib, which has no class of its own for it
            raise
        _tell(f"{error}: this link leads to itself")
        code = 2
    except ModuleNotFoundError as error:
        if not (line := launch.not_installed(error)):
            raise
        _tell(line)
        code = 2
    except MachineError as error:
        _tell(str(error))
        code = 1
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 141
    except OSError as error:
        _tell(told(error))
        code = 1 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 2
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        code = getattr(stop, "code", 130)
    if launch.under_torchrun():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    raise SystemExit(code)
