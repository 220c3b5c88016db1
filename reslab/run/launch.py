"""How this process was started, by torchrun or by hand, and which of several is heard. No torch."""

import os
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

LAUNCHER = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets


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
