"""An update recorded once as CUDA graphs and replayed: the GPU gets all its kernels in two calls.

Launching a kernel takes Python longer than the kernel of a narrow layer takes the GPU, which waits: during
60% of a step of 48 layers of width 384, and 90% of one of 1000 layers of width 256 (docs/speed.md). A graph
holds kernels and addresses, so batch, gradients and learning rates stand in tensors of their own.
"""

import sys
from collections.abc import Callable

import torch

from reslab.run.fields import first_line

WARM = 3  # updates before: they compile, and make what the optimizer remembers


class CapturedUpdate:
    """The gradients of a batch, and the optimizer's step, each as a graph.

    The random numbers of a replay are those of an uncaptured pass with the same seed.

    Args:
        optimizer: has made a step already. AdamW or Muon: both take a learning rate that is a tensor.
        batch: token ids (2, B, T) on the GPU; every later one has this shape.
        gradients: gives the parameters their gradients for a batch; returns [loss, norm] (2,), without
            waiting for the GPU.
    """

    def __init__(self, optimizer, batch: torch.Tensor, gradients: Callable[[torch.Tensor], torch.Tensor]):
        self.optimizer, self.batch = optimizer, batch.clone()
        self.parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.rates = torch.zeros(len(optimizer.param_groups), device=batch.device)
        optimizer.zero_grad(set_to_none=True)  # so that gradients are written, and not added
        self.backward, self.step = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.backward, capture_error_mode="thread_local"):
            self.loss_and_norm = gradients(self.batch)
        self.gradients = [p.grad for p in self.parameters]
        self._capture_step()
        optimizer.zero_grad(set_to_none=True)

    def _capture_step(self) -> None:
        """Record the optimizer's step with the rates read from a tensor."""
        groups = self.optimizer.param_groups
        before = [{key: group[key] for key in ("lr", "capturable") if key in group} for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group |= {"lr": rate} | ({"capturable": True} if "capturable" in group else {})
        try:
            with torch.cuda.graph(self.step, self.backward.pool(), capture_error_mode="thread_local"):
                self.optimizer.step()
        finally:
            for group, was in zip(groups, before, strict=True):
                group |= was

    def loss_and_gradients(self, batch: torch.Tensor) -> tuple[float, float]:
        """Loss and gradient norm of a batch (2, B, T); the gradients stay in the graph's own memory."""
        self.batch.copy_(batch)
        self.backward.replay()
        loss, norm = self.loss_and_norm.tolist()  # the only wait for the GPU
        return loss, norm

    def take_gradients(self) -> None:
        """Go on with the gradients that the parameters hold, computed without the graph."""
        for p, captured in zip(self.parameters, self.gradients, strict=True):
            if captured is not None:
                captured.copy_(p.grad)

    def update(self) -> None:
        """Make the optimizer's step with the rates that its groups hold."""
        rates = [group["lr"] for group in self.optimizer.param_groups]
        self.rates.copy_(torch.tensor(rates))
        self.step.replay()


def captured_or_none(optimizer, batch: torch.Tensor, gradients: Callable) -> CapturedUpdate | None:
    """A CapturedUpdate; None, and one line that says why, where something in it can't be recorded."""
    try:
        return CapturedUpdate(optimizer, batch, gradients)
    except Exception as error:  # whatever it is, the usual way is there
        torch.cuda.synchronize()
        optimizer.zero_grad(set_to_none=True)
        print(f"cuda_graph: not recorded ({first_line(error)}); going on without", file=sys.stderr)
        return None
