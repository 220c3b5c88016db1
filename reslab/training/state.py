"""What changes while a run trains, into a checkpoint and back."""

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from reslab.data.dataset import TokenDataset
from reslab.instruments import probes
from reslab.run import checkpoint
from reslab.run.fields import flat
from reslab.run.log import RunLog
from reslab.system import flops
from reslab.system.distributed import ALONE, DistContext
from reslab.training.growth import start_from

# What of a TrainState goes into state.json as it is.
SAVED = ("step", "evaluated_step", "probed_step", "warned", "elapsed_s")


@dataclass
class TrainState:
    """What changes while training; a checkpoint holds all of it."""

    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    dtype: str = "float32"
    """Precision of the matrix products."""
    ranks: DistContext = ALONE
    """This process among those that train the model."""
    replica: torch.nn.Module | None = None
    """The model in DDP's wrapper, where there are several ranks; it shares the model's weights."""
    sharded: bool = False
    """Whether each rank has a part of the model only."""
    copy: torch.nn.Module | None = None
    """Of a sharded model, on the first rank alone, the one that whole() fills."""
    step: int = 0
    """Updates done."""
    evaluated_step: int = -1
    """The step that was last evaluated."""
    best_val_loss: float = math.inf
    elapsed_s: float = 0.0
    """Seconds of all lives of the run."""
    probed_step: int = -1
    """The step that was last probed."""
    warned: bool = False
    """Whether the run has said that its stack will not train."""

    @contextmanager
    def whole(self):
        """The model as one process has it; of a sharded one a copy, and None on all ranks but the first.
        All ranks come here together."""
        if not self.sharded:
            yield self.model
            return
        from reslab.system import fsdp

        fsdp.gather(self.model, self.copy)
        if self.copy is None:
            yield None
            return
        try:
            yield self.copy.to(next(self.model.parameters()).device)
        finally:
            self.copy.to("cpu")


def wiring(residual) -> dict:
    """How a sublayer is joined to the stream: what its class says, and the constant weight of x, if any."""
    single = residual.single_tensor
    return {
        "equation": type(residual).__doc__.splitlines()[0],
        "skip": residual.skip if single else None,
        "has_identity": residual.has_identity,
    }


def describe(state: TrainState, config, dataset: TokenDataset, run_device: str) -> dict:
    """What config.json holds beside the settings.

    Args:
        config: a TrainConfig.
    """
    on_gpu = run_device.startswith("cuda")
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(run_device) if on_gpu else run_device,
        "dtype": state.dtype,
        "threads": torch.get_num_threads(),
        "ranks": state.ranks.world_size,
        "parameters": state.model.count_parameters(),
        "flops_per_token": flops.per_token(state.model),
        "probes": probes.describe(),
        "dataset": {key: dataset.meta[key] for key in ("source", "source_sha256", "vocab_size", "splits")},
        "baselines_nats": dataset.baselines(config.eval_sequences),
        "wiring": {
            kind: wiring(getattr(state.model.blocks[0], f"{kind}_residual")) for kind in ("attn", "mlp")
        },
    }


def save(
    state: TrainState, folder: Path, config: dict, dataset: TokenDataset, log: RunLog, best: bool
) -> None:
    """Write checkpoint/last of a run directory, and checkpoint/best when it is; the first rank does.

    Args:
        config: every setting of the run, flat.
    """
    last = folder / "checkpoint" / "last"
    with state.whole() as model:
        if not state.ranks.is_main:
            if state.sharded:
                with checkpoint.saving(last):
                    write_shards(state, checkpoint.unfinished(last))
            return
        write(state, last, model, config, dataset, log, best)
    if best:
        checkpoint.copy(last, last.with_name("best"))


def write(
    state: TrainState, last: Path, model, config: dict, dataset: TokenDataset, log: RunLog, best: bool
) -> None:
    """The first rank's part of save()."""
    facts = {key: getattr(state, key) for key in SAVED}
    facts |= {
        "best": best,
        "best_val_loss": state.best_val_loss if math.isfinite(state.best_val_loss) else None,
        "metrics_bytes": log.size(),
        "config": config | {"vocab_size": state.model.config.vocab_size},
        "tokenizer": dataset.tokenizer.to_json(),
        "dataset": dataset.meta["source"],
        "dataset_sha256": dataset.meta["splits"]["train"]["sha256"],
    }
    memory = {} if state.sharded else state.optimizer.state_dict()
    optimizer = {"optimizer": memory, "scaler": state.scaler.state_dict()}
    more = partial(write_shards, state) if state.sharded else None
    checkpoint.save(last, model, optimizer, facts, more)


def write_shards(state: TrainState, folder: Path) -> None:
    """Add shards/ to a checkpoint that is being written; all ranks come here together."""
    from reslab.system import fsdp

    state.ranks.barrier()  # until the first has made the folder
    fsdp.write(folder / "shards", state.model, state.optimizer)


def begin(state: TrainState, config, dataset: TokenDataset, found: Path | None) -> dict:
    """Give a fresh state what it starts from; returns state.json of the checkpoint `found`, or of none.

    Args:
        config: a TrainConfig.
    """
    if found:
        return restore(state, found, dataset)
    if config.init_from != "scratch":
        tokenizer = dataset.tokenizer.to_json()
        optimizer = None if state.sharded else state.optimizer
        with state.whole() as model:
            if model is not None:
                print(start_from(config.init_from, model, optimizer, config.grow_at, tokenizer), flush=True)
            if state.sharded:
                from reslab.system import fsdp

                fsdp.scatter(model, state.model)
    return {"metrics_bytes": 0, "config": flat(config)}


def restore(state: TrainState, folder: Path, dataset: TokenDataset) -> dict:
    """Fill state from a checkpoint; returns its state.json.

    Raises:
        ValueError: the checkpoint is of other data, another tokenizer or another model, or damaged.
    """
    saved = checkpoint.load_state(folder)
    with checkpoint.reading(folder):
        newest = dataset.meta
        check_data(folder, saved, dataset)
        if dataset.meta is not newest and state.ranks.is_main:
            tokens = dataset.meta["splits"]["train"]["tokens"]
            print(f"{dataset.folder} has grown; this run goes on with the {tokens:,} training tokens it had")
        loaded = checkpoint.load_optimizer(folder)
        if state.sharded:
            from reslab.system import fsdp

            fsdp.read(folder / "shards", state.model, state.optimizer)
        else:
            checkpoint.load_model(folder, state.model)
            state.optimizer.load_state_dict(loaded["optimizer"])
        if loaded["scaler"]:  # empty where the run was not in float16 until now
            state.scaler.load_state_dict(loaded["scaler"])
        for key in SAVED:
            setattr(state, key, saved[key])
        state.best_val_loss = math.inf if saved["best_val_loss"] is None else saved["best_val_loss"]
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
