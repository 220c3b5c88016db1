"""How much memory a run needs at least, what the machine has, and what to lower when it was not enough."""

import os
from contextlib import contextmanager
from pathlib import Path

LAYER_OBJECTS = 50_000  # bytes of Python around the tensors of one block
WEIGHT = 4  # bytes per parameter, in float32; a model begins in main memory wherever it is trained
TRAINED = 2 * WEIGHT  # with its gradient, whatever the optimizer keeps
# What is known of an optimizer: bytes per parameter of embeddings and of blocks. AdamW keeps two moments;
# Muon one for the matrices of blocks.
MOMENTS = {"adamw": (TRAINED + 8, TRAINED + 8), "muon": (TRAINED + 8, TRAINED + 4)}


def machine_bytes() -> int | None:
    """The memory of this machine, or of the container; None where it can't be asked."""
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # Windows
        return None
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text(encoding="ascii").strip() if limit.exists() else ""
    return min(physical, int(text)) if text.isdecimal() else physical


def faults(shape, sequences: dict[str, int], optimizer: str | None) -> list[str]:
    """A line when a model can't fit into main memory with its batches, and with what trains it there.

    Args:
        shape: a GPTConfig.
        sequences: setting -> sequences that are held at once because of it.
        optimizer: None where gradients and moments are in a GPU's own memory, or nothing is trained.
    """
    has = machine_bytes()
    counts = (shape.n_layer, shape.n_embd, shape.block_size, *sequences.values())
    if has is None or min(counts) < 1:
        return []
    each, of_block = MOMENTS.get(optimizer, (TRAINED, TRAINED)) if optimizer else (WEIGHT, WEIGHT)
    inside = 2 * (shape.n_head + shape.kv_heads) * shape.head_width + (2 + shape.gated) * shape.mlp_width
    model = shape.n_layer * (of_block * inside * shape.n_embd + LAYER_OBJECTS)
    model += each * (shape.block_size + shape.vocab_size) * shape.n_embd
    given = ["n_layer", "n_embd", "vocab_size", *(["n_head", "head_dim"] if shape.head_dim else [])]
    given += ["n_inner"] if shape.n_inner else []
    parts = {", ".join(f"{key}={getattr(shape, key)}" for key in given): model}
    for key, count in sequences.items():
        parts[f"{key}={count}"] = 16 * count * shape.block_size
    largest = max(parts, key=parts.get)
    if (needed := sum(parts.values())) <= has:
        return []
    return [
        f"{largest}, block_size={shape.block_size}: needs at least {_gigabytes(needed)} of memory, and this "
        f"machine has {_gigabytes(has)}"
    ]


@contextmanager
def remedy(advice: str):
    """Inside, when memory runs out, advice() gives this advice, and not a smaller batch."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if ran_out(error):
            error.add_note(advice)
        raise


def ran_out(error: BaseException) -> bool:
    """Whether an error says that the memory of a CPU or GPU is full."""
    signs = ("out of memory", "can't allocate memory", "not enough memory", "Unable to allocate")
    return isinstance(error, MemoryError) or any(sign in str(error) for sign in signs)


def advice(error: BaseException, batch_size: int, accumulation: int) -> str:
    """What to lower: what remedy() said, or half the batch for the same updates, or the model."""
    if notes := getattr(error, "__notes__", []):
        return notes[0]
    if batch_size == 1:
        return "lower --block_size, --n_embd or --n_layer (a batch is one sequence already)"
    total = batch_size * accumulation
    smaller = next(size for size in range(batch_size // 2, 0, -1) if total % size == 0)
    settings = f"--batch_size={smaller} --gradient_accumulation_steps={total // smaller}"
    return f"the same updates in half the memory: {settings}"


def _gigabytes(number: int) -> str:
    return f"{number / 1e9:,.1f} GB"
