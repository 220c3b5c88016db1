"""How a run ended: its exit code, and the last lines that a person reads."""

from pathlib import Path

import torch

from reslab.instruments.divergence import trace
from reslab.run import checkpoint
from reslab.run.log import read_run
from reslab.system import device


def exit_code(folder: Path, max_iters: int, restarts: int) -> int | None:
    """What a run that has nothing left to do ends with again, None when there is something left.

    Args:
        restarts: how often torchrun has started it again by itself.
    """
    run = read_run(folder)
    if run.status == "unfinished":
        return None
    if run.last("step") >= max_iters:
        print(f"{folder}: {run.status} already. {run.last('diagnosis')}")
        return 0
    return 3 if restarts and run.status == "diverged" else None  # it would diverge again


def diverged(state, config, dataset, log, seen: dict) -> int:
    """Log the divergence, with what was seen of it already; returns the exit code.

    Args:
        state, config: a TrainState and a TrainConfig.
    """
    parts = config.gradient_accumulation_steps
    with state.whole() as model:
        if state.ranks.is_main:
            torch.manual_seed(device.step_seed(config.seed, state.step))
            found = trace(model, dataset, state.step, parts, config.batch_size)
            log.write({"step": state.step} | seen | found)
    return 3


def say(code: int, folder: Path, step: int, again: str) -> None:
    """Print the diagnosis of a run, or how to go on with it.

    Args:
        again: the command that resumes it.
    """
    if code > 128:
        print(f"stopped after step {step}, saved; go on with: {again}")
    else:
        print(f"{folder}: {read_run(folder).last('diagnosis')}")
    if code == 3 and (good := checkpoint.find(folder / "checkpoint" / "last")):
        step = checkpoint.load_state(good)["step"]
        print(f"step {step} is saved; try from there with: {again} --learning_rate=...")
