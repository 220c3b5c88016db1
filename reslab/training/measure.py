"""What is measured on a model between two updates: probes, samples of text, the size of an update."""

import torch

from reslab.instruments import probes
from reslab.run import capacity
from reslab.training import samples
from reslab.training.context import RunContext
from reslab.training.progress import Stopped
from reslab.training.state import TrainState


def probe_if_due(state: TrainState, context: RunContext, ends: bool) -> bool:
    """Probe the model where this step is one for that and has not been probed yet.

    Returns:
        False when a signal that asks for the end has broken the probe off: --resume makes it.
    """
    config, before = context.config, state.probed_step
    due = probes.due(state.step, config.eval_interval, ends)
    if config.probes and due and state.probed_step != state.step:
        try:
            probe(state, context)
        except Stopped:
            state.probed_step = before
            return False
    return True


def probe(state: TrainState, context: RunContext) -> None:
    """Measure the model on a fixed batch, log it, and warn once of a stack that is unlikely to train."""
    state.probed_step = state.step
    dataset, log = context.dataset, context.log
    with context.strategy.full_model(state.model) as model:
        if not context.strategy.is_main:
            return
        run_device = next(model.parameters()).device
        x, y = dataset.sequences("train", dataset.eval_starts("train", context.config.probe_sequences))
        # Each sequence, or what a GPU takes together, is embedded once: that is between two of them.
        hook = model.wte.register_forward_pre_hook(lambda *_: context.check_stop_alone())
        try:
            with capacity.remedy(probes.TOO_LARGE):
                row = probes.measure_batch(model, x.to(run_device), y.to(run_device))
        finally:
            hook.remove()
    log.write({"step": state.step} | row)
    if not state.warned and 0 < state.step <= 50 and (line := probes.early_warning(row)):
        context.progress.say(f"step {state.step}: {line}")
        log.write({"step": state.step, "early_warning": line})
        state.warned = True


def sample_if_due(state: TrainState, context: RunContext, ends: bool) -> dict:
    """A text that the model writes, as keys of a row; empty where this evaluation is none for that."""
    config = context.config
    if not (config.sample_tokens and samples.due(state.step // config.eval_interval, ends)):
        return {}
    with context.strategy.full_model(state.model) as model:
        if model is None:
            return {}
        stop = context.check_stop_alone
        return samples.write(model, context.dataset, config.sample_tokens, config.seed, stop)


def matrices_before(state: TrainState, context: RunContext) -> list[torch.Tensor] | None:
    """The blocks' matrices, for update_ratio() after the update; None on a rank that has no full model."""
    with context.strategy.full_model(state.model, computes=False) as model:
        return probes.block_matrices(model) if model else None


def update_ratio(state: TrainState, context: RunContext, before: list[torch.Tensor] | None) -> dict:
    """How far an update moved what matrices_before() gave, as a key of a row."""
    with context.strategy.full_model(state.model, computes=False) as model:
        return {"probe/update_ratio": probes.update_ratio(model, before) if model else None}
