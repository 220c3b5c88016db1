"""One update of a model: a batch in, the next state and its metrics out."""

import math
import threading
from contextlib import nullcontext
from dataclasses import replace

import torch

from reslab.data.dataset import TokenDataset
from reslab.model import GPT
from reslab.nn.rotary import fresh_tables
from reslab.run.settings import TrainConfig
from reslab.system import device
from reslab.system.parallel import SINGLE, Single
from reslab.training.captured import WARM, CapturedUpdate
from reslab.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from reslab.training.state import TrainState


class Diverged(Exception):
    """The loss or the gradient of a batch is not finite; the state is the one before that batch.

    Args:
        metrics: what train_step() would have returned.
    """

    def __init__(self, metrics: dict):
        super().__init__(f"loss {metrics['batch/loss']}, gradient norm {metrics['batch/grad_norm']}")
        self.metrics = metrics


def make_state(config: TrainConfig, vocab_size: int, strategy: Single = SINGLE) -> TrainState:
    """A fresh model, placed as the strategy says, and its optimizer, at step 0.

    Args:
        vocab_size: of the dataset.

    Raises:
        ValueError: the model's vocabulary is smaller than that, or the strategy can't take its wiring.
    """
    shape = config.model
    if 0 < shape.vocab_size < vocab_size:
        raise ValueError(f"vocab_size={shape.vocab_size}: must be 0, or at least the dataset's {vocab_size}")
    model = GPT(replace(shape, vocab_size=shape.vocab_size or vocab_size), config.seed)
    model.activation_checkpointing = config.activation_checkpointing
    dtype = device.pick_dtype(config.dtype, strategy.device, shape.n_embd)
    if dtype == "float64":
        model = model.double()
    model = strategy.wrap(model, config.compile)
    scaler = torch.amp.GradScaler(strategy.device.split(":")[0], enabled=dtype == "float16")
    state = TrainState(model, make_optimizer(model, config.optim), scaler)
    state.may_capture = config.cuda_graph and strategy.can_capture and can_be_recorded(model, config, dtype)
    return state


def can_be_recorded(model: torch.nn.Module, config: TrainConfig, dtype: str) -> bool:
    """Whether an update asks neither the GPU nor Python for anything in the middle, and the optimizer takes a
    learning rate that is a tensor. A recording belongs to its process: only one thread may make any."""
    asks = config.activation_checkpointing or config.profile or dtype == "float16"
    wirings = [residual for block in model.blocks for residual, _ in block.sublayers()]
    alone = threading.current_thread() is threading.main_thread()
    takes_tensors = config.optim.optimizer in ("adamw", "muon")
    return alone and takes_tensors and not asks and all(wiring.same_every_step for wiring in wirings)


def next_batch(
    dataset: TokenDataset, config: TrainConfig, step: int, strategy: Single = SINGLE
) -> torch.Tensor:
    """This rank's inputs and targets of an update: token ids (2, B, T), on the CPU."""
    accumulation = config.gradient_accumulation_steps
    rows = strategy.batch_slice(config.batch_size, accumulation)
    return torch.stack(dataset.batch("train", step, config.batch_size * accumulation, rows))


def train_step(
    state: TrainState, batch: torch.Tensor, config: TrainConfig, strategy: Single = SINGLE
) -> dict:
    """Make one update and advance state.step, or raise and leave the state as it was.

    Args:
        batch: this rank's inputs and targets (2, B, T), as next_batch() gives them for state.step.

    Returns:
        batch/loss (nats per token), batch/grad_norm (before clipping) and learning_rate.

    Raises:
        Diverged: the loss or the gradient is not finite.
    """
    if not state.captured:  # which copies it to where it was recorded
        batch = batch.to(next(state.model.parameters()).device)  # one copy for all passes
    lr = learning_rate(config.optim, state.step)
    scale_before = None
    state.model.train()
    _record_when_due(state, batch, config, strategy)
    while True:
        loss, norm = _backward(state, batch, config, strategy)
        metrics = {"batch/loss": loss, "batch/grad_norm": norm, "learning_rate": lr}
        finite = math.isfinite(loss) and math.isfinite(norm)
        if finite:
            set_learning_rate(state.optimizer, config.optim, lr)
            state.updating = True
            state.captured.update() if state.captured else state.scaler.step(state.optimizer)
        else:
            scale_before = scale_before or state.scaler.state_dict()
        state.scaler.update()
        state.optimizer.zero_grad(set_to_none=True)
        if finite:
            state.step, state.updating = state.step + 1, False
            return metrics
        # Overflow in float16 is cured by a smaller scale: the same batch again, so N steps are N updates.
        overflow = state.scaler.is_enabled() and math.isfinite(loss)
        if not overflow or state.scaler.get_scale() < 1:
            state.scaler.load_state_dict(scale_before)
            raise Diverged(metrics)


def _record_when_due(state: TrainState, batch: torch.Tensor, config: TrainConfig, strategy: Single) -> None:
    """Record this and all later updates as CUDA graphs, once enough were made without."""
    if not state.may_capture or state.captured or not on_gpu(batch):
        return
    if state.warm == WARM:
        _seed(state, config, strategy)
        with fresh_tables(state.model):
            state.captured = CapturedUpdate(
                state.optimizer, batch, lambda batch: _gradients(state, batch, config, strategy)
            )
    state.warm += 1


def on_gpu(batch: torch.Tensor) -> bool:
    return batch.is_cuda


def _seed(state: TrainState, config: TrainConfig, strategy: Single) -> None:
    torch.manual_seed(device.step_seed(config.seed, state.step, strategy.dist.rank))


def _backward(state: TrainState, batch: torch.Tensor, config: TrainConfig, strategy: Single) -> list[float]:
    """Give the parameters their clipped gradients; returns [loss, norm before clipping]."""
    _seed(state, config, strategy)
    if state.captured:
        loss, norm = state.captured.loss_and_gradients(batch)
    else:
        loss, norm = _gradients(state, batch, config, strategy).tolist()  # the wait for the GPU
    if math.isfinite(loss) and not math.isfinite(norm) and not state.scaler.is_enabled():
        # Of finite gradients above 1e19, as deep plain stacks begin with, float32 can't hold the squares.
        if state.captured:  # this pass is another one, and a recording holds the memory of its own
            batch, state.may_capture, state.captured = state.captured.batch, False, None
        state.optimizer.zero_grad(set_to_none=True)
        _seed(state, config, strategy)
        loss, norm = _gradients(state, batch, config, strategy, wide=True).tolist()
    return [loss, norm]


def _gradients(
    state: TrainState, batch: torch.Tensor, config: TrainConfig, strategy: Single, wide: bool = False
) -> torch.Tensor:
    """Give the parameters their clipped gradients; returns [loss, norm before clipping] (2,).

    Args:
        wide: take the norm in float64.
    """
    where = str(batch.device)
    dtype = device.pick_dtype(config.dtype, where, config.model.n_embd)
    size, passes = strategy.split(config.batch_size, config.gradient_accumulation_steps)
    losses = []
    for number, (x, y) in enumerate(batch.split(size, dim=1), 1):  # each (size, T)
        sync = strategy.no_sync(state.model) if number < passes else nullcontext()
        with sync, device.training_kernels(where, dtype, config.kernels):
            with device.autocast(where, dtype):
                loss = strategy.loss(state.model, x, y) / passes
            state.scaler.scale(loss).backward()
        losses.append(loss.detach())
    total = strategy.dist.all_reduce_sum(torch.stack(losses).sum()) / strategy.dist.world_size
    state.scaler.unscale_(state.optimizer)
    parameters = [p for group in state.optimizer.param_groups for p in group["params"]]
    norm = strategy.clip_grad_norm(parameters, config.optim.grad_clip or math.inf, wide)
    return torch.stack([total.to(norm.dtype), norm])
