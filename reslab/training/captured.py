"""An update recorded once as CUDA graphs and replayed: the GPU gets all its kernels in two calls.

Launching a kernel takes Python longer than the kernel of a narrow layer takes the GPU, which waits: during
60% of a step of 48 layers of width 384, and 90% of one of 1000 layers of width 256 (docs/speed.md). A graph
holds kernels and addresses, so batch, gradients and learning rates stand in tensors of their own, and what
Python decides in a forward pass is decided once.
"""

from collections.abc import Callable
from contextlib import contextmanager

import torch

from reslab.run.capacity import ran_out
from reslab.run.fields import first_line

WARM = 3  # updates before: they compile, and make what the optimizer remembers


class CapturedUpdate:
    """The gradients of a batch, and the optimizer's step, each as a graph.

    The random numbers of a replay are those of an uncaptured pass with the same seed.

    Args:
        optimizer: has made a step already, and its parameters have no gradient. AdamW or Muon: both take a
            learning rate that is a tensor.
        batch: token ids (2, B, T) on the GPU; every later one has this shape.
        gradients: gives the parameters their gradients for a batch; returns [loss, norm] (2,), without
            waiting for the GPU.

    Raises:
        ValueError: something in the update can't be recorded. Nothing was updated, but this process should
            end: torch may draw no random number after a recording that broke off.
    """

    def __init__(self, optimizer, batch: torch.Tensor, gradients: Callable[[torch.Tensor], torch.Tensor]):
        self.optimizer, self.batch = optimizer, batch.clone()
        self.rates = [torch.zeros((), device=batch.device) for _ in optimizer.param_groups]
        self.backward, self.step = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with self._recording(self.backward):
            self.loss_and_norm = gradients(self.batch)
        with self._tensors_for_rates(), self._recording(self.step, self.backward.pool()):
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)  # they stay in the graphs' memory

    @contextmanager
    def _recording(self, graph: torch.cuda.CUDAGraph, *pool):
        """Record what is inside, on the device of the batch, which need not be the current one."""
        place = self.batch.device
        recorder = torch.cuda.graph(
            graph, *pool, stream=torch.cuda.Stream(place), capture_error_mode="thread_local"
        )
        inside = None
        try:
            with torch.cuda.device(place), torch.cuda.stream(torch.cuda.current_stream(place)), recorder:
                try:
                    yield
                except Exception as error:
                    inside = error
                    raise
        except Exception as error:
            first = inside or error  # what ended the recording, not that it was ended
            if ran_out(first):
                first.add_note("--cuda_graph=False, which holds less, or half of --batch_size")
                raise first from None
            reason = f"cuda_graph: this update can't be recorded ({first_line(first)})"
            raise ValueError(f"{reason}; --cuda_graph=False trains without") from first

    @contextmanager
    def _tensors_for_rates(self):
        """Inside, the optimizer reads its rates from a tensor."""
        groups = self.optimizer.param_groups
        before = [{key: group[key] for key in ("lr", "capturable") if key in group} for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group |= {"lr": rate} | ({"capturable": True} if "capturable" in group else {})
        try:
            yield
        finally:
            for group, was in zip(groups, before, strict=True):
                group |= was

    def loss_and_gradients(self, batch: torch.Tensor) -> list[float]:
        """[loss, gradient norm] of a batch (2, B, T), which may be on the CPU; the gradients stay in the
        graph's own memory."""
        self.batch.copy_(batch)
        self.backward.replay()
        return self.loss_and_norm.tolist()  # the wait for the GPU

    def update(self) -> None:
        """Make the optimizer's step with the rates that its groups hold."""
        for rate, group in zip(self.rates, self.optimizer.param_groups, strict=True):
            rate.fill_(group["lr"])  # nothing is copied, so nothing waits
        self.step.replay()
