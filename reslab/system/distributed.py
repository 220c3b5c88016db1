"""One model on many processes: who this one is, and what all of them agree on.

torchrun starts the processes, one for each GPU, and tells each its rank. Started without it, a program is
rank 0 of 1, and everything here gives back what it was given.
"""

import os
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist

from reslab.run.launch import LAUNCHER, ReportedByRank0, silence, under_torchrun


@dataclass(frozen=True)
class DistContext:
    """This process among those that train one model together."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    """Its number on this machine, and that of its GPU."""
    restarts: int = 0
    """How often torchrun has started all ranks again after one had died; once they are connected, the
    largest count of any machine."""
    initialized: bool = False
    """Whether the ranks are connected; all that follows needs that when there are several."""

    @property
    def is_main(self) -> bool:
        """Whether this is the rank that prints and writes."""
        return self.rank == 0

    def shard_indices(self, count: int) -> torch.Tensor:
        """Which of `count` things are this rank's; as many on every rank, so numbers from count on pad."""
        return torch.arange(self.rank, -(-count // self.world_size) * self.world_size, self.world_size)

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        """The sum of a tensor over all ranks, in its place."""
        if self.initialized:
            dist.all_reduce(tensor)
        return tensor

    def all_reduce_max(self, number: int) -> int:
        """The largest of a whole number over all ranks: whether any saw a signal, and which."""
        largest = torch.tensor(number)
        if self.initialized:
            dist.all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def barrier(self) -> None:
        """Go on when all ranks are here."""
        self.all_reduce_max(0)

    def raise_together(self, job):
        """What job() returns; when it raises ValueError on any rank, all ranks raise one.

        Raises:
            ValueError: on rank 0, with the first rank's message; on the others ReportedByRank0.
        """
        answer, fault = None, None
        try:
            answer = job()
        except ValueError as error:
            fault = str(error) or type(error).__name__
        self._raise_first(self._gather(fault))
        return answer

    def broadcast_from_rank0(self, job):
        """What job() returns on rank 0, which alone runs it, on all ranks; its ValueError too."""
        answer = self.raise_together(lambda: job() if self.is_main else None)
        if self.initialized:
            answers = [answer]
            dist.broadcast_object_list(answers, src=0)
            answer = answers[0]
        return answer

    def once_per_machine(self, job):
        """What job() returns on each rank, run first by one rank of each machine: it prepares files that
        the others then find."""
        answer = self.raise_together(lambda: job() if self.local_rank == 0 else None)
        return self.raise_together(lambda: answer if self.local_rank == 0 else job())

    def command(self) -> list[str]:
        """How this process was started, up to the program's name."""
        if not self.initialized:
            return ["python"]
        local_ranks = int(os.environ.get("LOCAL_WORLD_SIZE", self.world_size))
        return ["torchrun", f"--nproc_per_node={local_ranks}" if local_ranks == self.world_size else "..."]

    def _gather(self, value) -> list:
        values = [value] * self.world_size
        if self.initialized:
            dist.all_gather_object(values, value)
        return values

    def _raise_first(self, faults: list[str | None]) -> None:
        for rank, fault in enumerate(faults):
            if fault is not None:
                where = f"rank {rank}: " if rank else ""
                raise ValueError(where + fault) if self.is_main else ReportedByRank0(where + fault)


ALONE = DistContext()


def from_torchrun_env() -> DistContext:
    """This process as torchrun started it, not connected yet; rank 0 of 1 without torchrun."""
    if not under_torchrun():
        return DistContext()
    rank, world_size, local_rank = (int(os.environ[name]) for name in LAUNCHER[:3])
    return DistContext(rank, world_size, local_rank, int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0)))


def local_device(name: str, context: DistContext) -> str:
    """The device of this rank: each has a GPU of its own.

    Args:
        name: the device of a single process, as device.pick_device() gives it.

    Raises:
        ValueError: several ranks can't share that device, or there are fewer GPUs than ranks.
    """
    if context.world_size == 1 or name == "cpu":
        return name
    if name != "cuda":
        raise ValueError(f"device={name}: several ranks train on cuda, a GPU each, or on cpu")
    gpus, local_ranks = torch.cuda.device_count(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    if local_ranks > gpus:
        raise ValueError(
            f"device=cuda: {gpus} GPUs on this machine for {local_ranks} ranks; use --nproc_per_node={gpus}"
        )
    return f"cuda:{context.local_rank}"


@contextmanager
def process_group(context: DistContext, run_device: str):
    """Connect the ranks: NCCL between GPUs, gloo between CPUs and for what is agreed on. Inside, only the
    first rank's print() is heard.

    Yields:
        the ranks, connected; as they were when torchrun did not start this process.

    Raises:
        SystemExit: another rank died; torchrun ends this one too, or starts all again.
    """
    if not under_torchrun():
        yield context
        return
    if run_device.startswith("cuda"):
        torch.cuda.set_device(run_device if ":" in run_device else context.local_rank)
    try:
        backend = "cpu:gloo,cuda:nccl" if run_device.startswith("cuda") else "gloo"
        dist.init_process_group(
            backend, store=_store(context), rank=context.rank, world_size=context.world_size
        )
        context = replace(context, initialized=True)
        with nullcontext() if context.is_main else silence():
            yield replace(context, restarts=context.all_reduce_max(context.restarts))
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        reason = str(error).splitlines()[0].partition("] ")[2] or str(error).splitlines()[0]
        raise SystemExit(f"error: rank {context.rank}: another rank is gone ({reason:.200})") from None
    except ValueError:
        dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def _store(context: DistContext) -> "dist.Store":
    """Where the ranks find each other's addresses.

    torchrun keeps one store over all restarts, so a rank can find the address of one that is dead (PyTorch
    issue 167288): each restart gets names of its own. Several machines count restarts apart: see below.
    """
    store, _, _ = next(dist.rendezvous("env://"))
    return dist.PrefixStore(f"start {context.restarts}", store) if _machines() == 1 else store


def check_launch(shard: str) -> None:
    """Raises ValueError where a model is to be sharded and torchrun has not started this process, and where
    torchrun's restarts would mix up the addresses of dead and living ranks."""
    if shard != "none" and not under_torchrun():
        raise ValueError(f"shard={shard}: start it with torchrun --nproc_per_node=N train.py ...")
    shared = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    if (
        under_torchrun()
        and _machines() > 1
        and shared
        and os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
    ):
        raise ValueError(
            "--max_restarts on several machines: torchrun would hand the addresses of dead ranks on; set "
            "TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 on all machines"
        )


def _machines() -> int:
    return int(os.environ.get("GROUP_WORLD_SIZE", 1))


def split_batch(batch_size: int, accumulation: int, world_size: int) -> tuple[int, int]:
    """How a rank takes its part of an update: (sequences at once, passes).

    All ranks together read batch_size * accumulation sequences, as one process does: first the
    accumulation is divided among them, then the batch.

    Raises:
        ValueError: that can't be divided evenly.
    """
    for fewer in (
        n for n in range(min(accumulation, world_size), 0, -1) if accumulation % n == world_size % n == 0
    ):
        if batch_size % (world_size // fewer) == 0:
            return batch_size // (world_size // fewer), accumulation // fewer
    raise ValueError(
        f"gradient_accumulation_steps={accumulation}, batch_size={batch_size}: {world_size} ranks can't take "
        f"equal parts; make either one divisible by {world_size}"
    )
