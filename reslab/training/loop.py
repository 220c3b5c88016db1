"""A run from its first step, or its checkpoint, to its end or a stop."""

import math
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from model import check_wirings
from reslab.data.dataset import TokenDataset, find_folder, open_dataset
from reslab.instruments import probes
from reslab.report import trackers
from reslab.report.diagnosis import diagnosis
from reslab.run import capacity, checkpoint, launch
from reslab.run import config as configure
from reslab.run.fields import with_role
from reslab.run.lock import exclusive_lock
from reslab.run.log import NoLog, RunLog, changes, claim, read_run, write_config
from reslab.run.settings import TrainConfig
from reslab.system import device, distributed
from reslab.system.flops import meter
from reslab.system.profiling import traced
from reslab.training import init_from, samples
from reslab.training.evaluate import evaluate
from reslab.training.outcome import diverged, exit_code, say
from reslab.training.progress import Progress, Stop, resume_command
from reslab.training.state import TrainState, begin, describe, save
from reslab.training.step import make_state, probe, train_step

# What a resumed run may change; it is logged, but for what has no part in the result.
NOT_LOGGED = with_role(TrainConfig, "place")
# The dataset's place may change too: check_data() sees by its hash that it is the same.
FREE_ON_RESUME = with_role(TrainConfig, "place", "machine", "measuring", "schedule") | {"dataset"}


def train(config: TrainConfig) -> int:
    """Run, or go on with, one training; returns the exit code.

    Raises:
        ValueError: what the config asks for can't be done here; nothing was written.
        MachineError: the disk or the memory is full.
    """
    config = init_from.settle_run(config)
    folder, ranks = Path(config.out_dir), distributed.from_torchrun_env()

    def may_use(config):
        claim(folder, configure.flat(config), config.resume, config.overwrite, FREE_ON_RESUME)

    with launch.rank0_output(ranks.local_rank == 0):  # machines may differ
        run_device, *_ = configure.collect(
            lambda: distributed.local_device(device.pick_device(config.device), ranks),
            lambda: distributed.split_batch(
                config.batch_size, config.gradient_accumulation_steps, ranks.world_size
            ),
            lambda: distributed.check_launch(config.shard),
            lambda: None if distributed.under_torchrun() else may_use(config),
            lambda: find_folder(config.dataset),
            lambda: check_wirings(config.model),
        )
    device.prepare_torch(run_device)
    with distributed.process_group(ranks, run_device) as ranks, ExitStack() as held:
        dataset = ranks.once_per_machine(
            lambda: open_dataset(config.dataset, config.model.block_size, config.seed)
        )

        if ranks.restarts and ranks.broadcast_from_rank0((folder / "config.json").exists):
            config = replace(config, resume=True, overwrite=False)

        def take() -> int | None:
            held.enter_context(exclusive_lock(folder, "training here"))
            may_use(config)  # as it is now that nobody else can change it
            return exit_code(folder, config.optim.max_iters, ranks.restarts) if config.resume else None

        code = ranks.broadcast_from_rank0(take)
        try:
            return live(config, dataset, run_device, ranks) if code is None else code
        except (RuntimeError, MemoryError) as error:
            if not capacity.ran_out(error):
                raise
            advice = capacity.advice(error, config.batch_size, config.gradient_accumulation_steps)
            raise configure.MachineError(
                f"{run_device}: out of memory; {advice}. What was saved before is whole"
            ) from None


def live(config: TrainConfig, dataset: TokenDataset, run_device: str, ranks: distributed.DistContext) -> int:
    """One life of a run, from its start or its checkpoint to its end or a stop; returns the exit code."""
    folder, settings = Path(config.out_dir), configure.flat(config)
    last = folder / "checkpoint" / "last"
    found = ranks.broadcast_from_rank0(lambda: checkpoint.find(last)) if config.resume else None
    state = ranks.raise_together(lambda: make_state(config, dataset.vocab_size, run_device, ranks))
    saved = ranks.raise_together(lambda: begin(state, config, dataset, found))
    log = NoLog()
    if ranks.is_main:
        if found:
            checkpoint.settle(last, found)
        if config.overwrite:
            checkpoint.remove(folder / "checkpoint")
        write_config(folder, settings, describe(state, config, dataset, run_device))
        log = trackers.open_log(folder, saved["metrics_bytes"], config.log, settings, state.step)
    changed = {
        k: v for k, v in changes(saved["config"], settings).items() if k in FREE_ON_RESUME - NOT_LOGGED
    }
    if changed:
        log.write({"step": state.step, "changed": changed})
    tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
    mfu = meter(state.model, run_device, ranks.world_size)
    shown = Progress(config.optim.max_iters, state.step, tokens, mfu, ranks.is_main)
    with Stop() as stop, shown as progress:
        code = loop(state, config, dataset, log, progress, stop)
    log.close()
    if ranks.is_main:
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
        writes = config.sample_tokens and samples.due(state.step // config.eval_interval, ends)
        if finite and writes:
            with state.whole() as model:
                row |= samples.write(model, dataset, config.sample_tokens, config.seed) if model else {}
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
    if config.profile and state.ranks.is_main:
        step = traced(train_step, state.model, Path(config.out_dir), progress.say)
    while True:
        if not look(state, config, dataset, log, progress, clock):
            return diverged(state, config, dataset, log, {})
        if state.step >= config.optim.max_iters:
            if state.ranks.is_main:
                run = read_run(Path(config.out_dir))
                said = diagnosis(run.rows, run.facts["baselines_nats"])
                log.write({"step": state.step, "status": "finished", "diagnosis": said})
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
        if asked := state.ranks.all_reduce_max(stop.asked):
            save(state, Path(config.out_dir), configure.flat(config), dataset, log, best=False)
            return 128 + asked
