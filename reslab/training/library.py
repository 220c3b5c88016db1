"""A training as a call of another program, instead of a command line."""

from pathlib import Path

from reslab.run.config import parse
from reslab.run.log import Run, read_run
from reslab.run.settings import TrainConfig
from reslab.training.loop import train as train_to_the_end


def train(*configs: str | Path, **settings) -> Run:
    """Train one model, in any thread, and return its run.

        run = reslab.train("config/smoke.py", residual="none", out_dir="runs/mine")
        print(run.status, run.last("val/loss"))

    In the main thread a signal saves the run and ends it, as it does for train.py; elsewhere nothing does.

    Args:
        configs: config files, those of the package too.
        settings: what train.py takes as --key=value; they win.

    Returns:
        the run; its status is finished or diverged, or unfinished after a signal.

    Raises:
        ValueError: what was asked for can't be done, a line for each fault; nothing was written.
        MachineError: the disk or the memory is full.
    """
    words = [*map(str, configs), *(f"--{key}={value}" for key, value in settings.items())]
    config = parse(TrainConfig, words, leave_out=("study",)).config
    train_to_the_end(config)
    return read_run(config.out_dir)
