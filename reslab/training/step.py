"""One update, one look at the model, and the state that both work on."""

import math
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import replace

import torch

from model import GPT
from reslab.data.dataset import TokenDataset
from reslab.instruments import probes
from reslab.run import capacity
from reslab.run.log import RunLog
from reslab.run.settings import TrainConfig
from reslab.system import device, distributed
from reslab.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from reslab.training.state import TrainState


def train_step(state: TrainState, config: TrainConfig, dataset: TokenDataset) -> dict:
    """One update, unless loss or gradient is not finite; the caller tells by the returned numbers.

    Returns:
        batch/loss (nats per token), batch/grad_norm (before clipping) and learning_rate.
    """
    run_device = next(state.model.parameters()).device
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    lr = learning_rate(config.optim, state.step)
    set_learning_rate(state.optimizer, config.optim, lr)
    ranks, forward = state.ranks, state.replica or state.model.loss
    size, times = distributed.split_batch(
        config.batch_size, config.gradient_accumulation_steps, ranks.world_size
    )
    sequences = config.batch_size * config.gradient_accumulation_steps
    mine = slice(ranks.rank * size * times, (ranks.rank + 1) * size * times)
    batch = torch.stack(dataset.batch("train", state.step, sequences, mine)).to(
        run_device
    )  # one copy for all
    state.model.train()
    while True:
        torch.manual_seed(device.step_seed(config.seed, state.step, ranks.rank))
        losses = []
        for number, (x, y) in enumerate(batch.split(size, dim=1), 1):  # each (size, T)
            with distributed.no_sync(forward) if number < times else nullcontext():
                with device.autocast(str(run_device), state.dtype):
                    loss = forward(x, y) / times
                state.scaler.scale(loss).backward()
            losses.append(loss.detach())
        total = ranks.all_reduce_sum(torch.stack(losses).sum()) / ranks.world_size
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
        if not state.ranks.is_main:
            return
        run_device = next(model.parameters()).device
        x, y = dataset.sequences("train", dataset.eval_starts("train", config.probe_sequences))
        with capacity.remedy(probes.TOO_LARGE):
            row = probes.look(model, x.to(run_device), y.to(run_device))
    log.write({"step": state.step} | row)
    if not state.warned and 0 < state.step <= 50 and (line := probes.early_warning(row)):
        progress.say(f"step {state.step}: {line}")
        log.write({"step": state.step, "early_warning": line})
        state.warned = True


def make_state(
    config: TrainConfig, vocab_size: int, run_device: str, ranks: distributed.DistContext = distributed.ALONE
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
    copy = deepcopy(model).eval() if sharded and ranks.is_main else None
    model = model if sharded else model.to(run_device)
    device.compile_model(model, config.compile, run_device)
    if sharded:
        from reslab.system import fsdp  # here, because it takes a second to import

        fsdp.split(model, run_device)
    scaler = torch.amp.GradScaler(run_device.split(":")[0], enabled=dtype == "float16")
    replica = None if sharded else distributed.wrap_ddp(model, ranks, run_device)
    optimizer = make_optimizer(model, config.optim)
    return TrainState(model, optimizer, scaler, dtype, ranks, replica, sharded, copy)
