"""The wirings: how a block joins its stream x with what its branch F computes.

Every sublayer of the decoder (attention, then MLP) is a branch F. A wiring decides what the
stream becomes once the branch has spoken, and that one line is all that this lab varies:

    pre       x + F(N(x))          the skip of GPT-2: the stream itself is never touched
    none      F(N(x))              the same block, its skip stripped
    post      N(x + F(x))          the order of the original Transformer
    scaled    lambda x + F(N(x))   a dose of skip: 0 is none, 1 is pre
    rezero    x + a F(x)           a starts at 0, so the whole stack starts as the identity

N is the layer norm that the wiring owns. A wiring is one class; add it to WIRINGS at the end of
this file and the command line, the help, the tests and the tables know it.
"""

import math

import torch
from torch import nn


class Residual(nn.Module):
    """What all wirings share: one branch of one block in, one stream out.

    The model calls, in this order and for any wiring:

        stream = first.open(x)                  # embeddings x (B, T, C) -> stream
        stream = residual(stream, branch)       # once per sublayer; branch: (B, T, C) -> (B, T, C)
        x = last.close(stream)                  # stream -> (B, T, C), read by the head

    Most wirings carry one tensor, so open and close return what they get; a wiring that carries
    several (all earlier outputs, parallel streams) overrides both.

    Args:
        config: has n_embd, n_layer, bias and residual_scale.
        depth: position of this sublayer counted from the input, 0 .. 2 n_layer - 1.
    """

    has_identity = True  # F = 0 gives y = x, so a silent block can be added anywhere
    final_norm = True  # the head reads a normalised stream

    def __init__(self, config, depth: int):
        super().__init__()
        self.norm = nn.LayerNorm(config.n_embd, bias=config.bias)

    def open(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor, branch: nn.Module) -> torch.Tensor:
        raise NotImplementedError

    def close(self, stream: torch.Tensor) -> torch.Tensor:
        return stream

    @staticmethod
    def out_std(config, std: float) -> float:
        """Standard deviation for the branch's output projection; other matrices get `std`."""
        return std


class PreNorm(Residual):
    """y = x + F(N(x)), pre-norm (Radford et al. 2019, GPT-2; Xiong et al. 2020, arXiv 2002.04745).

    dy/dx = I + dF/dx. Over L blocks the product of (I + J_k) contains the term I, a path that no
    weight touches, so the gradient of the last block reaches the first one whole. Each of the 2L
    branches adds variance to the stream; GPT-2 starts the output projections at std / sqrt(2L) so
    that their sum does not grow with depth.
    """

    def forward(self, x, branch):
        return x + branch(self.norm(x))

    @staticmethod
    def out_std(config, std):
        return std / math.sqrt(2 * config.n_layer)


class Plain(Residual):
    """y = F(N(x)): the block of `pre` with its skip stripped, and nothing else changed.

    dy/dx = dF/dx. The gradient at layer 0 is the product of all J_k: every path goes through every
    branch. The output projections start at the full std: GPT-2's 1 / sqrt(2L) belongs to a sum of
    branches, and here it would shrink the only signal there is.
    """

    has_identity = False

    def forward(self, x, branch):
        return branch(self.norm(x))


class PostNorm(Residual):
    """y = N(x + F(x)), post-norm (Vaswani et al. 2017, arXiv 1706.03762).

    dy/dx = J_N (I + dF/dx): there is a skip, but a norm stands on it, and every block multiplies the
    gradient by that norm's Jacobian. Trains shallow, and deeper with a warmup (Xiong et al. 2020).
    Its last block ends in a norm, so the head adds none.
    """

    has_identity = False
    final_norm = False

    def forward(self, x, branch):
        return self.norm(x + branch(x))


class Scaled(PreNorm):
    """y = lambda x + F(N(x)), lambda = residual_scale: how much skip is enough?

    dy/dx = lambda I + dF/dx, so the clean path carries lambda^(2L): at lambda = 0.9 and 48 blocks
    that is 4e-5. lambda = 1 is `pre`, init included; lambda = 0 is `none` with the init of `pre`.
    """

    has_identity = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = config.residual_scale

    def forward(self, x, branch):
        return self.scale * x + branch(self.norm(x))


class ReZero(Residual):
    """y = x + a F(x), a = 0 at the start, no norm (Bachlechner et al. 2020, arXiv 2003.04887).

    dy/dx = I + a dF/dx = I at init, whatever the depth: loss and gradient of a fresh stack do not
    depend on L. Each sublayer has its own a (the paper lets the two sublayers of a block share one).
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        del self.norm
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x, branch):
        return x + self.alpha * branch(x)


WIRINGS = {
    "pre": PreNorm,
    "none": Plain,
    "post": PostNorm,
    "scaled": Scaled,
    "rezero": ReZero,
}
