"""How the ranks share one model: a strategy for each way, and everything that differs between them.

    strategy    a rank holds              a backward pass                      a checkpoint is written by
    Single      the model, alone          stays here                           this process
    DDP         the whole model           averages gradients                   rank 0
    FSDP        1/n of every parameter    gathers weights, averages gradients  rank 0, and each rank its part

The rest of the code asks the strategy and never which one it is.
"""

import inspect
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from reslab.run import checkpoint
from reslab.system.device import compile_model
from reslab.system.distributed import ALONE, DistContext, split_batch


class Single:
    """One process trains the whole model; also the protocol, of which the others change what differs.

    Args:
        device: of this rank.
        dist: this process among those that train the model, connected.
    """

    shards_optimizer = False
    """Whether no rank has the optimizer's whole state."""
    can_capture = True
    """Whether a GPU can replay an update without asking another rank in the middle of it."""

    def __init__(self, device: str = "cpu", dist: DistContext = ALONE):
        self.device, self.dist = device, dist

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.dist.is_main

    def split(self, batch_size: int, accumulation: int) -> tuple[int, int]:
        """How this rank takes its part of an update: (sequences at once, passes); see split_batch."""
        return split_batch(batch_size, accumulation, self.dist.world_size)

    def batch_slice(self, batch_size: int, accumulation: int) -> slice:
        """Which sequences of an update's batch are this rank's."""
        size, passes = self.split(batch_size, accumulation)
        return slice(self.dist.rank * size * passes, (self.dist.rank + 1) * size * passes)

    def wrap(self, model: torch.nn.Module, compile_setting: str) -> torch.nn.Module:
        """A model that sits on the CPU, on this rank's device and ready to be trained; called once.

        Raises:
            ValueError: this strategy can't take it.
        """
        model = model.to(self.device)
        compile_model(model, compile_setting, self.device)
        return model

    def loss(self, model: torch.nn.Module, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss () of this rank's token ids (B, T), by a call that the strategy's hooks see."""
        return model.loss(idx, targets)

    def no_sync(self, model: torch.nn.Module):
        """Context of a backward pass that another one follows: gradients are not exchanged yet."""
        return nullcontext()

    def clip_grad_norm(
        self, parameters: list[torch.nn.Parameter], max_norm: float, wide: bool = False
    ) -> torch.Tensor:
        """Clip the gradients; returns their norm before that, over all ranks, as a plain tensor ().

        Args:
            wide: sum the squares in float64; in float32 those of numbers above 1e19 overflow.
        """
        if not wide:
            return torch.nn.utils.clip_grad_norm_(parameters, max_norm)
        norms = [
            torch.linalg.vector_norm(p.grad, dtype=torch.float64) for p in parameters if p.grad is not None
        ]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        torch.nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
        return norm

    @contextmanager
    def full_model(self, model: torch.nn.Module, computes: bool = True):
        """The model as one process has it, for reading; None on a rank that has no such thing.

        All ranks come here together.

        Args:
            computes: it has to be on this rank's device; weights alone can be read anywhere.
        """
        yield model

    def load_full(self, full: torch.nn.Module | None, model: torch.nn.Module) -> None:
        """Give the model the weights that full_model()'s was filled with."""

    def optimizer_state(self, optimizer) -> dict:
        """What rank 0 writes of the optimizer."""
        return optimizer.state_dict()

    def save_shards(self, model: torch.nn.Module, optimizer, folder: Path) -> None:
        """Add this rank's part to a checkpoint that is being written; all ranks come here together."""

    def load(self, folder: Path, model: torch.nn.Module, optimizer, saved_optimizer: dict) -> None:
        """Fill model and optimizer from a checkpoint.

        Args:
            saved_optimizer: what optimizer_state() gave.

        Raises:
            ValueError: files are damaged, or of another model.
        """
        checkpoint.load_model(folder, model)
        try:
            optimizer.load_state_dict(saved_optimizer)
        except ValueError:
            other = f"{folder}: today's code would decay other parameters, so its optimizer can't go on"
            weights = f"--init_from={folder.parent.parent}"
            raise ValueError(f"{other}; use the commit that config.json names, or {weights}") from None

    def close(self) -> None:
        """Release what needs the connected ranks, before they are disconnected."""


class LossModule(torch.nn.Module):
    """A model whose forward is its loss: DDP's hooks see calls of forward alone."""

    def __init__(self, model: torch.nn.Module):
        super().__init__()
        self.model = model

    def forward(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.model.loss(idx, targets)


class DDP(Single):
    """Each rank has the whole model (Li et al. 2020, arXiv 2006.15704); gradients are averaged while they are
    computed."""

    can_capture = False
    ddp_loss = None

    def wrap(self, model: torch.nn.Module, compile_setting: str) -> torch.nn.Module:
        model = super().wrap(model, compile_setting)
        parameters = inspect.signature(DistributedDataParallel).parameters
        # Buffers are constants, so they need not be sent; the name of that setting depends on torch.
        sends_buffers = (
            "forward_sync_buffers" if "forward_sync_buffers" in parameters else "broadcast_buffers"
        )
        self.ddp_loss = DistributedDataParallel(
            LossModule(model), gradient_as_bucket_view=True, **{sends_buffers: False}
        )
        return model

    def loss(self, model: torch.nn.Module, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return self.ddp_loss(idx, targets)

    def no_sync(self, model: torch.nn.Module):
        return self.ddp_loss.no_sync()

    def close(self) -> None:
        # DDP's reducer frees a process group that it alone still holds while it holds the GIL, and waits for
        # a thread of gloo, which may need the GIL to free a tensor: the rank would hang after its last step.
        self.ddp_loss = None


class FSDP(Single):
    """Each rank has 1/n of every parameter, gradient and optimizer state; see reslab/system/fsdp.py."""

    shards_optimizer = True
    can_capture = False

    def __init__(self, device: str, dist: DistContext):
        from reslab.system import fsdp  # here, because it takes a second to import

        super().__init__(device, dist)
        self.fsdp = fsdp

    def wrap(self, model: torch.nn.Module, compile_setting: str) -> torch.nn.Module:
        self.full_copy = deepcopy(model).eval() if self.is_main else None
        compile_model(model, compile_setting, self.device)
        self.fsdp.apply_fsdp(model, self.device)
        return model

    def clip_grad_norm(
        self, parameters: list[torch.nn.Parameter], max_norm: float, wide: bool = False
    ) -> torch.Tensor:
        return super().clip_grad_norm(parameters, max_norm, wide).full_tensor()

    @contextmanager
    def full_model(self, model: torch.nn.Module, computes: bool = True):
        self.fsdp.gather_full_params(model, self.full_copy)
        if self.full_copy is None or not computes:
            yield self.full_copy
            return
        try:
            yield self.full_copy.to(self.device)
        finally:
            self.full_copy.to("cpu")

    def load_full(self, full: torch.nn.Module | None, model: torch.nn.Module) -> None:
        self.fsdp.scatter_full_params(full, model)

    def optimizer_state(self, optimizer) -> dict:
        return {}

    def save_shards(self, model: torch.nn.Module, optimizer, folder: Path) -> None:
        self.dist.barrier()  # until rank 0 has made the folder
        self.fsdp.save_shards(folder / "shards", model, optimizer)

    def load(self, folder: Path, model: torch.nn.Module, optimizer, saved_optimizer: dict) -> None:
        self.fsdp.load_shards(folder / "shards", model, optimizer)


SINGLE = Single()


def make_strategy(shard: str, device: str, dist: DistContext) -> Single:
    """The strategy of a run. What torchrun has started takes that of many ranks for one rank as well, so that
    one GPU shows whether they work.

    Args:
        shard: none or fsdp, as --shard says.
    """
    if shard == "fsdp":
        return FSDP(device, dist)
    return (DDP if dist.initialized else Single)(device, dist)
