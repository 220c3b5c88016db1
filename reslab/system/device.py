"""Where and how the arithmetic runs: device, precision, compilation, chosen once per run."""

import ctypes
import hashlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock

import torch

from reslab.nn.attention import cpu_kernels
from reslab.run.fields import first_line
from reslab.system.machine import WIDTHS, fastest

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}
_exact = []  # whether TF32 was permitted before the first open exact_float32(), once for each of them
_lock = Lock()


def pick_device(name: str) -> str:
    """The device that `auto` means here: cuda, else mps, else cpu.

    Raises:
        ValueError: a device that this machine, or this build of torch, does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, is_available in available.items() if is_available)
    if not available.get(name.split(":")[0], False):
        allowed = ", ".join(device for device, is_available in available.items() if is_available)
        raise ValueError(
            f"device={name}: not available with torch {torch.__version__}; available: auto, {allowed}"
        )
    if name.startswith("cuda:") and int(name[5:]) >= torch.cuda.device_count():
        raise ValueError(f"device={name}: this machine has {torch.cuda.device_count()} GPUs, counted from 0")
    return name


def pick_dtype(name: str, device: str, width: int, token: bool = False) -> str:
    """The precision that `auto` means here: bfloat16 on GPUs with units for it, float16 on older ones; on a
    CPU bfloat16 where it was measured to be faster (see machine.py), float32 elsewhere. A GPU writes text in
    float32: launches take the time there, and half precision adds some (docs/speed.md).

    Args:
        width: n_embd.
        token: for text that is written one token at a time, not for training.
    """
    if name != "auto":
        return name
    if device.startswith("cuda"):
        if token:
            return "float32"
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    pays = device == "cpu" and width >= min(WIDTHS) and fastest().bfloat16_pays(width, token)
    return "bfloat16" if pays else "float32"


def training_kernels(device: str, dtype: str, kernels: str = "auto"):
    """Context of a training pass, forward and backward: on a CPU the kernels that were measured to be faster
    than torch's (see machine.py), or torch's.

    Args:
        kernels: the setting; with `torch` there is no other way than torch's.
    """
    if not _has_a_choice(device, dtype):
        return nullcontext()
    if kernels == "torch":
        return cpu_kernels(DTYPES[dtype], 0)
    found = fastest()
    return cpu_kernels(DTYPES[dtype], found.longest_scores(dtype), dtype == "float32" and found.onednn_pays)


def kernels_told(device: str, dtype: str, kernels: str) -> str:
    """What training_kernels() means here, for the record of a run."""
    return fastest().told(dtype) if _has_a_choice(device, dtype) and kernels == "auto" else "torch"


def _has_a_choice(device: str, dtype: str) -> bool:
    """Whether there are kernels beside torch's."""
    return device == "cpu" and dtype in ("float32", "bfloat16")


def prepare_torch(device: str) -> None:
    """Switches that hold for the whole process."""
    # The gradients of a dying stack are denormal numbers, which a CPU handles a hundred times slower.
    torch.set_flush_denormal(True)
    # RMSNorm of 16-bit numbers with a 32-bit gain: what is asked for, and by one kernel once it is compiled.
    warnings.filterwarnings("ignore", "Mismatch dtype between input and weight")
    if device == "cpu":
        keep_freed_memory()
    if device.startswith("cuda"):  # so float32 is multiplied with 10 of its 23 bits behind the point
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


@contextmanager
def exact_float32() -> Iterator[None]:
    """Context in which a GPU multiplies float32 with all its bits, and not by the TF32 of prepare_torch().
    Threads share it: the last one to leave it ends it."""
    matmul = torch.backends.cuda.matmul
    with _lock:
        _exact.append(_exact[0] if _exact else matmul.allow_tf32)
        if matmul.allow_tf32:
            matmul.allow_tf32 = False
    try:
        yield
    finally:
        with _lock:
            permitted = _exact.pop()
            if permitted and not _exact:
                matmul.allow_tf32 = True


def keep_freed_memory() -> None:
    """Have glibc keep the memory that a step frees: given back to the system, it returns page by page in the
    next step, each page by a fault. Peak memory is the same. What MALLOC_... variables say goes first."""
    said = {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_"} & set(os.environ)
    if said or not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt is not None:
        m_trim_threshold, m_mmap_threshold = -1, -3  # their numbers in malloc.h
        mallopt(m_trim_threshold, 2**31 - 1)
        mallopt(m_mmap_threshold, 32 << 20)  # the largest that it takes


def step_seed(seed: int, step: int, rank: int = 0) -> int:
    """Dropout depends on these alone, not on what was evaluated or resumed before it."""
    name = f"dropout {seed} {step}" + (f" {rank}" if rank else "")
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")


def autocast(device: str, dtype: str):
    """Context in which matrix products run in half precision; weights stay as they are."""
    if dtype in ("float32", "float64"):
        return nullcontext()
    return torch.autocast(device_type=device.split(":")[0], dtype=DTYPES[dtype])


def compiles(setting: str, device: str) -> bool:
    """Whether a model is compiled: with `auto` on a GPU. On a CPU reslab/training/compiling.py decides what
    `auto` is, since it depends on the length of the run."""
    return setting == "True" or (setting == "auto" and device.startswith("cuda"))


def compile_model(model: torch.nn.Module, setting: str, device: str) -> bool:
    """Compile the model in place, a region at a time, or leave it as it is; returns whether it is compiled.

    All blocks share one compiled region, so the time to the first step does not grow with depth. Where a
    wiring computes something else in each layer (all earlier outputs, a constant of the layer) the
    regions are attention and MLP. What runs uncompiled, such as a probe, sees the same modules.

    Each shape gets a graph of its own: an evaluation's last batch is smaller than the others, and torch would
    answer with one dynamic graph for all, that of training included.

    Args:
        setting: True, False, or auto; see compiles().
    """
    if not compiles(setting, device):
        return False
    try:  # torch compiles at the first call, so a small call shows whether a compiler works
        torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(8, device=device))
    except Exception as error:
        reason = first_line(error)
        print(f"compile: no working compiler ({reason}); going on without", file=sys.stderr)
        return False
    # On a CPU a tanh is made of a sigmoid: GELU takes half the time of that by a library's tanh.
    torch._inductor.config.cpp.use_decompose_tanh = True
    # DDP cuts graphs where it sends gradients; a region is a block already, and would only be halved.
    torch._dynamo.config.optimize_ddp = False
    for block in model.blocks:
        alike = block.attn_residual.compile_per_block and block.mlp_residual.compile_per_block
        for region in [block] if alike else [block.attn, block.mlp]:
            region.compile(dynamic=False)
    if device.startswith("cuda"):  # the loss over a large vocabulary is many passes over the logits
        compile_loss(model)
    return True


def compile_loss(model: torch.nn.Module) -> None:
    """Compile the head and the loss: of all tokens where their logits are held, else of one chunk of them."""
    for name in ("whole_loss", "chunk_loss"):
        setattr(model, name, torch.compile(getattr(model, name), dynamic=False))


def uncompiled():
    """Context in which compiled regions run as they were written, so that hooks see everything."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and set_stance would import the compiler
        return nullcontext()
    return torch.compiler.set_stance("force_eager")


def synchronize(device: str) -> None:
    """Wait for queued work, so that a clock read next is true."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
