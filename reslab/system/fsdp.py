"""One model cut over many processes (FSDP2, Zhao et al. 2023, arXiv 2304.11277), and its checkpoints.

Each rank holds 1/n of every parameter, gradient and optimizer state. A block's parameters are gathered
just before it runs and dropped after it; gradients are averaged and cut as each block's backward pass ends.
Parameters are gathered in float32, so the arithmetic is that of one process.
"""

from contextlib import contextmanager
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import distribute_tensor

WEIGHTS = "weights"


def split(model: torch.nn.Module, run_device: str) -> None:
    """Cut a model that sits on the CPU over all ranks, in place, onto their devices.

    Raises:
        ValueError: it has parameters that can't be cut.
    """
    scalars = [name for name, parameter in model.named_parameters() if parameter.dim() == 0]
    if scalars:
        raise ValueError(
            f"shard=fsdp: this wiring has scalars ({scalars[0]}), which FSDP can't cut; leave --shard out"
        )
    mesh = init_device_mesh(run_device.split(":")[0], (dist.get_world_size(),))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    for method in ("loss", "token_losses"):
        register_fsdp_forward_method(model, method)


@torch.no_grad()
def gather(model: torch.nn.Module, whole: torch.nn.Module | None) -> None:
    """Fill `whole`, the same model on one process, with what the ranks hold; only the first rank has one."""
    theirs = dict(whole.named_parameters()) if whole is not None else {}
    for name, parameter in model.named_parameters():
        full = parameter.full_tensor()
        if theirs:
            theirs[name].copy_(full)


@torch.no_grad()
def scatter(whole: torch.nn.Module | None, model: torch.nn.Module) -> None:
    """Give every rank its part of `whole`, which only the first rank has."""
    theirs = dict(whole.named_parameters()) if whole is not None else {}
    for name, parameter in model.named_parameters():
        full = theirs[name].detach() if theirs else torch.empty(parameter.shape, dtype=parameter.dtype)
        full = full.to(parameter.device)
        parameter.copy_(distribute_tensor(full, parameter.device_mesh, parameter.placements, src_data_rank=0))


def write(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Each rank writes its part of weights and optimizer state: safetensors, a file each.

    Raises:
        OSError: on all ranks, when one of them can't write.
    """
    with _one_error():
        dcp.save(
            _tensors(model, optimizer),
            storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True),
        )


def read(folder: Path, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Fill model and optimizer from what any number of ranks wrote.

    Raises:
        ValueError: files are missing, damaged, or of another model.
    """
    try:
        reader = HuggingFaceStorageReader(str(folder))
        names = dict(model.named_parameters())
        for key, found in reader.read_metadata().state_dict_metadata.items():
            kind, _, name = key.partition("/")
            if kind != WEIGHTS:
                like = names[name]
                same = found.size == like.shape
                # A count of steps is where its parameter is: fused AdamW takes no other.
                number = torch.zeros(found.size, device=like.device)
                optimizer.state[like][kind] = torch.zeros_like(like) if same else number
        with _one_error():
            dcp.load(_tensors(model, optimizer), storage_reader=reader)
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise ValueError(f"{folder}: can't be loaded ({reason})") from None


@contextmanager
def _one_error():
    """All ranks hear of a failure by an error that is no Exception and holds those of the ranks that failed;
    outside it is an OSError."""
    try:
        yield
    except dcp.CheckpointException as error:
        cause, _ = next(iter(error.failures.values()))
        raise cause if isinstance(cause, OSError) else OSError(f"{type(cause).__name__}: {cause}") from None


def _tensors(model, optimizer) -> dict[str, torch.Tensor]:
    """kind/name -> tensor of all that a checkpoint holds."""
    found = {}
    for name, parameter in model.named_parameters():
        found[f"{WEIGHTS}/{name}"] = parameter.detach()
        memory = optimizer.state.get(parameter, {})
        found |= {f"{kind}/{name}": value for kind, value in memory.items() if torch.is_tensor(value)}
    return found
