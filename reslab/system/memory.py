"""What a GPT needs on each of n ranks, worked out: bytes held, bytes sent.

    python -m reslab.system.memory                                          the table of docs/scale.md
    python -m reslab.system.memory --n_layer=48 --n_embd=1600 --ranks=16    one shape

For the default block (wiring `pre`, GELU, no dropout) and AdamW; P parameters, width C, L layers, V tokens
in the vocabulary. What is counted here is measured in tests/system/test_memory.py; what a GPU adds to
it (kernels, fragments, NCCL's buffers) is not.
"""

import math
from dataclasses import dataclass

from reslab.nn.loss import CHUNK, LARGE
from reslab.nn.recompute import segment_size
from reslab.run.arguments import ArgumentParser
from reslab.run.config import run_door

WORD = 4  # bytes: weights, gradients and AdamW's two averages are float32
GB = 1e9


@dataclass(frozen=True)
class Shape:
    """A GPT, and the sequences that go through it at once on a rank."""

    n_layer: int
    n_embd: int
    n_head: int
    vocab_size: int = 50304
    block_size: int = 1024
    batch_size: int = 1
    """Sequences at once on a rank."""

    @property
    def tokens(self) -> int:
        """Tokens at once on a rank."""
        return self.batch_size * self.block_size

    @property
    def block_parameters(self) -> int:
        """Of one layer: 12 C^2 in four matrices, 13 C in biases and norms."""
        return 12 * self.n_embd**2 + 13 * self.n_embd

    @property
    def root_parameters(self) -> int:
        """Outside the layers: embeddings of tokens and places, and the last norm."""
        return (self.vocab_size + self.block_size + 2) * self.n_embd

    @property
    def parameters(self) -> int:
        return self.n_layer * self.block_parameters + self.root_parameters


def state_bytes(shape: Shape, ranks: int, shards: bool) -> float:
    """The most that a rank holds of weights, gradients and AdamW's averages.

    When sharded: its part, and whole at the same time what lies outside the blocks, the block that runs,
    the next one, which is fetched ahead, and the gradients of a block and of the root.
    """
    if not shards:
        return 4 * WORD * shape.parameters
    gathered = 2 * shape.root_parameters + 3 * shape.block_parameters
    return 4 * WORD * shape.parameters / ranks + WORD * gathered


def block_activations(shape: Shape, half: bool) -> int:
    """What a block holds for the backward pass: x, N(x), QKV, attention's output, x, N(x) and 4C twice, with
    the norms' means and deviations and a sum per head. In half precision all but the stream takes
    2 bytes, and the cast matrices are held too."""
    small = 2 * 2 * WORD + WORD * shape.n_head
    if not half:
        return shape.tokens * (16 * WORD * shape.n_embd + small)
    stream, narrow = 2 * WORD * shape.n_embd, 2 * 14 * shape.n_embd
    return shape.tokens * (stream + narrow + small) + 2 * 12 * shape.n_embd**2


def activation_bytes(shape: Shape, half: bool, again: bool) -> float:
    """What all blocks hold before the backward pass begins.

    Args:
        again: --activation_checkpointing: a stream per segment, and one segment in full.
    """
    if not again:
        return shape.n_layer * block_activations(shape, half)
    size = segment_size(shape.n_layer)
    streams = math.ceil(shape.n_layer / size) * WORD * shape.n_embd * shape.tokens
    return streams + size * block_activations(shape, half)


def logit_bytes(shape: Shape) -> int:
    """Logits and their gradient in float32, or a chunk of them where they would be large."""
    logits = WORD * shape.vocab_size * shape.tokens
    return 2 * (logits if logits <= LARGE["cuda"] else CHUNK)


def sent_bytes(shape: Shape, ranks: int, shards: bool) -> float:
    """What a rank sends, and receives: per update with DDP (one all-reduce, which a ring does in two
    rounds), per batch with FSDP (parameters gathered for forward and backward, gradients scattered)."""
    rounds = 3 if shards else 2
    return rounds * WORD * shape.parameters * (ranks - 1) / ranks


SHAPES = {
    "GPT-2 124M": Shape(12, 768, 12),
    "GPT-2 350M": Shape(24, 1024, 16),
    "GPT-2 1.6B": Shape(48, 1600, 25),
    "7B": Shape(32, 4096, 32),
    "48 layers": Shape(48, 384, 6),
    "1000 thin layers": Shape(1000, 96, 1),
    "1000 layers": Shape(1000, 768, 12),
}


def table(shapes: dict[str, Shape], ranks: int) -> str:
    """Markdown: a row per shape, in bfloat16."""
    head = ["", "layers x width", "parameters", "state DDP", f"state FSDP/{ranks}", "a block's message"]
    head += ["activations", "recomputed", "sent DDP", "sent FSDP"]
    lines = [head, ["---"] * len(head)]
    for name, shape in shapes.items():
        cells = [name, f"{shape.n_layer} x {shape.n_embd}", f"{shape.parameters / 1e6:,.0f}M"]
        cells += [f"{state_bytes(shape, ranks, shards) / GB:.1f} GB" for shards in (False, True)]
        cells += [f"{WORD * shape.block_parameters / 1e6:.1f} MB"]
        cells += [f"{activation_bytes(shape, True, again) / GB:.2f} GB" for again in (False, True)]
        cells += [f"{sent_bytes(shape, ranks, shards) / GB:.1f} GB" for shards in (False, True)]
        lines.append(cells)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def main(argv: list[str]) -> None:
    parser = ArgumentParser(__doc__)
    sizes = ("n_layer", "n_embd", "n_head", "vocab_size", "block_size", "batch_size")
    for key in sizes:
        parser.add_argument(f"--{key}", type=int, metavar="N")
    parser.add_argument("--ranks", type=int, default=8, metavar="N", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    given = {key: value for key in sizes if (value := getattr(args, key)) is not None}
    if args.ranks < 1 or any(value < 1 for value in given.values()):
        parser.error("all numbers must be at least 1")
    shapes = SHAPES
    if given:
        shapes = {"": Shape(**{"n_layer": 12, "n_embd": 768, "n_head": 12} | given)}
    print(table(shapes, args.ranks))


if __name__ == "__main__":
    run_door(main)
