"""Activation checkpointing: blocks that are computed again in the backward pass, so that less is held."""

import math

from torch.utils.checkpoint import checkpoint

HEAVY = 16  # what a block holds for its backward pass, in streams (B, T, C), roughly


def run_checkpointed(blocks, stream):
    """Run the blocks so that only every k-th stream is kept; what is between is computed again.

    The backward pass holds L / k streams, and for one segment of k blocks at a time what those hold;
    k = sqrt(L / HEAVY) makes the sum smallest (Chen et al. 2016, arXiv 1604.06174). Gradients are the
    same bit for bit.
    """
    size = segment_size(len(blocks))
    for begin in range(0, len(blocks), size):
        stream = checkpoint(_run, blocks[begin : begin + size], stream, use_reentrant=False)
    return stream


def segment_size(blocks: int) -> int:
    """How many blocks of a stack are computed again at once."""
    return max(1, round(math.sqrt(blocks / HEAVY)))


def _run(blocks, stream):
    for block in blocks:
        stream = block(stream)
    return stream
