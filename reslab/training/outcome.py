"""How a run ends: its last row, its exit code, and the last lines that a person reads."""

from pathlib import Path

import torch

from reslab.instruments.divergence import trace
from reslab.report.diagnosis import diagnosis
from reslab.run import checkpoint
from reslab.run.log import Run, read_run
from reslab.run.streams import wrapped
from reslab.system import device
from reslab.training.context import RunContext
from reslab.training.state import TrainState


def exit_code(folder: Path, max_iters: int, restarts: int) -> int | None:
    """What a run that has nothing left to do ends with again, None when there is something left.

    Args:
        restarts: how often torchrun has started it again by itself.
    """
    run = read_run(folder)
    if run.status == "unfinished":
        return None
    if run.last("step") >= max_iters:
        print("\n".join(wrapped(f"{folder}: {run.status} already. {run.last('diagnosis')}")))
        return 0
    return 3 if restarts and run.status == "diverged" else None  # it would diverge again


def log_finished(state: TrainState, context: RunContext) -> int:
    """Log that all updates are made, and what the losses mean; returns the exit code."""
    if context.strategy.is_main:
        run = read_run(context.folder)
        line = diagnosis(run.rows, run.facts["baselines_nats"])
        context.log.write({"step": state.step, "status": "finished", "diagnosis": line})
    return 0


def log_divergence(state: TrainState, context: RunContext, metrics: dict) -> int:
    """Log where the batch of this step is not finite first; returns the exit code.

    Args:
        metrics: of that batch, as far as they are known.
    """
    config = context.config
    with context.strategy.full_model(state.model) as model:
        if context.strategy.is_main:
            torch.manual_seed(device.step_seed(config.seed, state.step))
            accumulation = config.gradient_accumulation_steps
            row = trace(model, context.dataset, state.step, accumulation, config.batch_size)
            context.log.write({"step": state.step} | metrics | row)
    return 3


def print_saved(step: int, resume_command: str) -> None:
    """Print that a run has stopped, and how to go on with it."""
    print(f"stopped after step {step}, saved; go on with: {resume_command}", flush=True)


def per_text(run: Run) -> str:
    """The validation loss in units that do not depend on the tokenizer, as far as they are known."""
    units = {"val/bits_per_byte": "{:.3f} bits per byte", "val/word_perplexity": "word perplexity {:,.1f}"}
    known = {key: run.last(key) for key in units}
    return ", ".join(units[key].format(value) for key, value in known.items() if value is not None)


def print_summary(code: int, folder: Path, step: int, resume_command: str, note: str = "") -> None:
    """Print the diagnosis of a run, or how to go on with it.

    Args:
        note: what to print in place of the diagnosis when all updates are made.
    """
    if code > 128:
        print_saved(step, resume_command)
        return
    if code == 0 and note:
        print("\n".join(wrapped(note)), flush=True)
        return
    run = read_run(folder)
    if line := per_text(run):
        print(f"{folder}: val {line}")
    print("\n".join(wrapped(f"{folder}: {run.last('diagnosis')}")), flush=True)
    if code == 3 and (good := checkpoint.find(folder / "checkpoint" / "last")):
        if run.last("step") == 0:  # the fault is in the starting weights
            print("no update was made, so no other learning rate helps; try another --init or --residual")
        else:
            step = checkpoint.load_state(good)["step"]
            print(f"step {step} is saved; try from there with: {resume_command} --learning_rate=...")
