"""Train one model: config -> data -> model -> loop -> run directory.

    python train.py config/deep.py                          48 layers with skips
    python train.py config/deep.py --residual=none --out_dir=runs/deep-none
    python train.py config/deep.py --resume                 go on after a stop

Exit codes: 0 done, 2 what was asked can't be done, 3 the run diverged, 130 stopped (and saved).
"""

import hashlib
import math
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from model import GPT, GPTConfig
from reslab import checkpoint, configure, device
from reslab.dataset import TokenDataset, open_dataset
from reslab.optimizer import OptimConfig, learning_rate, make_optimizer
from reslab.probes import first_bad_layer
from reslab.progress import Progress, Stop
from reslab.runlog import RunLog, claim, read_run, write_config
from reslab.yardstick import verdict


@dataclass(frozen=True)
class TrainConfig:
    """One run. Give config files (plain assignments), then --key=value; later words win."""

    model: GPTConfig = field(default_factory=GPTConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    dataset: str = "stdlib"
    """A name under data/, or the path of a folder that a prepare.py wrote."""
    out_dir: str = "runs/out"
    """The run directory."""
    resume: bool = False
    """Go on with the run in out_dir."""
    overwrite: bool = False
    """Delete the run in out_dir first."""
    print_config: bool = False
    """Print every setting and stop."""
    batch_size: int = 12
    """Windows that go through the model at once."""
    gradient_accumulation_steps: int = 1
    """Batches per update; the gradient is that of one batch as large as all."""
    eval_interval: int = 100
    """Updates between evaluations; a checkpoint is saved at each."""
    eval_windows: int = 256
    """Windows of each split that an evaluation reads, always the same ones."""
    log_interval: int = 10
    """Updates between rows of the batch loss."""
    seed: int = 1337
    """Of initial weights, order of batches, and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16 or float16: of the matrix products; weights are float32."""
    compile: str = "auto"
    """auto (on a GPU), True or False."""

    def faults(self) -> list[str]:
        """What can't be run, one line per fault."""
        found = self.model.faults() + self.optim.faults()
        counts = (
            "batch_size",
            "gradient_accumulation_steps",
            "eval_interval",
            "eval_windows",
            "log_interval",
        )
        for key in counts:
            if getattr(self, key) < 1:
                found.append(f"{key}={getattr(self, key)}: must be at least 1")
        if self.seed < 0:
            found.append(f"seed={self.seed}: must not be negative")
        for key, names in {"dtype": ("auto", *device.DTYPES), "compile": ("auto", "True", "False")}.items():
            if getattr(self, key) not in names:
                found.append(f"{key}={getattr(self, key)}: allowed are {', '.join(names)}")
        if self.device.split(":")[0] not in device.DEVICES:
            found.append(f"device={self.device}: allowed are {', '.join(device.DEVICES)}")
        return found


# What a resumed run may change without becoming another experiment.
FREE_ON_RESUME = {"resume", "overwrite", "print_config", "out_dir", "eval_interval", "log_interval"}
FREE_ON_RESUME |= {"max_iters", "device", "dtype", "compile"}


@dataclass
class TrainState:
    """What changes while training; a checkpoint holds all of it."""

    model: GPT
    forward: torch.nn.Module
    """The model, compiled where that is on; it shares the model's weights."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    step: int = 0
    """Updates done."""
    evaluated_step: int = -1
    """The step that was last evaluated."""
    best_val_loss: float = math.inf
    train_s: float = 0.0
    """Seconds spent in updates."""
    elapsed_s: float = 0.0
    """Seconds of all lives of the run."""


def train_step(state: TrainState, config: TrainConfig, dataset: TokenDataset) -> dict:
    """One update, unless loss or gradient is not finite; the caller tells by the returned numbers.

    Returns:
        batch/loss (nats per token), batch/grad_norm (before clipping) and learning_rate.
    """
    run_device = next(state.model.parameters()).device
    dtype = device.pick_dtype(config.dtype, str(run_device))
    lr = learning_rate(config.optim, state.step)
    for group in state.optimizer.param_groups:
        group["lr"] = lr
    inputs, targets = dataset.batch(
        "train", state.step, config.batch_size * config.gradient_accumulation_steps
    )
    state.model.train()
    while True:
        torch.manual_seed(_dropout_seed(config.seed, state.step))
        total = torch.zeros((), device=run_device)
        for x, y in zip(inputs.split(config.batch_size), targets.split(config.batch_size), strict=True):
            with device.autocast(str(run_device), dtype):
                _, loss = state.forward(x.to(run_device), y.to(run_device))
                loss = loss / config.gradient_accumulation_steps
            state.scaler.scale(loss).backward()
            total += loss.detach()
        state.scaler.unscale_(state.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(state.model.parameters(), config.optim.grad_clip or math.inf)
        metrics = {"batch/loss": total.item(), "batch/grad_norm": norm.item(), "learning_rate": lr}
        finite = math.isfinite(metrics["batch/loss"]) and math.isfinite(metrics["batch/grad_norm"])
        if finite or state.scaler.is_enabled():
            state.scaler.step(state.optimizer)  # a scaler leaves out the update of an overflow
            state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        # Overflow in float16 is cured by a smaller scale: the same batch again, so N steps are N updates.
        overflow = state.scaler.is_enabled() and not finite and math.isfinite(metrics["batch/loss"])
        if not overflow or state.scaler.get_scale() < 1:
            return metrics


def _dropout_seed(seed: int, step: int) -> int:
    """Dropout depends on the step alone, not on what was evaluated or resumed before it."""
    return int.from_bytes(hashlib.sha256(f"dropout {seed} {step}".encode()).digest()[:7], "little")


@torch.no_grad()
def evaluate(state: TrainState, config: TrainConfig, dataset: TokenDataset) -> dict:
    """Loss on the fixed windows of both splits, in nats per token, with the standard error over windows."""
    run_device = next(state.model.parameters()).device
    dtype = device.pick_dtype(config.dtype, str(run_device))
    state.model.eval()
    row = {}
    for split in ("train", "val"):
        losses = []
        for starts in torch.from_numpy(dataset.eval_starts(split, config.eval_windows)).split(
            config.batch_size
        ):
            x, y = dataset.windows(split, starts.numpy())
            with device.autocast(str(run_device), dtype):
                logits, _ = state.model(x.to(run_device))
            each = F.cross_entropy(
                logits.float().transpose(1, 2), y.to(run_device), reduction="none"
            )  # (B, T)
            losses.append(each.mean(dim=1).double().cpu())
        losses = torch.cat(losses)
        row[f"{split}/loss"] = losses.mean().item()
        row[f"{split}/loss_se"] = (losses.std() / len(losses) ** 0.5).item() if len(losses) > 1 else 0.0
    counts = dataset.meta["splits"]["val"]
    bits = row["val/loss"] / math.log(2) * counts["tokens"]
    row["val/perplexity"] = math.exp(min(row["val/loss"], 700))
    return row | {"val/bits_per_char": bits / counts["chars"], "val/bits_per_byte": bits / counts["bytes"]}


def make_state(config: TrainConfig, vocab_size: int, run_device: str) -> TrainState:
    """A fresh model and optimizer, at step 0."""
    shape = config.model
    if 0 < shape.vocab_size < vocab_size:
        raise ValueError(f"vocab_size={shape.vocab_size}: must be 0, or at least the dataset's {vocab_size}")
    model = GPT(replace(shape, vocab_size=shape.vocab_size or vocab_size), config.seed).to(run_device)
    forward = device.compile_model(model, config.compile, run_device)
    half = device.pick_dtype(config.dtype, run_device) == "float16"
    scaler = torch.amp.GradScaler(run_device.split(":")[0], enabled=half)
    return TrainState(model, forward, make_optimizer(model, config.optim), scaler)


def save(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, best: bool) -> None:
    """Write checkpoint/last, and checkpoint/best when it is."""
    last = Path(config.out_dir) / "checkpoint" / "last"
    facts = {key: getattr(state, key) for key in ("step", "evaluated_step", "train_s", "elapsed_s")}
    facts |= {
        "best_val_loss": state.best_val_loss if math.isfinite(state.best_val_loss) else None,
        "metrics_bytes": log.size(),
        "config": configure.flat(config) | {"vocab_size": state.model.config.vocab_size},
        "tokenizer": dataset.tokenizer.to_json(),
        "dataset": dataset.meta["source"],
        "dataset_sha256": dataset.meta["splits"]["train"]["sha256"],
    }
    optimizer = {"optimizer": state.optimizer.state_dict(), "scaler": state.scaler.state_dict()}
    checkpoint.save(last, state.model, optimizer, facts)
    if best:
        checkpoint.copy(last, last.with_name("best"))


def restore(state: TrainState, folder: Path, dataset: TokenDataset) -> int:
    """Fill state from a checkpoint; returns the size that metrics.jsonl had then, in bytes."""
    saved = checkpoint.load_state(folder)
    if saved["dataset_sha256"] != dataset.meta["splits"]["train"]["sha256"]:
        raise ValueError(
            f"{dataset.folder}: not the data that this run was trained on; prepare that again to resume"
        )
    checkpoint.load_model(folder, state.model)
    loaded = checkpoint.load_optimizer(folder)
    state.optimizer.load_state_dict(loaded["optimizer"])
    state.scaler.load_state_dict(loaded["scaler"])
    for key in ("step", "evaluated_step", "train_s", "elapsed_s"):
        setattr(state, key, saved[key])
    state.best_val_loss = math.inf if saved["best_val_loss"] is None else saved["best_val_loss"]
    return saved["metrics_bytes"]


def describe(state: TrainState, config: TrainConfig, dataset: TokenDataset, run_device: str) -> dict:
    """What config.json holds beside the settings."""
    on_gpu = run_device.startswith("cuda")
    return {
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name(run_device) if on_gpu else run_device,
        "dtype": device.pick_dtype(config.dtype, run_device),
        "threads": torch.get_num_threads(),
        "parameters": state.model.count_parameters(),
        "dataset": {key: dataset.meta[key] for key in ("source", "source_sha256", "vocab_size", "splits")},
        "yardsticks_nats": dataset.meta["yardsticks_nats"],
    }


def train(config: TrainConfig) -> int:
    """Run, or go on with, one training; returns the exit code."""
    folder = Path(config.out_dir)
    claim(folder, configure.flat(config), config.resume, config.overwrite, FREE_ON_RESUME)
    if (
        config.resume
        and (ended := read_run(folder)).status != "unfinished"
        and ended.last("step") >= config.optim.max_iters
    ):
        print(f"{folder}: {ended.status} already. {ended.last('verdict')}")
        return 0
    run_device = device.pick_device(config.device)
    device.prepare_torch(run_device)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size, run_device)
    found = checkpoint.find(folder / "checkpoint" / "last") if config.resume else None
    keep_bytes = restore(state, found, dataset) if found else 0
    if config.overwrite:
        checkpoint.remove(folder / "checkpoint")
    write_config(folder, configure.flat(config), describe(state, config, dataset, run_device))
    log = RunLog(folder, keep_bytes)
    tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
    with Stop() as stop, Progress(config.optim.max_iters, state.step, tokens) as progress:
        code = loop(state, config, dataset, log, progress, stop)
    if code == 130:
        again = " ".join(word for word in sys.argv if word not in ("--resume", "--overwrite"))
        print(f"stopped after step {state.step}, saved; go on with: python {again} --resume")
    else:
        print(f"{folder}: {read_run(folder).last('verdict')}")
    log.close()
    return code


def loop(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress, stop) -> int:
    """Evaluate, save, update, until the last step, a stop or a divergence; returns the exit code."""
    tokens = progress.tokens_per_step
    clock = time.perf_counter() - state.elapsed_s
    while True:
        ends = state.step >= config.optim.max_iters
        if state.evaluated_step != state.step and (ends or state.step % config.eval_interval == 0):
            row = evaluate(state, config, dataset)
            state.evaluated_step, state.elapsed_s = state.step, time.perf_counter() - clock
            log.write({"step": state.step} | row | {"elapsed_s": state.elapsed_s})
            progress.evaluated(state.step, row, state.step * tokens / state.train_s if state.train_s else 0)
            best = row["val/loss"] < state.best_val_loss
            state.best_val_loss = min(row["val/loss"], state.best_val_loss)
            save(state, config, dataset, log, best)
        if ends:
            run = read_run(Path(config.out_dir))
            said = verdict(run.last("train/loss"), run.last("val/loss"), dataset.meta["yardsticks_nats"])
            log.write({"step": state.step, "status": "finished", "verdict": said})
            return 0
        started = time.perf_counter()
        metrics = train_step(state, config, dataset)
        if not (math.isfinite(metrics["batch/loss"]) and math.isfinite(metrics["batch/grad_norm"])):
            x, y = dataset.batch("train", state.step, config.batch_size)
            run_device = next(state.model.parameters()).device
            where = first_bad_layer(state.model, x.to(run_device), y.to(run_device))
            said = (
                f"diverged at step {state.step}: the loss or its gradient is not finite; first bad: {where}"
            )
            log.write({"step": state.step} | metrics | {"status": "diverged", "verdict": said})
            return 3
        device.synchronize(str(next(state.model.parameters()).device))
        state.train_s += time.perf_counter() - started
        state.elapsed_s = time.perf_counter() - clock
        rate = (state.step + 1) * tokens / state.train_s
        if state.step % config.log_interval == 0:
            log.write({"step": state.step} | metrics | {"tokens_per_s": rate, "elapsed_s": state.elapsed_s})
        state.step += 1
        progress.updated(metrics["batch/loss"], rate)
        if stop.asked:
            save(state, config, dataset, log, best=False)
            return 130


def main(words: list[str]) -> int:
    config, rest = configure.parse(TrainConfig, words)
    if rest:
        raise configure.UsageError(f"{rest[0]}: neither a config file (*.py) nor --key=value")
    if config.print_config:
        print("\n".join(f"{key} = {value!r}" for key, value in configure.flat(config).items()))
        return 0
    return train(config)


if __name__ == "__main__":
    configure.run_door(main)
