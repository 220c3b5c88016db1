"""A run from its first step, or its checkpoint, to its end or a stop."""

import math
import time
from contextlib import ExitStack, contextmanager, suppress

from reslab.run.config import MachineError
from reslab.run.launch import as_typed
from reslab.run.settings import TrainConfig
from reslab.run.streams import lossy
from reslab.system.profiling import traced
from reslab.training import measure, outcome
from reslab.training.context import RunContext
from reslab.training.evaluate import evaluate
from reslab.training.progress import Stopped
from reslab.training.start import open_run, start_training
from reslab.training.state import TrainState, keeps_checkpoint, save
from reslab.training.step import Diverged, next_batch, train_step


def train(config: TrainConfig, step=train_step) -> int:
    """Run, or go on with, one training; returns the exit code.

    Args:
        step: makes an update, as train_step does; who measures an update hands in one that wraps it.

    Raises:
        ValueError: what the config asks for can't be done here. Nothing was written; where an update could
            not be recorded, the updates before it are saved.
        MachineError: the disk or the memory is full.
    """
    with lossy(), open_run(config) as (context, code):
        return run(context, step) if code is None else code


def run(context: RunContext, step=train_step) -> int:
    """Train in a run directory that is ours, until the end or a stop; returns the exit code."""
    state, context = start_training(context)
    with context.stop, context.progress, saved_when_it_fails(state, context), ExitStack() as stack:
        if context.config.profile and context.strategy.is_main:
            step = stack.enter_context(traced(step, state.model, context.folder, context.progress.say))
        code = train_loop(state, context, step)
    context.log.close()
    if context.strategy.is_main:
        note = as_typed(context.config.end_note)
        outcome.print_summary(code, context.folder, state.step, context.resume_command(), note)
    return code


@contextmanager
def saved_when_it_fails(state: TrainState, context: RunContext):
    """Whatever goes wrong inside, updates that were made are saved where none broke off half-way.

    Several ranks save together, and one that fails alone can't; a full disk takes no other checkpoint.
    """
    try:
        yield
    except MachineError:
        raise
    except Exception:
        if state.step and not state.updating and not context.strategy.dist.initialized:
            with suppress(Exception):  # the first fault is the one to tell
                save(state, context, best=False)
                outcome.print_saved(state.step, context.resume_command())
        raise


def train_loop(state: TrainState, context: RunContext, step) -> int:
    """Evaluate, then update, until the last step, a stop or a divergence; returns the exit code."""
    config, strategy = context.config, context.strategy
    clock = time.perf_counter() - state.seconds
    while True:
        code = evaluate_and_save(state, context, clock)
        if code is not None:
            return code
        if state.step >= config.optim.max_iters:
            return outcome.log_finished(state, context)
        number, probed = state.step, state.probed_step == state.step
        matrices = measure.matrices_before(state, context) if probed else None
        started = time.perf_counter()
        try:
            metrics = step(state, next_batch(context.dataset, config, number, strategy), config, strategy)
        except Diverged as error:
            return outcome.log_divergence(state, context, error.metrics)
        now = time.perf_counter()
        state.seconds = now - clock
        context.throughput.add(now - started)
        context.progress.updated(metrics["batch/loss"], context.throughput)
        if probed:
            metrics |= measure.update_ratio(state, context, matrices)
        if probed or number % config.log_interval == 0:
            context.log.write({"step": number} | metrics | context.throughput.row() | _clock(state))
        try:
            context.check_stop()
        except Stopped as stop:
            return save_and_stop(state, context, stop)


def save_and_stop(state: TrainState, context: RunContext, stop: Stopped) -> int:
    """Save what a signal asks to end; returns the exit code."""
    save(state, context, best=False)
    return 128 + stop.number


def evaluate_and_save(state: TrainState, context: RunContext, clock: float) -> int | None:
    """Evaluate, probe and save, each where the step asks for it and it is not done yet.

    A signal that asks for the end is heard between two batches; --resume does the rest.

    Args:
        clock: when the run would have begun, had it never stopped.

    Returns:
        the exit code of a run that ends here, or None. Losses that are not finite are not saved.
    """
    config = context.config
    ends = state.step >= config.optim.max_iters
    evaluates = state.evaluated_step != state.step and (ends or state.step % config.eval_interval == 0)
    if evaluates:
        try:
            row = evaluate(state, config, context.dataset, context.strategy, context.check_stop)
            finite = math.isfinite(row["train/loss"] + row["val/loss"])
            if finite:
                row |= measure.sample_if_due(state, context, ends)
        except Stopped as stop:
            return save_and_stop(state, context, stop)
        state.evaluated_step, state.seconds = state.step, time.perf_counter() - clock
        context.log.write({"step": state.step} | row | _clock(state))
        if not finite:
            context.progress.evaluated(state.step, row, context.throughput)
            return outcome.log_divergence(state, context, {})
    probed = measure.probe_if_due(state, context, ends)
    best = evaluates and row["val/loss"] < state.best_val_loss
    if evaluates:
        state.best_val_loss = min(row["val/loss"], state.best_val_loss)
    saves = evaluates or keeps_checkpoint(config, state.step) or not probed
    if saves:
        save(state, context, best)
    if evaluates:
        context.progress.evaluated(state.step, row, context.throughput)
    signal = context.strategy.dist.all_reduce_max(context.stop.signal_number) if saves else 0
    return 128 + signal if signal and not (ends and probed) else None


def _clock(state: TrainState) -> dict:
    return {"elapsed_s": state.seconds}
