"""What attention remembers while text is written: the keys and values of the tokens seen so far.

Attention is the only place where tokens meet, so whatever the wiring, a new token goes through the stack
alone and finds the others here. Keys and values belong to places 0, 1, 2, ... of a context, so a context
that is full can't slide by one: every place would change. It hops instead, see `context_start`.
"""

import torch

HOP_SHARE = 4  # a full context drops the oldest quarter


class KVCache:
    """Keys and values of one attention layer, for up to `size` tokens; on a CPU in float32, see attend()."""

    def __init__(self, size: int):
        self.size, self.length = size, 0
        self.keys = self.values = None

    def extend(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add those of new tokens (B, H, T, D); returns those of all tokens so far (B, H, length, D).

        The first call may bring any T, each later one brings T = 1.
        """
        B, H, T, D = k.shape
        if self.keys is None:
            dtype = torch.float32 if k.device.type == "cpu" and k.dtype == torch.bfloat16 else k.dtype
            self.keys, self.values = (x.new_empty(B, H, self.size, D, dtype=dtype) for x in (k, v))
        begin, self.length = self.length, self.length + T
        self.keys[:, :, begin : self.length] = k
        self.values[:, :, begin : self.length] = v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]


def context_start(length: int, block_size: int) -> int:
    """The first token that is seen when the token after `length` others is chosen.

    All are seen while they fit into block_size. Then the context drops its oldest quarter and grows
    again, so it holds between three quarters of block_size and all of it, and most tokens cost one
    step and not a whole pass.
    """
    if length <= block_size:
        return 0
    hop = max(1, block_size // HOP_SHARE)
    return -(-(length - block_size) // hop) * hop
