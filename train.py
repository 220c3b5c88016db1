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

from model import GPT, GPTConfig
from reslab import checkpoint, configure, device, probes
from reslab.dataset import TokenDataset, open_dataset
from reslab.growth import PLACES, start_from
from reslab.optimizer import OptimConfig, learning_rate, make_optimizer
from reslab.progress import Progress, Stop
from reslab.runlog import RunLog, claim, read_run, write_config
from reslab.trainstate import TrainState, restore, save
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
    init_from: str = "scratch"
    """scratch, or a run directory: start from its weights, grown to n_layer by silent blocks."""
    grow_at: str = "end"
    """Where silent blocks go: end, middle or between."""
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
    probes: bool = True
    """Look into the model at steps 0, 1, 3, 10, 30, 100, ... and at each evaluation."""
    probe_windows: int = 8
    """Windows of the fixed batch that the probes read."""
    seed: int = 1337
    """Of initial weights, order of batches, and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """auto, float32, bfloat16, float16 (of the matrix products; weights are float32), or float64."""
    compile: str = "auto"
    """auto (on a GPU), True or False."""
    activation_checkpointing: bool = False
    """Compute activations again on the way back instead of holding them: less memory, a third more time."""

    def faults(self) -> list[str]:
        """What can't be run, one line per fault."""
        found = self.model.faults() + self.optim.faults()
        counts = ["batch_size", "gradient_accumulation_steps", "eval_interval", "eval_windows"]
        counts += ["log_interval", "probe_windows"]
        for key in counts:
            if getattr(self, key) < 1:
                found.append(f"{key}={getattr(self, key)}: must be at least 1")
        if self.seed < 0:
            found.append(f"seed={self.seed}: must not be negative")
        for key, names in {
            "dtype": ("auto", *device.DTYPES),
            "compile": ("auto", "True", "False"),
            "grow_at": PLACES,
        }.items():
            if getattr(self, key) not in names:
                found.append(f"{key}={getattr(self, key)}: allowed are {', '.join(names)}")
        if self.device.split(":")[0] not in device.DEVICES:
            found.append(f"device={self.device}: allowed are {', '.join(device.DEVICES)}")
        return found


# What a resumed run may change without becoming another experiment.
FREE_ON_RESUME = {"resume", "overwrite", "print_config", "out_dir", "eval_interval", "log_interval", "probes"}
FREE_ON_RESUME |= {"max_iters", "device", "dtype", "compile", "activation_checkpointing"}


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
                each = state.model.token_losses(x.to(run_device), y.to(run_device))  # (B, T)
            losses.append(each.mean(dim=1).cpu().double())
        losses = torch.cat(losses)
        row[f"{split}/loss"] = losses.mean().item()
        row[f"{split}/loss_se"] = (losses.std() / len(losses) ** 0.5).item() if len(losses) > 1 else 0.0
    counts = dataset.meta["splits"]["val"]
    bits = row["val/loss"] / math.log(2) * counts["tokens"]
    row["val/perplexity"] = math.exp(min(row["val/loss"], 700))
    return row | {"val/bits_per_char": bits / counts["chars"], "val/bits_per_byte": bits / counts["bytes"]}


def probe(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress) -> None:
    """Measure the model on a fixed batch, log it, and warn once, early, if the stack will not train."""
    run_device = next(state.model.parameters()).device
    x, y = dataset.windows("train", dataset.eval_starts("train", config.probe_windows))
    seen = probes.snapshot(state.model, x.to(run_device), y.to(run_device))
    row = probes.measure(seen)
    log.write({"step": state.step} | row)
    state.probed_step = state.step
    if not state.alarmed and 0 < state.step <= 50 and (line := probes.alarm(row)):
        progress.say(f"step {state.step}: {line}")
        log.write({"step": state.step, "alarm": line})
        state.alarmed = True


def make_state(config: TrainConfig, vocab_size: int, run_device: str) -> TrainState:
    """A fresh model and optimizer, at step 0."""
    shape = config.model
    if 0 < shape.vocab_size < vocab_size:
        raise ValueError(f"vocab_size={shape.vocab_size}: must be 0, or at least the dataset's {vocab_size}")
    model = GPT(replace(shape, vocab_size=shape.vocab_size or vocab_size), config.seed).to(run_device)
    model.activation_checkpointing = config.activation_checkpointing
    forward = device.compile_model(model, config.compile, run_device)
    dtype = device.pick_dtype(config.dtype, run_device)
    if dtype == "float64":
        model = model.double()
    scaler = torch.amp.GradScaler(run_device.split(":")[0], enabled=dtype == "float16")
    return TrainState(model, forward, make_optimizer(model, config.optim), scaler)


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
        "yardsticks_nats": dataset.yardsticks(config.eval_windows),
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
    if not found and config.init_from != "scratch":
        tokenizer = dataset.tokenizer.to_json()
        print(
            start_from(Path(config.init_from), state.model, state.optimizer, config.grow_at, tokenizer),
            flush=True,
        )
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


def look(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress, clock) -> None:
    """Evaluate, probe and save, each where the step asks for it and it is not done yet."""
    ends = state.step >= config.optim.max_iters
    evaluates = state.evaluated_step != state.step and (ends or state.step % config.eval_interval == 0)
    if evaluates:
        row = evaluate(state, config, dataset)
        state.evaluated_step, state.elapsed_s = state.step, time.perf_counter() - clock
        log.write({"step": state.step} | row | {"elapsed_s": state.elapsed_s})
        done = state.step * progress.tokens_per_step
        progress.evaluated(state.step, row, done / state.train_s if state.train_s else 0)
    if (
        config.probes
        and state.probed_step != state.step
        and probes.due(state.step, config.eval_interval, ends)
    ):
        probe(state, config, dataset, log, progress)
    if evaluates:
        best = row["val/loss"] < state.best_val_loss
        state.best_val_loss = min(row["val/loss"], state.best_val_loss)
        save(state, Path(config.out_dir), configure.flat(config), dataset, log, best)


def loop(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress, stop) -> int:
    """Look, then update, until the last step, a stop or a divergence; returns the exit code."""
    run_device = str(next(state.model.parameters()).device)
    clock = time.perf_counter() - state.elapsed_s
    while True:
        look(state, config, dataset, log, progress, clock)
        if state.step >= config.optim.max_iters:
            run = read_run(Path(config.out_dir))
            said = verdict(run.last("train/loss"), run.last("val/loss"), run.facts["yardsticks_nats"])
            log.write({"step": state.step, "status": "finished", "verdict": said})
            return 0
        watched = probes.block_matrices(state.model) if state.probed_step == state.step else None
        started = time.perf_counter()
        metrics = train_step(state, config, dataset)
        if not (math.isfinite(metrics["batch/loss"]) and math.isfinite(metrics["batch/grad_norm"])):
            x, y = dataset.batch("train", state.step, config.batch_size)
            where = probes.first_bad_layer(state.model, x.to(run_device), y.to(run_device))
            said = (
                f"diverged at step {state.step}: the loss or its gradient is not finite; first bad: {where}"
            )
            log.write({"step": state.step} | metrics | {"status": "diverged", "verdict": said})
            return 3
        device.synchronize(run_device)
        state.train_s += time.perf_counter() - started
        state.elapsed_s = time.perf_counter() - clock
        rate = (state.step + 1) * progress.tokens_per_step / state.train_s
        if watched:
            metrics["probe/update_ratio"] = probes.update_ratio(state.model, watched)
        if watched or state.step % config.log_interval == 0:
            log.write({"step": state.step} | metrics | {"tokens_per_s": rate, "elapsed_s": state.elapsed_s})
        state.step += 1
        progress.updated(metrics["batch/loss"], rate)
        if stop.asked:
            save(state, Path(config.out_dir), configure.flat(config), dataset, log, best=False)
            return 130


def main(words: list[str]) -> int:
    config, rest = configure.parse(TrainConfig, words, leave_out=("study",))  # compare.py reads that
    if rest:
        raise configure.UsageError(f"{rest[0]}: neither a config file (*.py) nor --key=value")
    if config.print_config:
        print("\n".join(f"{key} = {value!r}" for key, value in configure.flat(config).items()))
        return 0
    return train(config)


if __name__ == "__main__":
    configure.run_door(main)
