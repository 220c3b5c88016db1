"""What changes while a run trains, into a checkpoint and back."""

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch

from reslab.data.dataset import TokenDataset
from reslab.instruments import probes
from reslab.nn.flops import flops_per_token
from reslab.residual import WIRINGS
from reslab.run import checkpoint
from reslab.run.fields import flat, word_and_count
from reslab.run.settings import TrainConfig
from reslab.system.device import kernels_told, pick_dtype
from reslab.system.parallel import SINGLE, Single
from reslab.training.captured import CapturedUpdate
from reslab.training.context import RunContext
from reslab.training.growth import start_from
from reslab.training.same_wiring import load_state

# What of a TrainState goes into state.json as it is.
SAVED = ("step", "evaluated_step", "probed_step", "warned", "seconds")


@dataclass
class TrainState:
    """What changes while training. A checkpoint holds its fields; what is above them is of one process."""

    updating: ClassVar[bool] = False
    """Whether an update has changed some of the weights and not yet all of them: nothing to be saved."""
    may_capture: ClassVar[bool] = False
    """Whether a GPU may replay updates as CUDA graphs; see captured.py."""
    captured: ClassVar[CapturedUpdate | None] = None
    warm: ClassVar[int] = 0
    """Updates that were made since this process began, before any was captured."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Updates done."""
    evaluated_step: int = -1
    """The step that was last evaluated."""
    best_val_loss: float = math.inf
    seconds: float = 0.0
    """Spent in training, over all restarts of the run."""
    probed_step: int = -1
    """The step that was last probed."""
    warned: bool = False
    """Whether the run has warned that its stack is unlikely to train."""


def describe(state: TrainState, context: RunContext) -> dict:
    """What config.json holds beside the settings."""
    config, dataset, run_device = context.config, context.dataset, context.strategy.device
    on_gpu = run_device.startswith("cuda")
    dtype = pick_dtype(config.dtype, run_device, config.model.n_embd)
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(run_device) if on_gpu else run_device,
        "dtype": dtype,
        "kernels": kernels_told(run_device, dtype, config.kernels),
        "compile": context.compiled,
        "threads": torch.get_num_threads(),
        "ranks": context.strategy.dist.world_size,
        "strategy": type(context.strategy).__name__,
        "parameters": state.model.count_parameters(),
        "flops_per_token": flops_per_token(state.model.config),
        "probes": probes.describe(),
        "dataset": {key: dataset.meta[key] for key in ("source", "source_sha256", "vocab_size", "splits")},
        "baselines_nats": dataset.baselines(config.eval_sequences),
        "wiring": {
            kind: getattr(state.model.blocks[0], f"{kind}_residual").facts() for kind in ("attn", "mlp")
        },
    }


def save(state: TrainState, context: RunContext, best: bool) -> None:
    """Write checkpoint/last of the run directory, and checkpoint/best when it is; all ranks come here."""
    strategy, last = context.strategy, context.last
    save_shards = partial(strategy.save_shards, state.model, state.optimizer)
    with strategy.full_model(state.model, computes=False) as model:
        if not strategy.is_main:
            with checkpoint.saving(last):
                save_shards(checkpoint.unfinished(last))
            return
        optimizer = strategy.optimizer_state(state.optimizer)
        tensors = {"optimizer": optimizer, "scaler": state.scaler.state_dict()}
        checkpoint.save(last, model, tensors, _facts(state, context, best), save_shards)
    if best:
        checkpoint.copy(last, last.with_name("best"))
    if keeps_checkpoint(context.config, state.step):
        checkpoint.copy(last, last.with_name(f"step-{state.step}"))


def keeps_checkpoint(config: TrainConfig, step: int) -> bool:
    """Whether --keep asks for the checkpoint of a step."""
    _, every = word_and_count(config.keep, "every") or ("", 0)
    return bool(every) and step % every == 0


def _facts(state: TrainState, context: RunContext, best: bool) -> dict:
    """What state.json holds."""
    dataset = context.dataset
    return {key: getattr(state, key) for key in SAVED} | {
        "best": best,
        "best_val_loss": state.best_val_loss if math.isfinite(state.best_val_loss) else None,
        "metrics_bytes": context.log.size(),
        "config": flat(context.config) | {"vocab_size": state.model.config.vocab_size},
        "wirings": {
            name: WIRINGS[name].version for name in map(context.config.model.wiring, ("attn", "mlp"))
        },
        "tokenizer": dataset.tokenizer.to_json(),
        "dataset": dataset.meta["source"],
        "dataset_sha256": dataset.meta["splits"]["train"]["sha256"],
    }


def load_initial_state(state: TrainState, context: RunContext, source: Path | None) -> dict:
    """Give a fresh state what the run starts from; returns state.json of that checkpoint.

    Args:
        source: the checkpoint that a resumed run goes on from, or None.
    """
    config, strategy = context.config, context.strategy
    if source:
        return restore(state, source, context.dataset, strategy)
    if config.init_from != "scratch":
        tokenizer = context.dataset.tokenizer.to_json()
        optimizer = None if strategy.shards_optimizer else state.optimizer
        with strategy.full_model(state.model, computes=False) as model:
            if model is not None:
                print(start_from(config.init_from, model, optimizer, config.grow_at, tokenizer), flush=True)
            strategy.load_full(model, state.model)
    return {"metrics_bytes": 0, "config": flat(config)}


def restore(state: TrainState, folder: Path, dataset: TokenDataset, strategy: Single = SINGLE) -> dict:
    """Fill state from a checkpoint; returns its state.json.

    Raises:
        ValueError: the checkpoint is of other data, another tokenizer or another model, or damaged.
    """
    saved = load_state(folder)
    with checkpoint.reading(folder):
        complete = dataset.meta
        check_data(folder, saved, dataset)
        if dataset.meta is not complete and strategy.is_main:
            tokens = dataset.meta["splits"]["train"]["tokens"]
            print(f"{dataset.folder} has grown; this run goes on with the {tokens:,} training tokens it had")
        loaded = checkpoint.load_optimizer(folder)
        strategy.load(folder, state.model, state.optimizer, loaded["optimizer"])
        if loaded["scaler"]:  # empty where the run was not in float16 until now
            state.scaler.load_state_dict(loaded["scaler"])
        for key in SAVED:
            kind = type(getattr(TrainState, key))
            setattr(state, key, bool(saved[key]) if kind is bool else checkpoint.number(saved, key, kind))
        checkpoint.number(saved, "metrics_bytes"), saved["config"].keys()  # who opens the log reads them
        best = saved["best_val_loss"]
        state.best_val_loss = math.inf if best is None else checkpoint.number(saved, "best_val_loss", float)
    return saved


def check_data(folder: Path, saved: dict, dataset: TokenDataset) -> None:
    """See that these are the data that a checkpoint's state.json tells of. A dataset that has grown since
    becomes what it was. Raises ValueError when they are others.
    """
    now = dataset.meta["splits"]["train"]["sha256"]
    if not dataset.go_back(saved["dataset_sha256"]):
        raise ValueError(
            f"{dataset.folder}: not the data that {folder} was trained on (sha256 of train {now}, then "
            f"{saved['dataset_sha256']}); give the folder that holds those with --dataset, or prepare them "
            "again from the same text"
        )
    if saved["tokenizer"] != dataset.tokenizer.to_json():
        raise ValueError(
            f"{dataset.folder}: its tokenizer is not the one that {folder} was trained with; prepare it again"
        )
