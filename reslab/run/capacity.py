"""How much memory a run needs at least, what the machine has, and what to lower when it was not enough."""

import os
from pathlib import Path

LAYER_OBJECTS = 50_000  # bytes of Python around the tensors of one block
ADAM = 16  # bytes per parameter: weight, gradient and two moments in float32


def machine_bytes() -> int | None:
    """The memory of this machine, or of the container; None where it can't be asked."""
    try:
        found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else ""
    return min(found, int(text)) if text.isdecimal() else found


def faults(shape, windows: dict[str, int]) -> list[str]:
    """A line when a run can't fit, whatever the device: its model and its batches begin in main memory.

    Args:
        shape: a GPTConfig.
        windows: setting -> windows that are held at once because of it.
    """
    has = machine_bytes()
    counts = (shape.n_layer, shape.n_embd, shape.block_size, *windows.values())
    if has is None or min(counts) < 1:
        return []
    model = shape.n_layer * (10 * ADAM * shape.n_embd**2 + LAYER_OBJECTS)
    model += ADAM * (shape.block_size + shape.vocab_size) * shape.n_embd
    parts = {f"n_layer={shape.n_layer}, n_embd={shape.n_embd}, vocab_size={shape.vocab_size}": model}
    for key, count in windows.items():
        parts[f"{key}={count}"] = 16 * count * shape.block_size
    largest = max(parts, key=parts.get)
    if (needed := sum(parts.values())) <= has:
        return []
    return [
        f"{largest}, block_size={shape.block_size}: needs at least {_shown(needed)} of memory, and this "
        f"machine has {_shown(has)}"
    ]


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the memory of a CPU or GPU is full."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def advice(batch_size: int, accumulation: int) -> str:
    """What to lower, and by how much: the same updates from a batch of half the size, or a smaller model."""
    if batch_size == 1:
        return "lower --block_size, --n_embd or --n_layer (a batch is one window already)"
    total = batch_size * accumulation
    smaller = next(size for size in range(batch_size // 2, 0, -1) if total % size == 0)
    words = f"--batch_size={smaller} --gradient_accumulation_steps={total // smaller}"
    return f"the same updates in half the memory: {words}"


def _shown(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
