"""How this process was started, by torchrun or by hand, and which of several is heard. No torch."""

import os
import re
import sys
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

from reslab import INSTALLED, TOP

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets


PREPARE = re.compile(r"python '?data[\\/](\w+)[\\/]prepare\.py'?")
DOOR = re.compile(r"python '?(train|sample|compare|autopsy|export|bench)\.py'?")
TORCHRUN = re.compile(r"(torchrun [^\n]*?)'?\btrain\.py'?")


def as_typed(text: str, installed: bool = INSTALLED) -> str:
    """A text whose commands are those of this installation: `reslab train` for `python train.py`."""
    if not installed:
        return text
    text = text.replace(f"{TOP}{os.sep}", "")  # what is left of a path may be in quotes
    text = TORCHRUN.sub(r"\1-m reslab train", text)
    return DOOR.sub(r"reslab \1", PREPARE.sub(r"reslab prepare \1", text))


def command_line() -> str:
    """How this program was started, for a record: `train.py config/x.py`, or `reslab train config/x.py`. A
    grid starts train.py by its whole path, and the folders of this machine have no place in a record."""
    script, *argv = sys.argv
    typed = " ".join(["python", script.removeprefix(f"{TOP}{os.sep}"), *argv])
    return as_typed(typed).removeprefix("python ")


def not_installed(error: ModuleNotFoundError) -> str | None:
    """One line on a package of requirements.txt that this Python lacks; None for any other module."""
    listed, own = Path(TOP, "requirements.txt"), Path(TOP, ".venv")
    names = re.findall(r"^[\w-]+", listed.read_text("utf-8"), re.MULTILINE) if listed.is_file() else []
    if error.name not in names:
        return None
    remedy = "python -m pip install -r requirements.txt"
    if own.is_dir() and Path(sys.prefix) != own:  # `make` has installed it there
        remedy = ". .venv/bin/activate"
    return f"{error.name}: not installed for {sys.executable}; run: {remedy}"


@contextmanager
def packages():
    """Around imports that come before run_door(): what is not installed ends the program with one line."""
    try:
        yield
    except ModuleNotFoundError as error:
        if not (line := not_installed(error)):
            raise
        print(f"error: {line}", file=sys.stderr)
        raise SystemExit(2) from None


class ReportedByRank0(ValueError):
    """A fault that another rank prints."""


def under_torchrun() -> bool:
    """Whether torchrun has started this process."""
    return all(name in os.environ for name in LAUNCHER)


def rank() -> int:
    """The number of this process among those that torchrun started; 0 without it."""
    return int(os.environ["RANK"]) if under_torchrun() else 0


@contextmanager
def rank0_output(prints: bool):
    """Inside, all ranks do the same, and rank 0 alone prints.

    Args:
        prints: whether this is rank 0.

    Raises:
        ReportedByRank0: a ValueError on another rank.
    """
    if prints:
        yield
        return
    with silence() as nothing, redirect_stderr(nothing):
        try:
            yield
        except ValueError as error:
            raise ReportedByRank0(str(error)) from None


@contextmanager
def silence():
    with Path(os.devnull).open("w") as nothing, redirect_stdout(nothing):
        yield nothing
