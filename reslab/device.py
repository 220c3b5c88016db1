"""Where and how the arithmetic runs: device, precision, compilation, chosen once per run."""

import sys
from contextlib import nullcontext

import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float64": torch.float64,
}


def pick_device(name: str) -> str:
    """The device that `auto` means here: cuda, else mps, else cpu.

    Raises:
        ValueError: a device that this machine, or this build of torch, does not have.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return next(device for device, there in available.items() if there)
    if not available.get(name.split(":")[0], False):
        there = ", ".join(device for device, yes in available.items() if yes)
        raise ValueError(
            f"device={name}: not available with torch {torch.__version__}; available: auto, {there}"
        )
    return name


def pick_dtype(name: str, device: str) -> str:
    """The precision that `auto` means here: bfloat16 on GPUs with units for it, float16 on older ones,
    float32 elsewhere. A CPU may know bfloat16, but at the widths it can train, casting costs more."""
    if name != "auto":
        return name
    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"
    return "float32"


def prepare_torch(device: str) -> None:
    """Switches that hold for the whole process."""
    # The gradients of a dying stack are denormal numbers, which a CPU handles a hundred times slower.
    torch.set_flush_denormal(True)
    if device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True


def autocast(device: str, dtype: str):
    """Context in which matrix products run in half precision; weights stay as they are."""
    if dtype in ("float32", "float64"):
        return nullcontext()
    return torch.autocast(device_type=device.split(":")[0], dtype=DTYPES[dtype])


def compile_model(model: torch.nn.Module, wanted: str, device: str) -> torch.nn.Module:
    """The compiled model, or the model itself.

    Args:
        wanted: True, False, or auto: on a GPU yes; on a CPU no, since compiling outlasts short runs.
    """
    if wanted == "False" or (wanted == "auto" and not device.startswith("cuda")):
        return model
    try:  # torch compiles at the first call, so a small call shows whether a compiler works
        torch.compile(lambda x: torch.sin(x) + 1)(torch.ones(8, device=device))
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        print(f"compile: no working compiler ({reason}); going on without", file=sys.stderr)
        return model
    return torch.compile(model)


def synchronize(device: str) -> None:
    """Wait for queued work, so that a clock read next is true."""
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)
    elif device == "mps":
        torch.mps.synchronize()
