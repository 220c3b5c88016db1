"""A trained model from its run directory, ready to be used."""

import contextlib
import sys
from pathlib import Path

import torch

from reslab.data.tokenizer import tokenizer_from_json
from reslab.model import GPT
from reslab.run import capacity, checkpoint
from reslab.run.fields import from_flat
from reslab.run.files import no_such_place
from reslab.run.log import read_run
from reslab.run.settings import GPTConfig
from reslab.training.same_wiring import load_state


def load(folder: str | Path, run_device: str = "cpu", weights: str = "best"):
    """The model of a run and its tokenizer. Which weights those are is told on stderr.

    Args:
        folder: a run directory, or a checkpoint.
        weights: best or last: which checkpoint of a run is taken.

    Returns:
        model in eval mode, tokenizer, and the checkpoint's state.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """
    folder = Path(folder)
    if (folder / "config.json").is_file() and any(folder.glob("*.safetensors")):  # of ours only one is there
        raise ValueError(
            f"{folder}: a folder of transformers, and no run; make a run of it: "
            f"python train.py ... --init_from={folder}"
        )
    names = ("best", "last") if weights == "best" else ("last",)
    places = (folder, *(folder / "checkpoint" / name for name in names))
    checkpoint_dir = checkpoint.find(*places, needs=checkpoint.SAMPLED)
    if checkpoint_dir is None:
        reason = no_such_place(folder)
        raise ValueError(reason or f"{folder}: no checkpoint here; give a run directory such as runs/deep")
    state = load_state(checkpoint_dir)
    with checkpoint.reading(checkpoint_dir):
        checkpoint.number(state, "step")
        shape = from_flat(GPTConfig, state["config"])
        if faults := shape.faults() or capacity.faults(shape, {}, None):
            raise ValueError("\n".join(f"{checkpoint_dir / 'state.json'}: {fault}" for fault in faults))
        model, tokenizer = GPT(shape), tokenizer_from_json(state["tokenizer"])
    checkpoint.load_model(checkpoint_dir, model)
    check_finite(model, str(checkpoint_dir))
    print(describe_weights(folder, checkpoint_dir, state), file=sys.stderr, flush=True)
    return model.to(run_device).eval(), tokenizer, state


def check_finite(model: torch.nn.Module, place: str) -> None:
    """Raises ValueError where a weight is inf or NaN; the message begins with where they are from."""
    if broken := [name for name, p in model.named_parameters() if not torch.isfinite(p).all()]:
        raise ValueError(
            f"{place}: {broken[0]} has values that are not finite"
            f"{f', and so have {len(broken) - 1} more' if broken[1:] else ''}; give a model that works"
        )


def describe_weights(folder: Path, checkpoint_dir: Path, state: dict) -> str:
    """Which weights were taken; and of a run what others there are, where its best are not its last."""
    losses, last = {}, None
    with contextlib.suppress(ValueError, OSError):  # a checkpoint alone suffices
        losses = dict(zip(*read_run(folder).series("val/loss"), strict=True))
        last = max(losses)
    step = state["step"]
    line = f"weights: {checkpoint_dir}, step {step}{_loss(losses, step)}"
    if checkpoint_dir.name == "best" and last is not None and last > step:
        line += f"; the run went on to step {last}{_loss(losses, last)}, --weights=last takes those"
    return line


def _loss(losses: dict, step: int) -> str:
    return f", val loss {losses[step]:.4f}" if step in losses else ""
