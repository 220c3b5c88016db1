"""Train one model: config -> data -> model -> loop -> run directory.

    python train.py config/deep.py                          48 layers with skips
    python train.py config/deep.py --residual=none --out_dir=runs/deep-none
    python train.py config/deep.py --resume                 go on after a stop
    torchrun --nproc_per_node=8 train.py config/deep.py     the same run on 8 GPUs, see docs/scale.md

Exit codes: 0 done; 1 the disk or the memory is full; 2 what was asked can't be done; 3 the run diverged;
128 + a signal's number: stopped and saved (130 Ctrl-C, 143 SIGTERM, 138 SIGUSR1 on Linux).
"""

import math
import sys
import time
from contextlib import ExitStack, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import torch

from model import GPT, GPTConfig
from reslab import capacity, checkpoint, configure, device, distributed, pretrained, probes, sinks, writing
from reslab.dataset import TokenDataset, find_folder, open_dataset
from reslab.evaluation import evaluate
from reslab.flops import meter
from reslab.growth import PLACES
from reslab.lock import only_one
from reslab.optimizer import OptimConfig, learning_rate, make_optimizer, set_learning_rate
from reslab.outcome import diverged, exit_code, say
from reslab.profiling import traced
from reslab.progress import Progress, Stop, resume_command
from reslab.residual import WIRINGS
from reslab.runlog import NoLog, RunLog, changes, claim, read_run, write_config
from reslab.trainstate import TrainState, begin, describe, save
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
    """scratch; a run directory: start from its weights, grown to n_layer by silent blocks; gpt2, gpt2-medium,
    gpt2-large, gpt2-xl; a folder of transformers; or a ckpt.pt of nanoGPT."""
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
    """Windows of the fixed batch that the probes read, one at a time."""
    sample_tokens: int = 200
    """Longest text that is written at evaluations, in tokens; deep stacks write less; 0 writes none."""
    log: str = ""
    """Where else rows go: tensorboard, wandb, trackio, with commas."""
    seed: int = 1337
    """Of initial weights, order of batches, and dropout."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """auto (bfloat16 where it is faster), float32, bfloat16, float16, of the matrix products; or float64."""
    compile: str = "auto"
    """auto (on a GPU), True or False."""
    shard: str = "none"
    """How a model is on several GPUs (torchrun): none (a whole one on each, DDP) or fsdp (a part on each)."""
    activation_checkpointing: bool = False
    """Compute activations again on the way back instead of holding them: less memory, a third more time."""
    profile: bool = False
    """Trace some updates into out_dir/trace.json and print their time by kind of layer."""

    CHOICES: ClassVar[str] = f"residual is one of {', '.join(WIRINGS)}; see reslab/residual.py.\n"

    def faults(self) -> list[str]:
        """What can't be run, one line per fault."""
        found = self.model.faults() + self.optim.faults()
        counts = ["batch_size", "gradient_accumulation_steps", "eval_interval", "eval_windows"]
        counts += ["log_interval", "probe_windows"]
        for key in counts:
            if getattr(self, key) < 1:
                found.append(f"{key}={getattr(self, key)}: must be at least 1")
        if self.sample_tokens < 0:
            found.append(f"sample_tokens={self.sample_tokens}: must not be negative (0 writes none)")
        if not 0 <= self.seed < 2**63:
            found.append(f"seed={self.seed}: must be at least 0 and below 2**63")
        for key, names in {
            "dtype": ("auto", *device.DTYPES),
            "compile": ("auto", "True", "False"),
            "grow_at": PLACES,
            "shard": ("none", "fsdp"),
        }.items():
            if getattr(self, key) not in names:
                found.append(f"{key}={getattr(self, key)}: allowed are {', '.join(names)}")
        found += device.faults(self.device)
        if self.shard == "fsdp" and self.optim.optimizer == "muon":
            found.append("shard=fsdp: muon needs whole matrices, and no rank has one; allowed are adamw, sgd")
        batch = self.batch_size * self.gradient_accumulation_steps
        windows = {"batch_size * gradient_accumulation_steps": batch}
        windows |= {key: getattr(self, key) for key in ("eval_windows", "probe_windows")}
        on_gpu = self.device.startswith("cuda") or (self.device == "auto" and torch.cuda.is_available())
        return found + capacity.faults(self.model, windows, on_gpu) + sinks.faults(self.log)


# What a resumed run may change; it is logged, but for what has no part in the result.
NOT_LOGGED = {"resume", "overwrite", "print_config", "out_dir", "log", "profile"}
FREE_ON_RESUME = NOT_LOGGED | {"eval_interval", "log_interval", "probes"}
FREE_ON_RESUME |= {"max_iters", "learning_rate", "min_lr", "schedule", "warmup_iters"}
FREE_ON_RESUME |= {"device", "dtype", "compile", "activation_checkpointing", "sample_tokens"}


def train_step(state: TrainState, config: TrainConfig, dataset: TokenDataset) -> dict:
    """One update, unless loss or gradient is not finite; the caller tells by the returned numbers.

    Returns:
        batch/loss (nats per token), batch/grad_norm (before clipping) and learning_rate.
    """
    run_device = next(state.model.parameters()).device
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    lr = learning_rate(config.optim, state.step)
    set_learning_rate(state.optimizer, lr)
    ranks, forward = state.ranks, state.replica or state.model
    size, times = distributed.share(config.batch_size, config.gradient_accumulation_steps, ranks.world)
    windows = config.batch_size * config.gradient_accumulation_steps
    mine = slice(ranks.rank * size * times, (ranks.rank + 1) * size * times)
    batch = torch.stack(dataset.batch("train", state.step, windows, mine)).to(run_device)  # one copy for all
    state.model.train()
    while True:
        torch.manual_seed(device.step_seed(config.seed, state.step, ranks.rank))
        losses = []
        for number, (x, y) in enumerate(batch.split(size, dim=1), 1):  # each (size, T)
            with distributed.accumulating(forward) if number < times else nullcontext():
                with device.autocast(str(run_device), state.dtype):
                    loss = (
                        forward(x, y)[1] / times
                    )  # no name keeps the logits until the next batch has its own
                state.scaler.scale(loss).backward()
            losses.append(loss.detach())
        total = ranks.sum(torch.stack(losses).sum()) / ranks.world
        state.scaler.unscale_(state.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(parameters, config.optim.grad_clip or math.inf)
        norm = norm.full_tensor() if state.sharded else norm
        loss, norm = torch.stack([total, norm.to(total.dtype)]).tolist()  # the only wait for the GPU
        metrics = {"batch/loss": loss, "batch/grad_norm": norm, "learning_rate": lr}
        finite = math.isfinite(metrics["batch/loss"]) and math.isfinite(metrics["batch/grad_norm"])
        if finite or state.scaler.is_enabled():
            state.scaler.step(state.optimizer)  # a scaler leaves out the update of an overflow
            state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        # Overflow in float16 is cured by a smaller scale: the same batch again, so N steps are N updates.
        overflow = state.scaler.is_enabled() and not finite and math.isfinite(metrics["batch/loss"])
        if not overflow or state.scaler.get_scale() < 1:
            return metrics


def probe(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress) -> None:
    """Measure the model on a fixed batch, log it, and warn once, early, if the stack will not train."""
    state.probed_step = state.step
    with state.whole() as model:
        if not state.ranks.first:
            return
        run_device = next(model.parameters()).device
        x, y = dataset.windows("train", dataset.eval_starts("train", config.probe_windows))
        with capacity.remedy(probes.TOO_LARGE):
            row = probes.look(model, x.to(run_device), y.to(run_device))
    log.write({"step": state.step} | row)
    if not state.alarmed and 0 < state.step <= 50 and (line := probes.alarm(row)):
        progress.say(f"step {state.step}: {line}")
        log.write({"step": state.step, "alarm": line})
        state.alarmed = True


def make_state(
    config: TrainConfig, vocab_size: int, run_device: str, ranks: distributed.Ranks = distributed.ALONE
) -> TrainState:
    """A fresh model and optimizer, at step 0."""
    shape = config.model
    if 0 < shape.vocab_size < vocab_size:
        raise ValueError(f"vocab_size={shape.vocab_size}: must be 0, or at least the dataset's {vocab_size}")
    model = GPT(replace(shape, vocab_size=shape.vocab_size or vocab_size), config.seed)
    model.activation_checkpointing = config.activation_checkpointing
    dtype = device.pick_dtype(config.dtype, run_device, shape.n_embd)
    if dtype == "float64":
        model = model.double()
    sharded = config.shard == "fsdp"
    copy = deepcopy(model).eval() if sharded and ranks.first else None
    model = model if sharded else model.to(run_device)
    device.compile_model(model, config.compile, run_device)
    if sharded:
        from reslab import shard  # here, because it takes a second to import

        shard.split(model, run_device)
    scaler = torch.amp.GradScaler(run_device.split(":")[0], enabled=dtype == "float16")
    replica = None if sharded else distributed.replicate(model, ranks, run_device)
    optimizer = make_optimizer(model, config.optim)
    return TrainState(model, optimizer, scaler, dtype, ranks, replica, sharded, copy)


def train(config: TrainConfig) -> int:
    """Run, or go on with, one training; returns the exit code.

    Raises:
        ValueError: what the config asks for can't be done here; nothing was written.
        MachineError: the disk or the memory is full.
    """
    config = pretrained.settle_run(config)
    folder, ranks = Path(config.out_dir), distributed.launched()

    def may_use(config):
        claim(folder, configure.flat(config), config.resume, config.overwrite, FREE_ON_RESUME)

    with distributed.heard_once(ranks.local == 0):  # machines may differ
        run_device, *_ = configure.collect(
            lambda: distributed.own_device(device.pick_device(config.device), ranks),
            lambda: distributed.share(config.batch_size, config.gradient_accumulation_steps, ranks.world),
            lambda: distributed.check_launch(config.shard),
            lambda: None if distributed.by_torchrun() else may_use(config),
            lambda: find_folder(config.dataset),
        )
    device.prepare_torch(run_device)
    with distributed.joined(ranks, run_device) as ranks, ExitStack() as held:
        dataset = ranks.machine_by_machine(
            lambda: open_dataset(config.dataset, config.model.block_size, config.seed)
        )

        if ranks.restarts and ranks.by_first((folder / "config.json").exists):
            config = replace(config, resume=True, overwrite=False)

        def take() -> int | None:
            held.enter_context(only_one(folder, "training here"))
            may_use(config)  # as it is now that nobody else can change it
            return exit_code(folder, config.optim.max_iters, ranks.restarts) if config.resume else None

        code = ranks.by_first(take)
        try:
            return live(config, dataset, run_device, ranks) if code is None else code
        except (RuntimeError, MemoryError) as error:
            if not capacity.ran_out(error):
                raise
            advice = capacity.advice(error, config.batch_size, config.gradient_accumulation_steps)
            raise configure.MachineError(
                f"{run_device}: out of memory; {advice}. What was saved before is whole"
            ) from None


def live(config: TrainConfig, dataset: TokenDataset, run_device: str, ranks: distributed.Ranks) -> int:
    """One life of a run, from its start or its checkpoint to its end or a stop; returns the exit code."""
    folder, settings = Path(config.out_dir), configure.flat(config)
    last = folder / "checkpoint" / "last"
    found = ranks.by_first(lambda: checkpoint.find(last)) if config.resume else None
    state = ranks.together(lambda: make_state(config, dataset.vocab_size, run_device, ranks))
    saved = ranks.together(lambda: begin(state, config, dataset, found))
    log = NoLog()
    if ranks.first:
        if found:
            checkpoint.settle(last, found)
        if config.overwrite:
            checkpoint.remove(folder / "checkpoint")
        write_config(folder, settings, describe(state, config, dataset, run_device))
        log = sinks.open_log(folder, saved["metrics_bytes"], config.log, settings, state.step)
    changed = {
        k: v for k, v in changes(saved["config"], settings).items() if k in FREE_ON_RESUME - NOT_LOGGED
    }
    if changed:
        log.write({"step": state.step, "changed": changed})
    tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
    mfu = meter(state.model, run_device, ranks.world)
    shown = Progress(config.optim.max_iters, state.step, tokens, mfu, ranks.first)
    with Stop() as stop, shown as progress:
        code = loop(state, config, dataset, log, progress, stop)
    log.close()
    if ranks.first:
        say(code, folder, state.step, resume_command(sys.argv, config.overwrite, ranks.command()))
    return code


def look(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress, clock) -> bool:
    """Evaluate, probe and save, each where the step asks for it and it is not done yet.

    Returns:
        whether the losses are finite; if not, nothing is saved over what was good.
    """
    ends = state.step >= config.optim.max_iters
    evaluates = state.evaluated_step != state.step and (ends or state.step % config.eval_interval == 0)
    if evaluates:
        row = evaluate(state, config, dataset)
        finite = math.isfinite(row["train/loss"] + row["val/loss"])
        writes = config.sample_tokens and writing.due(state.step // config.eval_interval, ends)
        if finite and writes:
            with state.whole() as model:
                row |= writing.write(model, dataset, config.sample_tokens, config.seed) if model else {}
        state.evaluated_step, state.elapsed_s = state.step, time.perf_counter() - clock
        log.write({"step": state.step} | row | {"elapsed_s": state.elapsed_s})
        progress.evaluated(state.step, row)
        if not finite:
            return False
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
    return True


def loop(state: TrainState, config: TrainConfig, dataset: TokenDataset, log: RunLog, progress, stop) -> int:
    """Look, then update, until the last step, a stop or a divergence; returns the exit code."""
    clock = time.perf_counter() - state.elapsed_s
    step = train_step
    if config.profile and state.ranks.first:
        step = traced(train_step, state.model, Path(config.out_dir), progress.say)
    while True:
        if not look(state, config, dataset, log, progress, clock):
            return diverged(state, config, dataset, log, {})
        if state.step >= config.optim.max_iters:
            if state.ranks.first:
                run = read_run(Path(config.out_dir))
                said = verdict(run.last("train/loss"), run.last("val/loss"), run.facts["yardsticks_nats"])
                log.write({"step": state.step, "status": "finished", "verdict": said})
            return 0
        watches, watched = state.probed_step == state.step, None
        if watches:
            with state.whole() as model:
                watched = probes.block_matrices(model) if model else None
        started = time.perf_counter()
        metrics = step(state, config, dataset)
        if not (math.isfinite(metrics["batch/loss"]) and math.isfinite(metrics["batch/grad_norm"])):
            return diverged(state, config, dataset, log, metrics)
        now = time.perf_counter()
        state.elapsed_s = now - clock
        progress.updated(metrics["batch/loss"], now - started)
        if watches:
            with state.whole() as model:
                metrics["probe/update_ratio"] = probes.update_ratio(model, watched) if model else None
        if watches or state.step % config.log_interval == 0:
            metrics |= progress.speed() | {"elapsed_s": state.elapsed_s}
            log.write({"step": state.step} | metrics)
        state.step += 1
        if asked := state.ranks.largest(stop.asked):
            save(state, Path(config.out_dir), configure.flat(config), dataset, log, best=False)
            return 128 + asked


def main(words: list[str]) -> int:
    try:
        with distributed.heard_once(distributed.launched().first):  # all read the same words
            config, _ = configure.parse(TrainConfig, words, leave_out=("study",))  # compare.py reads that
            if config.print_config:
                print("\n".join(f"{key} = {value!r}" for key, value in configure.flat(config).items()))
                return 0
        return train(config)
    except distributed.ToldElsewhere:
        return 2


if __name__ == "__main__":
    configure.run_door(main)
