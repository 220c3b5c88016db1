"""A trained model from its run directory, ready to be used."""

from pathlib import Path

from model import GPT
from reslab.data.tokenizer import tokenizer_from_json
from reslab.run import checkpoint
from reslab.run.fields import from_flat
from reslab.run.settings import GPTConfig


def load(folder: Path, run_device: str = "cpu"):
    """The model of a run and its tokenizer.

    Args:
        folder: a run directory, whose best checkpoint is taken, or a checkpoint.

    Returns:
        model in eval mode, tokenizer, and the checkpoint's state.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """
    places = (folder, folder / "checkpoint" / "best", folder / "checkpoint" / "last")
    found = checkpoint.find(*places, needs=checkpoint.SAMPLED)
    if found is None:
        raise ValueError(f"{folder}: no checkpoint here; give a run directory such as runs/deep")
    state = checkpoint.load_state(found)
    with checkpoint.reading(found):
        model = GPT(from_flat(GPTConfig, state["config"]))
        tokenizer = tokenizer_from_json(state["tokenizer"])
    checkpoint.load_model(found, model)
    return model.to(run_device).eval(), tokenizer, state
