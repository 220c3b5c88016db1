"""The wirings: how a block joins its stream x with what its branch F computes.

Every sublayer of the decoder (attention, then MLP) is a branch F. A wiring decides what the
stream becomes once the branch is computed, and that one line is all that this lab varies:

    pre       x + F(N(x))          the skip of GPT-2: the stream itself is never touched
    none      F(N(x))              the same block, its skip stripped
    ...       and the repairs and rivals that were published since

N is the norm that the wiring owns. A wiring is one class, and the class says all that others ask about it
(see Residual); add it to WIRINGS at the end of this file and the command line, the help, the tests, the
tables and the page know it.
"""

import math

import torch
from torch import nn

from reslab.nn.init import STD, orthogonal
from reslab.nn.layers import make_norm
from reslab.run.fields import word_and_count


def rms_one(x: torch.Tensor) -> torch.Tensor:
    """x (B, T, C) with each token's rms at 1; no gain, so nothing is learned here."""
    return nn.functional.rms_norm(x, x.shape[-1:])


def xavier(branch: nn.Module) -> None:
    """Give a branch's matrices, drawn with std 0.02, the variance 2 / (inputs + outputs); Q, K, V apart."""
    for matrix in (*branch.input_matrices(), branch.c_proj.weight):
        matrix.mul_(math.sqrt(2 / sum(matrix.shape)) / STD)


def no_autocast(x: torch.Tensor) -> torch.autocast:
    """A context in which products of matrices keep the precision of what they are given.

    A gate or a mixing matrix belongs here: bfloat16 has 8 bits, so 1 - g loses what is below 1/256 of it,
    once in every sublayer.
    """
    return torch.autocast(x.device.type, enabled=False)


class Stack(nn.Module):
    """What belongs to the whole stack and to no block: how the stream is opened and how it is closed.

        stream = stack.open(x)                  # embeddings x (B, T, C) -> stream
        stream = residual(stream, branch)       # once per sublayer; branch: (B, T, C) -> (B, T, C)
        x = stack.close(stream)                 # stream -> (B, T, C), read by the head

    The wiring of the first sublayer says how it is opened, that of the last one how it is closed. Parameters
    that the whole stack shares are here, since those of a block are read inside it alone.
    """

    def __init__(self, config, first: type["Residual"], last: type["Residual"]):
        super().__init__()
        self.first, self.last = first, last
        self.final_norm = last.final_norm

    def open(self, x: torch.Tensor):
        return self.first.open(x)

    def close(self, stream) -> torch.Tensor:
        return self.last.read(stream)


class Residual(nn.Module):
    """What all wirings share: one branch of one block in, one stream out.

    A wiring is one line of algebra, `forward`, and its class says what others ask of it. The branch reads
    what `self.norm` gives, which is nn.Identity() where there is no norm: measurements find the branch's
    input there. `python -m reslab.check NAME` measures every answer and says which one to change.

    Args:
        config: has n_embd, n_layer, bias, norm, norm_eps, residual_scale and skip_blocks.
        depth: position of this sublayer counted from the input, 0 .. 2 n_layer - 1.
    """

    equation = ""
    """y, or what else a sublayer computes, in one line of plain text."""
    skip: float | None = 1.0
    """The weight of x in y, by which a gradient is multiplied on its way past the branch; None where it is no
    constant, or where more than x is carried."""
    single_tensor = True
    """The stream is x (B, T, C) alone."""
    stream_grows = False
    """Every sublayer or block adds an entry to the stream, so none can be left out."""
    has_identity = True
    """F = 0 gives y = x, bitwise, with the parameters that the wiring starts with."""
    depth_independent = True
    """forward has no constant and no shape that depends on the position or the number of the layers. A wiring
    that has_identity as well can grow: a silent block can be inserted anywhere."""
    compile_per_block = True
    """forward computes the same function of its tensors in every layer, so one compiled block serves all."""
    final_norm = True
    """The head reads N(x); not where a stack of this wiring ends in a norm."""
    mixes_identity = False
    """Attention starts as a I + b A with a = 1, b = 0."""
    branch_learns = True
    """The branch gets a gradient; only a control goes without."""
    version = 1
    """Raised when the same weights come to compute something else: older checkpoints are refused then."""
    decays: tuple[str, ...] = ()
    """Names of its own parameters that weight decay shrinks, beside the weights of linear layers."""
    same_every_step = True
    """forward is the same function of its tensors in every update: it counts nothing and draws nothing in
    Python, so a GPU may record an update and replay it. (What is drawn on x.device is drawn anew.)"""

    def __init__(self, config, depth: int):
        super().__init__()
        self.norm = make_norm(config)

    def facts(self) -> dict:
        """How this sublayer is joined to the stream, for the record of a run."""
        names = ("equation", "skip", "has_identity", "version")
        return {name: getattr(self, name) for name in names}

    def forward(self, x: torch.Tensor, branch: nn.Module) -> torch.Tensor:
        raise NotImplementedError

    def init(self, branch: nn.Module) -> None:
        """Change the starting weights of the branch (all matrices normal, std 0.02) and one's own."""

    def silence(self, branch: nn.Module) -> None:
        """Make what the branch adds 0, by one zero and not two, since two would never learn to be another."""
        branch.c_proj.weight.zero_()
        if branch.c_proj.bias is not None:
            branch.c_proj.bias.zero_()

    @staticmethod
    def open(x: torch.Tensor):
        """Embeddings x (B, T, C) -> stream."""
        return x

    @staticmethod
    def running(stream) -> torch.Tensor:
        """The tensor of the stream that the next sublayer builds on, (B, T, C) or (n, B, T, C)."""
        return stream

    @classmethod
    def read(cls, stream) -> torch.Tensor:
        """The stream as one tensor (B, T, C): what is measured, and what the head gets at the end."""
        return cls.running(stream)

    @classmethod
    def make_stack(cls, config, first: type["Residual"]) -> Stack:
        """The Stack of a model whose last sublayer has this wiring, and whose first one has `first`."""
        return Stack(config, first, cls)

    @classmethod
    def fits(cls, other: type["Residual"]) -> bool:
        """Whether sublayers of both can stand in one block."""
        return cls is other or (cls.single_tensor and other.single_tensor)

    @classmethod
    def can_grow(cls) -> bool:
        """Whether silent blocks can be inserted into a trained stack without a change of what it computes."""
        return cls.has_identity and cls.depth_independent


class PreNorm(Residual):
    """Pre-norm (Radford et al. 2019, GPT-2; Xiong et al. 2020, arXiv 2002.04745).

    dy/dx = I + dF/dx. Over L blocks the product of (I + J_k), multiplied out, is a sum over all paths, and
    one of them, I, passes no branch. The others may outgrow it, or cancel it (F = -x gives 0); while branches
    are small beside the stream, most of the gradient has passed few of them. Each of the 2L branches adds
    variance to the stream; GPT-2 starts the output projections at std / sqrt(2L) so that their sum does not
    grow with depth.
    """

    equation = "y = x + F(N(x))"
    skip = 1.0

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.branches = 2 * config.n_layer

    def forward(self, x, branch):
        return x + branch(self.norm(x))

    def init(self, branch):
        branch.c_proj.weight.mul_(1 / math.sqrt(self.branches))


class NoSkip(Residual):
    """The block of `pre`, its skip stripped.

    dy/dx = dF/dx. The gradient at layer 0 is the product of all J_k: every path goes through every
    branch. The output projections start at the full std: GPT-2's 1 / sqrt(2L) belongs to a sum of
    branches, and here it would shrink the only signal there is. So two things differ from `pre`, the skip
    and this start; with init="unscaled" on both the skip alone does.
    """

    equation = "y = F(N(x))"

    skip = 0.0
    has_identity = False

    def forward(self, x, branch):
        return branch(self.norm(x))


class PostNorm(Residual):
    """Post-norm (Vaswani et al. 2017, arXiv 1706.03762).

    dy/dx = J_N (I + dF/dx): there is a skip, but a norm stands on it, and every block multiplies the
    gradient by that norm's Jacobian. Trains shallow, and deeper with a warmup (Xiong et al. 2020).
    Its last block ends in a norm, so the head adds none. Embeddings enter at rms 1, where the paper
    multiplies them by sqrt(C): at rms 0.03 the first block would hear its branch and hardly its input.
    """

    equation = "y = N(x + F(x))"

    skip = None  # a norm stands on it
    has_identity = False
    final_norm = False

    @staticmethod
    def open(x):
        return rms_one(x)

    def forward(self, x, branch):
        return self.norm(x + branch(x))


class Scaled(PreNorm):
    """How much skip is enough? lambda weighs it.

    dy/dx = lambda I + dF/dx, so the clean path carries lambda^(2L): at lambda = 0.9 and 48 blocks
    that is 4e-5. lambda = 1 is `pre`, init included; lambda = 0 is `none` with the init of `pre`.
    """

    equation = "y = lambda x + F(N(x)), lambda = residual_scale"

    has_identity = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.skip = config.residual_scale

    def forward(self, x, branch):
        return self.skip * x + branch(self.norm(x))


class PartialSkips(PreNorm):
    """Which skips does a stack need? Some blocks are those of `pre`, the others those of `none`.

    dy/dx = I + dF/dx in a block with skips and dF/dx in one without, so a gradient goes past the former and
    through all of the latter. Block 1 is the first: every:2 are blocks 2, 4, 6, .., and last:6 the six before
    the head. Each block starts as its kind does.
    """

    equation = "y = x + F(N(x)) in the blocks of skip_blocks, y = F(N(x)) in the others"
    has_identity = False
    depth_independent = False  # which blocks have skips depends on their number
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        which, n = word_and_count(config.skip_blocks, "every", "first", "last")
        number = depth // 2 + 1
        has_skip = {"every": number % n == 0, "first": number <= n, "last": number > config.n_layer - n}
        self.skip = float(has_skip[which])

    def forward(self, x, branch):
        y = branch(self.norm(x))
        return x + y if self.skip else y

    def init(self, branch):
        if self.skip:
            super().init(branch)


class ReZero(Residual):
    """a = 0 at the start, no norm in a block (Bachlechner et al. 2020, arXiv 2003.04887).

    dy/dx = I + a dF/dx = I at init, whatever the depth: loss and gradient of a fresh stack do not
    depend on L. Branches read x itself, so embeddings enter at rms 1 and matrices start with the variance of
    Xavier, much as in the authors' code (there Q, K and V at half of it, embeddings times sqrt(C)). Each
    sublayer has its own a (the paper lets the two of a block share one). The norm before the head is kept.
    """

    equation = "y = x + a F(x)"
    skip = 1.0
    version = 2  # 1 left embeddings as they are

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm = nn.Identity()
        self.alpha = nn.Parameter(torch.zeros(()))

    @staticmethod
    def open(x):
        return rms_one(x)

    def forward(self, x, branch):
        return x + self.alpha * branch(self.norm(x))

    def init(self, branch):
        xavier(branch)

    def silence(self, branch):
        self.alpha.zero_()


class Sandwich(Residual):
    """A norm on either side of the branch (Kim et al. 2025, Peri-LN, arXiv 2502.02732).

    dy/dx = I + J_N2 dF/dx: the identity path is that of `pre`, and no branch can outgrow the stream. Every
    branch starts at rms 1, so embeddings enter at rms 1 too, as in the paper (here without a gain).
    """

    equation = "y = x + N2(F(N1(x)))"
    skip = 1.0

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm_out = make_norm(config)

    @staticmethod
    def open(x):
        return rms_one(x)

    def forward(self, x, branch):
        return x + self.norm_out(branch(self.norm(x)))

    def silence(self, branch):
        super().silence(branch)
        if getattr(self.norm_out, "bias", None) is not None:  # N2(0) is its bias
            self.norm_out.bias.zero_()


class ReorderedNorm(Sandwich):
    """The branch's output is normalised and its input is not (Team OLMo 2024, OLMo 2, arXiv 2501.00656).

    dy/dx = I + J_N dF/dx: the identity path is that of `pre`, and no branch can outgrow the stream.
    Embeddings enter at rms 1 as in `sandwich`; OLMo 2 leaves them at std 0.02, and beside branches of rms 1
    tokens would be lost. It normalises queries and keys too, all heads of a token at once; --qk_norm does it
    head by head.
    """

    equation = "y = x + N(F(x))"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm = nn.Identity()


class LayerScale(Residual):
    """g starts near 0 (Touvron et al. 2021, CaiT, arXiv 2103.17239).

    dy/dx = I + diag(g) dF/dx, near I at the start: each channel of a branch is faded in. The paper starts
    g at 0.1 up to 18 blocks, at 1e-5 up to 24, and at 1e-6 in deeper stacks (in its code one narrow model of
    36 blocks has 1e-5).
    """

    equation = "y = x + g * F(N(x)), g a vector"
    skip = 1.0

    def __init__(self, config, depth):
        super().__init__(config, depth)
        start = 0.1 if config.n_layer <= 18 else 1e-5 if config.n_layer <= 24 else 1e-6
        self.gain = nn.Parameter(torch.full((config.n_embd,), start))

    def forward(self, x, branch):
        return x + self.gain * branch(self.norm(x))


class DeepNorm(PostNorm):
    """Post-norm with a heavier skip (Wang et al. 2022, DeepNet, arXiv 2203.00555).

    dy/dx = J_N (a I + dF/dx): a norm stands on the skip as in `post`, but the skip outweighs the branch,
    whose V, O, W1 and W2 start divided by (8M)^(1/4), so a deep stack changes slowly at first. Matrices start
    with the variance of Xavier, 2 / (inputs + outputs), as the paper's do; in the authors' code Q, K and V
    start at half of that. Embeddings enter at rms 1, as in `post`.
    """

    equation = "y = N(a x + F(x)), a = (2M)^(1/4) for M layers"
    depth_independent = False  # a changes with the number of layers

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.alpha = (2 * config.n_layer) ** 0.25
        self.beta = (8 * config.n_layer) ** -0.25

    def forward(self, x, branch):
        return self.norm(self.alpha * x + branch(x))

    def init(self, branch):
        xavier(branch)
        branch.c_proj.weight.mul_(self.beta)
        branch.input_matrices()[-1].mul_(self.beta)  # V or W1, but not the gate: a product would shrink twice


class Keel(PostNorm):
    """Post-norm with a skip of weight 2L (Chen & Wei 2026, Keel, arXiv 2601.19895).

    dy/dx = J_N2 (a I + dF/dx). With branches of rms 1, N2 divides by sqrt(a^2 + 1), so a sublayer hands on
    a / sqrt(a^2 + 1) of what takes the clean path, and all 2L of them exp(-1 / (4L)), nearly all, at any
    depth. Code that follows the paper leaves the first sublayers as in `pre` (the authors' was not found);
    here embeddings enter at rms 1, as in `post`.
    """

    equation = "y = N2(a x + F(N1(x))), a = 2L for L blocks"
    depth_independent = False  # a changes with the number of layers

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm_out = make_norm(config)
        self.alpha = 2 * config.n_layer

    def forward(self, x, branch):
        return self.norm_out(self.alpha * x + branch(self.norm(x)))


class ResiDual(PostNorm):
    """Beside a post-norm stream x the plain sum d of all branches (Xie et al. 2023, arXiv 2304.14802).

    dd'/dd = I, so each branch gets the gradient of the last norm whole, as in `pre`; what it reads is that of
    `post`. Embeddings enter both at rms 1. Carries (x, d).
    """

    equation = "x' = N(x + F(x)), d' = d + F(x), the head reads x + N(d)"
    single_tensor = False

    @staticmethod
    def open(x):
        x = rms_one(x)
        return x, x

    def forward(self, stream, branch):
        x, total = stream
        added = branch(x)
        return self.norm(x + added), total + added

    @staticmethod
    def running(stream):
        return stream[0]

    @classmethod
    def make_stack(cls, config, first):
        return DualStack(config, first, cls)


class DualStack(Stack):
    """Closes a stack of ResiDual: the sum of all branches is normalised and added."""

    def __init__(self, config, first, last):
        super().__init__(config, first, last)
        self.norm = make_norm(config)

    def close(self, stream):
        x, total = stream
        return x + self.norm(total)


class DepthScaled(Residual):
    """Each branch reads less the deeper it is (Sun et al. 2025, LayerNorm Scaling, arXiv 2502.05795).

    dy/dx = I + dF/dx with branches that grow quieter with depth, so the stream's variance grows slower
    and deep blocks stay useful. Used instead of GPT-2's 1 / sqrt(2L), not with it.
    """

    equation = "y = x + F(N(x) / sqrt(l)) in block l = 1, 2, ..."
    skip = 1.0
    depth_independent = False  # an inserted block would change l of those behind it
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = (depth // 2 + 1) ** -0.5

    def forward(self, x, branch):
        return x + branch(self.norm(x) * self.scale)


class CompleteP(Residual):
    """Branches divided by the depth (Dey et al. 2025, CompleteP, arXiv 2505.01618; base depth 2).

    dy/dx = I + J_F / m: the sum over all branches stays of order 1 at any depth, so the best learning
    rate of a shallow model carries over. Its rule for Adam's eps (divided by m) is a flag: --adam_eps.
    """

    equation = "y = x + F(N(x)) / m, m = L / 2"
    skip = 1.0
    depth_independent = False  # m changes with the number of layers

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = 2 / config.n_layer

    def forward(self, x, branch):
        return x + self.scale * branch(self.norm(x))


class DepthMuP(PreNorm):
    """Depth-muP (Yang et al. 2023, arXiv 2310.02244; Bordelon et al. 2023, arXiv 2309.16620).

    dy/dx = I + sqrt(B / L) dF/dx, and exactly I at the start, where every output projection is 0. A sum of
    L independent branches of size 1 / sqrt(L) stays of order 1 at any depth. B, the zeros and embeddings that
    enter at rms 1, the scale that branches are measured by, are choices made here. Under Adam the first paper
    divides the rate inside the blocks by sqrt(L) as well: that is a setting, --block_lr. It is optimal there
    for blocks of one layer; for deeper ones, as in Transformers, the paper finds limits.
    """

    equation = "y = x + sqrt(B / L) F(N(x)), B = 4"
    depth_independent = False  # the factor changes with the number of layers
    base = 4  # B: the depth at which a branch has weight 1

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = math.sqrt(self.base / config.n_layer)

    @staticmethod
    def open(x):
        return rms_one(x)

    def forward(self, x, branch):
        return x + self.scale * branch(self.norm(x))

    def init(self, branch):
        branch.c_proj.weight.zero_()


class StochasticDepth(PreNorm):
    """Branches are left out at random while training (Huang et al. 2016, arXiv 1603.09382).

    dy/dx = I + b dF/dx, and I where b = 0: a batch sees about three quarters of the branches. Deeper ones are
    left out more often, those of the last block half of the time, as in the paper. Attention and MLP draw
    apart, and each sequence for itself (the paper drops whole blocks, for a batch), from the generator of
    dropout, so b depends on seed and step alone. When the model is not training, b is its mean p. Nothing is
    saved: the branch is computed and not used.
    """

    equation = "y = x + b F(N(x)), b = 1 with probability p = 1 - l / (2L), else 0, in block l = 1 .. L"
    depth_independent = False  # p changes with l and L
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.p = 1 - (depth // 2 + 1) / (2 * config.n_layer)

    def forward(self, x, branch):
        kept = torch.rand(len(x), 1, 1, device=x.device) < self.p if self.training else self.p
        return x + kept * branch(self.norm(x))


class Parallel(PreNorm):
    """Attention and MLP side by side (Black et al. 2022, GPT-NeoX, arXiv 2204.06745; first in GPT-J).

    dy/dx = I + dF1/dx + dF2/dx for a block: the identity path is that of `pre`, and a path passes at most one
    of its branches. Each has a norm of its own, as in GPT-NeoX; GPT-J and PaLM share one. Carries
    (x, x at the start of the block).
    """

    equation = "y = x + F1(N1(x)) + F2(N2(x)), attention F1 and MLP F2"
    skip = None
    single_tensor = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.opens_block = depth % 2 == 0

    @staticmethod
    def open(x):
        return x, x

    def forward(self, stream, branch):
        x, start = stream
        if self.opens_block:
            start = x
        return x + branch(self.norm(start)), start

    @staticmethod
    def running(stream):
        return stream[0]


class BlockSkip(Parallel):
    """One skip around two sublayers, as in ResNet (He et al. 2015, arXiv 1512.03385).

    dy/dx = I + J_F2 J_F1 for a block: the identity path is that of `pre`, but no path passes attention alone
    or the MLP alone, and an MLP reads what attention mixed and never the token itself. L branches are summed,
    so the MLP's output starts divided by sqrt(L). Carries (F1 or y, x at the start of the block).
    """

    equation = "y = x + F2(N2(F1(N1(x)))), attention F1 and MLP F2"
    has_identity = False  # inside of a block

    def forward(self, stream, branch):
        x, start = stream
        if self.opens_block:
            return branch(self.norm(x)), x
        return start + branch(self.norm(x)), start

    def init(self, branch):
        if not self.opens_block:
            branch.c_proj.weight.mul_(math.sqrt(2 / self.branches))


class Highway(Residual):
    """Gated skips, b = -2 at the start (Srivastava et al. 2015, arXiv 1505.00387).

    dy/dx holds diag(1 - g): the clean path is gated, 0.88 per sublayer at the start, and 0.88^(2L) in all.
    The paper's layers have no N, and its b, below 0, depends on the task. Gates are computed in float32.
    """

    equation = "y = (1 - g) x + g F(N(x)), g = sigmoid(W x + b)"

    skip = None  # a gate stands on it
    has_identity = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.gate = nn.Linear(config.n_embd, config.n_embd)

    def forward(self, x, branch):
        with no_autocast(x):
            gate = torch.sigmoid(self.gate(x.to(self.gate.weight.dtype)))
        return (1 - gate) * x + gate * branch(self.norm(x))

    def init(self, branch):
        self.gate.bias.fill_(-2.0)


class X0Mix(PreNorm):
    """r = 1 and s = 0 at the start (modded-nanogpt, Jordan et al., the form of 2026).

    The embedding x_0 enters every sublayer by a scalar of its own, so layer 0 also gets a gradient
    straight from each block. (There the embedding is normalised. In the form of 2024 it enters once per
    block, and before the branch reads: z = r x + s x_0, then z + F(N(z)).) Carries (x, x_0).
    """

    equation = "y = r x + s x_0 + F(N(x))"
    skip = None  # r is learned
    single_tensor = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.keep = nn.Parameter(torch.ones(()))
        self.first = nn.Parameter(torch.zeros(()))

    @staticmethod
    def open(x):
        return x, x

    def forward(self, stream, branch):
        x, x0 = stream
        return self.keep * x + self.first * x0 + branch(self.norm(x)), x0

    @staticmethod
    def running(stream):
        return stream[0]


class ValueResidual(PreNorm):
    """Attention reads the values of block 1 beside its own (Zhou et al. 2024, ResFormer, arXiv 2410.17897).

    dy/dx = I + dF/dx as in `pre`, F with half of its own values behind block 1. V_1 goes past all blocks in
    between, so what a token was at the start can be read anywhere, and gets a gradient from anywhere. The
    weights are the halves of the authors' code; the paper has learned ones too. Carries (x, V_1),
    and None for V_1 up to block 1.
    """

    equation = "y = x + F(N(x)), where attention's values are (V + V_1) / 2, V_1 those of block 1"
    skip = None  # more than x is carried
    single_tensor = False
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.is_attention = depth % 2 == 0

    @staticmethod
    def open(x):
        return x, None

    def forward(self, stream, branch):
        x, first = stream
        if not self.is_attention:
            return x + branch(self.norm(x)), first
        values = []

        def mix(v):
            values.append(v if first is None else first)
            return (v + values[0]) / 2

        return x + branch(self.norm(x), mix_values=mix), values[0]

    @staticmethod
    def running(stream):
        return stream[0]


class DenseFormer(PreNorm):
    """Depth-weighted averages (Pagliardini et al. 2024, DenseFormer, arXiv 2402.02622).

    Inside a block `pre`; behind it a weighted mean with w = 1 on the newest, 0 on the others at the start.
    The gradient of a block reaches every earlier one in one step. Carries (x, earlier outputs).
    """

    equation = "x = sum_j w_j y_j over all earlier block outputs y_j"
    skip = None
    single_tensor = False
    stream_grows = True
    depth_independent = False  # an inserted block would shift the weights of those behind it
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.ends_block = depth % 2 == 1
        if self.ends_block:
            weights = torch.zeros(depth // 2 + 2)
            weights[-1] = 1.0
            self.weights = nn.Parameter(weights)
            self.decays = ("weights",)

    @staticmethod
    def open(x):
        return x, [x]

    def forward(self, stream, branch):
        x, outputs = stream
        x = x + branch(self.norm(x))
        if not self.ends_block:
            return x, outputs
        outputs = [*outputs, x]
        return sum(weight * y for weight, y in zip(self.weights, outputs, strict=True)), outputs

    @staticmethod
    def running(stream):
        return stream[0]


class ParallelStreams(PreNorm):
    """What wirings of several streams share: h (n, B, T, C) opens as n copies of x.

    The head reads the mean of the streams, where Zhu et al. sum them: behind a norm it is the same.
    """

    skip = None
    single_tensor = False
    streams = 4

    @staticmethod
    def open(x):
        return x.expand(ParallelStreams.streams, *x.shape)  # (n, B, T, C)

    @classmethod
    def read(cls, stream):
        return stream.mean(dim=0)


class HyperConnections(ParallelStreams):
    """Parallel streams, mixed by learned constants (Zhu et al. 2024, Hyper-Connections, arXiv 2409.19606).

    Sublayer k reads stream k mod n at the start, M is the identity and b is 1, so all streams are equal and
    the stack is `pre`, but for output projections that start sqrt(n) times as large, as in the paper. Each
    stream is a clean path. The paper's static form; mixed in float32. Carries h (n, B, T, C).
    """

    equation = "x = a . h, h' = M h + b F(N(x)), h of n = 4 streams"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.inward = nn.Parameter(torch.eye(self.streams)[depth % self.streams])
        self.mix = nn.Parameter(torch.eye(self.streams))
        self.outward = nn.Parameter(torch.ones(self.streams))

    def init(self, branch):
        super().init(branch)
        branch.c_proj.weight.mul_(math.sqrt(self.streams))

    def forward(self, stream, branch):
        with no_autocast(stream):
            x = torch.einsum("n,nbtc->btc", self.inward, stream)
            mixed = torch.einsum("mn,nbtc->mbtc", self.mix, stream)
        return mixed + self.outward[:, None, None, None] * branch(self.norm(x))


class DynamicHyperConnections(HyperConnections):
    """Each token computes its own mixing (Zhu et al. 2024, arXiv 2409.19606, the dynamic form).

    Stream i adds s tanh(N'(h_i) W) to the constants of `hyper`: to a_i, to column i of M and to b_i. W starts
    at 0 and s at 0.01, one s for a and M and another for b, so the stack starts as `hyper`.
    """

    equation = "x = a(h) . h, h' = M(h) h + b(h) F(N(x)), h of n = 4 streams"
    decays = ("maps",)

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.map_norm = make_norm(config)
        self.maps = nn.Parameter(torch.zeros(config.n_embd, self.streams + 2))
        self.scales = nn.Parameter(torch.full((2,), 0.01))

    def forward(self, stream, branch):
        with no_autocast(stream):
            maps = torch.tanh(self.map_norm(stream) @ self.maps)  # (n, B, T, n + 2)
            a, mix, b = maps.split([1, self.streams, 1], dim=-1)
            a = self.inward[:, None, None] + self.scales[0] * a[..., 0]  # (n, B, T)
            mix = self.mix.T[:, None, None] + self.scales[0] * mix  # (n, B, T, n), from and to
            b = self.outward[:, None, None, None] + self.scales[1] * b  # (n, B, T, 1)
            x = torch.einsum("nbt,nbtc->btc", a, stream)
            mixed = torch.einsum("nbtm,nbtc->mbtc", mix, stream)
        return mixed + b * branch(self.norm(x))


class ManifoldHyperConnections(ParallelStreams):
    """Streams are mixed by doubly stochastic matrices (Xie et al. 2025, mHC, arXiv 2512.24880).

    Each token computes from all streams together a = sigmoid(.), b = 2 sigmoid(.) and M, whose rows and
    columns sum to 1 after 20 rounds of Sinkhorn and Knopp. A product of such matrices is one as well, so at
    any depth the clean path keeps the mean of the streams. What depends on the token is scaled by 0.01 at the
    start, as in the paper. The biases are a choice: a = 1 / n, b = 1 and M with 0.87 on its diagonal, so the
    stack starts near `pre`. The head reads the mean of the streams, the authors' a sum that each token weighs
    by gates of its own. Mixed in float32. Carries h (n, B, T, C).
    """

    equation = "x = a(h) . h, h' = M(h) h + b(h) F(N(x)), M doubly stochastic, h of n = 4 streams"
    has_identity = False  # up to rounding: a row of M sums to 1 nearly

    def __init__(self, config, depth):
        super().__init__(config, depth)
        n = self.streams
        self.sizes = [n, n, n * n]
        self.maps = nn.Linear(n * config.n_embd, sum(self.sizes), bias=False)
        self.scales = nn.Parameter(torch.full((3,), 0.01))
        a, b, mix = torch.full((n,), -math.log(n - 1)), torch.zeros(n), 3 * (torch.eye(n) - 1)
        self.base = nn.Parameter(torch.cat([a, b, mix.flatten()]))

    def forward(self, stream, branch):
        with no_autocast(stream):
            h = rms_one(stream.movedim(0, 2).flatten(2))  # (B, T, n C)
            maps, base = self.maps(h).split(self.sizes, dim=-1), self.base.split(self.sizes)
            a, b, mix = (s * part + start for s, part, start in zip(self.scales, maps, base, strict=True))
            mix = sinkhorn(mix.unflatten(-1, (self.streams, self.streams)))  # (B, T, n, n), to and from
            x = torch.einsum("btn,nbtc->btc", a.sigmoid(), stream)
            mixed = torch.einsum("btmn,nbtc->mbtc", mix, stream)
            b = 2 * b.sigmoid().movedim(2, 0)[..., None]  # (n, B, T, 1)
        return mixed + b * branch(self.norm(x))


def sinkhorn(logits: torch.Tensor) -> torch.Tensor:
    """The doubly stochastic matrices (..., n, n) that exp(logits) becomes when its columns and its rows are
    divided by their sums in turn, twenty times as in the paper; the rows come last."""
    for _ in range(20):
        logits = logits.log_softmax(dim=-2).log_softmax(dim=-1)
    return logits.exp()


class AttentionResidual(Residual):
    """Attention over depth (Kimi Team 2026, arXiv 2603.15031).

    Each sublayer attends over depth with one learned query q, 0 at the start, so it begins with the plain
    mean of the embedding and all branches before it. The gradient reaches v_j from every later sublayer,
    weighted 1 / depth. The paper's Full form (its Block form attends over blocks); computed in float32.
    Carries the list of v_j.
    """

    equation = "x = sum_j softmax_j(q . N(v_j)) v_j over all earlier outputs v_j"
    skip = None
    single_tensor = False
    stream_grows = True
    has_identity = False  # a silent branch takes part in the mean
    compile_per_block = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.query = nn.Parameter(torch.zeros(config.n_embd))

    @staticmethod
    def open(x):
        return [x]

    def forward(self, stream, branch):
        return [*stream, branch(self.norm(attend_over_depth(self.query, stream)))]

    @staticmethod
    def running(stream):
        return stream[-1]

    @classmethod
    def make_stack(cls, config, first):
        return LastQuery(config, first, cls)


class LastQuery(Stack):
    """Closes a stack of AttentionResidual: the head reads what one more query attends to."""

    def __init__(self, config, first, last):
        super().__init__(config, first, last)
        self.last_query = nn.Parameter(torch.zeros(config.n_embd))

    def close(self, stream):
        return attend_over_depth(self.last_query, stream)


def attend_over_depth(query: torch.Tensor, stream: list[torch.Tensor]) -> torch.Tensor:
    """The mean over earlier outputs (B, T, C), weighted for each token by softmax(query . N(output))."""
    with no_autocast(query):
        values = torch.stack([v.to(query.dtype) for v in stream])  # (depth, B, T, C)
        weights = (rms_one(values) @ query).softmax(dim=0)  # (depth, B, T)
        return torch.einsum("nbt,nbtc->btc", weights, values)


class ZeroBranch(Residual):
    """Branches frozen at 0, the control for what embedding and head can do alone.

    dy/dx = I. It is `pre` without blocks, the same at every depth. It sees one token, so it is at best a
    bigram model, and where the head is the embedding no whole one. A stack that ends below it has blocks
    that hand something on, which they need not have learned (docs/residuals.md, step 5).
    """

    equation = "y = x + 0 F(N(x))"
    skip = 1.0
    branch_learns = False

    def forward(self, x, branch):
        return x + 0.0 * branch(self.norm(x))


class IdentityStart(NoSkip):
    """Attention starts at a = 1, b = 0 (He et al. 2023, value-SkipInit).

    arXiv 2302.10322 (a later one of theirs, 2311.01906, starts at b = 1 less a uniform attention, where Q and
    K learn at once). A repaired control: V, O and the MLP start orthogonal and W_Q at 0, so a token keeps its
    identity and J_F is close to a rotation: the gradient survives without a skip, bought by care that `pre`
    does not need. W_Q = 0 behind b = 0 is a double zero: Q and K get no gradient before b moves, so tokens
    learn to mix late. init="self" repairs the standard block with nothing but its starting weights.
    """

    equation = "y = F(N(x)), attention a I + b A"

    mixes_identity = True

    def init(self, branch):
        branch.c_proj.weight.copy_(orthogonal(branch.c_proj.weight))
        *others, value = branch.input_matrices()  # Q, K and V, or W1 and perhaps a gate
        value.copy_(orthogonal(value))
        if len(others) == 2:
            others[0].zero_()
        elif others:
            others[0].copy_(orthogonal(others[0]))


WIRINGS = {
    "pre": PreNorm,
    "none": NoSkip,
    "post": PostNorm,
    "scaled": Scaled,
    "partial_skips": PartialSkips,
    "rezero": ReZero,
    "sandwich": Sandwich,
    "reordered_norm": ReorderedNorm,
    "layerscale": LayerScale,
    "deepnorm": DeepNorm,
    "keel": Keel,
    "resi_dual": ResiDual,
    "depth_scaled": DepthScaled,
    "completep": CompleteP,
    "depth_mup": DepthMuP,
    "stochastic_depth": StochasticDepth,
    "parallel": Parallel,
    "block_skip": BlockSkip,
    "highway": Highway,
    "x0": X0Mix,
    "value_residual": ValueResidual,
    "dense": DenseFormer,
    "hyper": HyperConnections,
    "dynamic_hyper": DynamicHyperConnections,
    "mhc": ManifoldHyperConnections,
    "attention_residual": AttentionResidual,
    "silent": ZeroBranch,
    "identity_start": IdentityStart,
}


def check_wirings(config) -> None:
    """Raises ValueError when the wirings of a GPTConfig's attention and MLP can't stand in one block."""
    names = {kind: config.wiring(kind) for kind in ("attn", "mlp")}
    if not WIRINGS[names["mlp"]].fits(WIRINGS[names["attn"]]):
        raise ValueError(
            f"attn_residual={names['attn']}, mlp_residual={names['mlp']}: they carry different streams, so "
            "they can't stand in one block; give both the same wiring, or two that carry one tensor: "
            + ", ".join(name for name, wiring in WIRINGS.items() if wiring.single_tensor)
        )
