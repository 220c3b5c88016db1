"""What changes while a run trains, into a checkpoint and back."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from reslab import checkpoint
from reslab.dataset import TokenDataset
from reslab.runlog import RunLog

# What of a TrainState goes into state.json as it is.
SAVED = ("step", "evaluated_step", "probed_step", "alarmed", "train_s", "elapsed_s")


@dataclass
class TrainState:
    """What changes while training; a checkpoint holds all of it."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    dtype: str = "float32"
    """Precision of the matrix products."""
    step: int = 0
    """Updates done."""
    evaluated_step: int = -1
    """The step that was last evaluated."""
    best_val_loss: float = math.inf
    train_s: float = 0.0
    """Seconds spent in updates."""
    elapsed_s: float = 0.0
    """Seconds of all lives of the run."""
    probed_step: int = -1
    """The step that was last probed."""
    alarmed: bool = False
    """Whether the run has said that its stack will not train."""


def save(
    state: TrainState, folder: Path, config: dict, dataset: TokenDataset, log: RunLog, best: bool
) -> None:
    """Write checkpoint/last of a run directory, and checkpoint/best when it is.

    Args:
        config: every setting of the run, flat.
    """
    last = folder / "checkpoint" / "last"
    facts = {key: getattr(state, key) for key in SAVED}
    facts |= {
        "best_val_loss": state.best_val_loss if math.isfinite(state.best_val_loss) else None,
        "metrics_bytes": log.size(),
        "config": config | {"vocab_size": state.model.config.vocab_size},
        "tokenizer": dataset.tokenizer.to_json(),
        "dataset": dataset.meta["source"],
        "dataset_sha256": dataset.meta["splits"]["train"]["sha256"],
    }
    optimizer = {"optimizer": state.optimizer.state_dict(), "scaler": state.scaler.state_dict()}
    checkpoint.save(last, state.model, optimizer, facts)
    if best:
        checkpoint.copy(last, last.with_name("best"))


def restore(state: TrainState, folder: Path, dataset: TokenDataset) -> dict:
    """Fill state from a checkpoint; returns its state.json.

    Raises:
        ValueError: the checkpoint is of other data, another tokenizer or another model, or damaged.
    """
    saved = checkpoint.load_state(folder)
    with checkpoint.reading(folder):
        check_data(folder, saved, dataset)
        checkpoint.load_model(folder, state.model)
        loaded = checkpoint.load_optimizer(folder)
        state.optimizer.load_state_dict(loaded["optimizer"])
        state.scaler.load_state_dict(loaded["scaler"])
        for key in SAVED:
            setattr(state, key, saved[key])
        state.best_val_loss = math.inf if saved["best_val_loss"] is None else saved["best_val_loss"]
    return saved


def check_data(folder: Path, saved: dict, dataset: TokenDataset) -> None:
    """Raises ValueError when a checkpoint's state.json tells of other data than these."""
    now = dataset.meta["splits"]["train"]["sha256"]
    if saved["dataset_sha256"] != now:
        raise ValueError(
            f"{dataset.folder}: not the data that {folder} was trained on (sha256 of train {now}, then "
            f"{saved['dataset_sha256']}); prepare that again"
        )
    if saved["tokenizer"] != dataset.tokenizer.to_json():
        raise ValueError(
            f"{dataset.folder}: its tokenizer is not the one that {folder} was trained with; prepare it again"
        )
