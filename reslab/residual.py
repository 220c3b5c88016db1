"""The wirings: how a block joins its stream x with what its branch F computes.

Every sublayer of the decoder (attention, then MLP) is a branch F. A wiring decides what the
stream becomes once the branch has spoken, and that one line is all that this lab varies:

    pre       x + F(N(x))          the skip of GPT-2: the stream itself is never touched
    none      F(N(x))              the same block, its skip stripped
    ...       and the repairs and rivals that were published since

N is the norm that the wiring owns. A wiring is one class; add it to WIRINGS at the end of
this file and the command line, the help, the tests and the tables know it.
"""

import math

import torch
from torch import nn

from reslab.nn.init import orthogonal
from reslab.nn.layers import make_norm


def rms_one(x: torch.Tensor) -> torch.Tensor:
    """x (B, T, C) with each token's rms at 1; no gain, so nothing is learned here."""
    return nn.functional.rms_norm(x, x.shape[-1:])


def no_autocast(x: torch.Tensor) -> torch.autocast:
    """A context in which products of matrices keep the precision of what they are given.

    A gate or a mixing matrix belongs here: bfloat16 has 8 bits, so 1 - g loses what is below 1/256 of it,
    once in every sublayer.
    """
    return torch.autocast(x.device.type, enabled=False)


class Residual(nn.Module):
    """What all wirings share: one branch of one block in, one stream out.

    The model calls, in this order and for any wiring:

        stream = first.open(x)                  # embeddings x (B, T, C) -> stream
        stream = residual(stream, branch)       # once per sublayer; branch: (B, T, C) -> (B, T, C)
        x = last.close(stream)                  # stream -> (B, T, C), read by the head

    Most wirings carry one tensor, so open and close return what they get; a wiring that carries
    several (all earlier outputs, parallel streams) overrides both.

    Args:
        config: has n_embd, n_layer, bias, norm_eps and residual_scale.
        depth: position of this sublayer counted from the input, 0 .. 2 n_layer - 1.
    """

    has_identity = True  # F = 0 gives y = x, so a silent block can be inserted anywhere
    final_norm = True  # the head reads a normalised stream
    skip = 1.0  # the weight of x in y: what a gradient is multiplied by on its way past the branch
    stream_grows = False  # every sublayer or block adds an entry to the stream, so none can be left out
    single_tensor = True  # what is carried is one tensor x (B, T, C), and y = skip x + F(x)
    stream = "x"  # what is carried; the two sublayers of a block must carry the same
    mixes_identity = False  # attention starts as a I + b A with a = 1, b = 0
    same_in_each_layer = True  # forward computes the same function of its tensors, so it is compiled once

    def __init__(self, config, depth: int):
        super().__init__()
        self.norm = make_norm(config)

    def open(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def forward(self, x: torch.Tensor, branch: nn.Module) -> torch.Tensor:
        raise NotImplementedError

    def close(self, stream: torch.Tensor) -> torch.Tensor:
        return stream

    def init(self, branch: nn.Module) -> None:
        """Change the starting weights of the branch (all matrices normal, std 0.02) and one's own."""


class PreNorm(Residual):
    """y = x + F(N(x)), pre-norm (Radford et al. 2019, GPT-2; Xiong et al. 2020, arXiv 2002.04745).

    dy/dx = I + dF/dx. Over L blocks the product of (I + J_k), multiplied out, is a sum over all paths, and
    one of them, I, passes no branch. The others may outgrow it, or cancel it (F = -x gives 0); while branches
    are small beside the stream, most of the gradient has passed few of them. Each of the 2L branches adds
    variance to the stream; GPT-2 starts the output projections at std / sqrt(2L) so that their sum does not
    grow with depth.
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.branches = 2 * config.n_layer

    def forward(self, x, branch):
        return x + branch(self.norm(x))

    def init(self, branch):
        branch.c_proj.weight.mul_(1 / math.sqrt(self.branches))


class NoSkip(Residual):
    """y = F(N(x)): the block of `pre`, its skip stripped.

    dy/dx = dF/dx. The gradient at layer 0 is the product of all J_k: every path goes through every
    branch. The output projections start at the full std: GPT-2's 1 / sqrt(2L) belongs to a sum of
    branches, and here it would shrink the only signal there is. So two things differ from `pre`, the skip
    and this start; with init="unscaled" on both the skip alone does.
    """

    has_identity = False
    skip = 0.0

    def forward(self, x, branch):
        return branch(self.norm(x))


class PostNorm(Residual):
    """y = N(x + F(x)), post-norm (Vaswani et al. 2017, arXiv 1706.03762).

    dy/dx = J_N (I + dF/dx): there is a skip, but a norm stands on it, and every block multiplies the
    gradient by that norm's Jacobian. Trains shallow, and deeper with a warmup (Xiong et al. 2020).
    Its last block ends in a norm, so the head adds none. Embeddings enter at rms 1, where the paper
    multiplies them by sqrt(C): at rms 0.03 the first block would hear its branch and hardly its input.
    """

    has_identity = False
    skip = None  # not a constant weight
    final_norm = False

    def open(self, x):
        return rms_one(x)

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
        self.skip = config.residual_scale

    def forward(self, x, branch):
        return self.skip * x + branch(self.norm(x))


class ReZero(Residual):
    """y = x + a F(x), a = 0 at the start, no norm in a block (Bachlechner et al. 2020, arXiv 2003.04887).

    dy/dx = I + a dF/dx = I at init, whatever the depth: loss and gradient of a fresh stack do not
    depend on L. Each sublayer has its own a (the paper lets the two sublayers of a block share one). The
    norm before the head is kept.
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        del self.norm
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x, branch):
        return x + self.alpha * branch(x)


class Sandwich(Residual):
    """y = x + N2(F(N1(x))), a norm on either side of the branch (Kim et al. 2025, Peri-LN, arXiv 2502.02732).

    dy/dx = I + J_N2 dF/dx: the identity path is that of `pre`, and no branch can outgrow the stream. Every
    branch starts at rms 1, so embeddings enter at rms 1 too, as in the paper (here without a gain).
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm_out = make_norm(config)

    def open(self, x):
        return rms_one(x)

    def forward(self, x, branch):
        return x + self.norm_out(branch(self.norm(x)))


class LayerScale(Residual):
    """y = x + g * F(N(x)), g a vector that starts near 0 (Touvron et al. 2021, CaiT, arXiv 2103.17239).

    dy/dx = I + diag(g) dF/dx, near I at the start: each channel of a branch is faded in. The paper starts
    g at 0.1 up to 18 blocks, at 1e-5 up to 24, and at 1e-6 in deeper stacks.
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        start = 0.1 if config.n_layer <= 18 else 1e-5 if config.n_layer <= 24 else 1e-6
        self.gain = nn.Parameter(torch.full((config.n_embd,), start))

    def forward(self, x, branch):
        return x + self.gain * branch(self.norm(x))


class DeepNorm(PostNorm):
    """y = N(a x + F(x)), a = (2M)^(1/4) for M layers (Wang et al. 2022, DeepNet, arXiv 2203.00555).

    dy/dx = J_N (a I + dF/dx): a norm stands on the skip as in `post`, but the skip outweighs the branch,
    whose V, O, W1 and W2 start divided by (8M)^(1/4), so a deep stack changes slowly at first. The paper
    divides Xavier weights; here, as everywhere, std 0.02 is what is divided, and V times O starts tens of
    times quieter than the paper's at widths below 100. Embeddings enter at rms 1, as in `post`.
    """

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.alpha = (2 * config.n_layer) ** 0.25
        self.beta = (8 * config.n_layer) ** -0.25

    def forward(self, x, branch):
        return self.norm(self.alpha * x + branch(x))

    def init(self, branch):
        branch.c_proj.weight.mul_(self.beta)
        branch.parts()[-1].mul_(self.beta)  # V or W1, but not the gate: a product would shrink twice


class DepthScaled(Residual):
    """y = x + F(N(x) / sqrt(l)) in block l = 1, 2, ... (Sun et al. 2025, LayerNorm Scaling, 2502.05795).

    dy/dx = I + dF/dx with branches that grow quieter with depth, so the stream's variance grows slower
    and deep blocks stay useful. Used instead of GPT-2's 1 / sqrt(2L), not with it.
    """

    same_in_each_layer = False
    has_identity = False  # an inserted block would change l of those behind it

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = (depth // 2 + 1) ** -0.5

    def forward(self, x, branch):
        return x + branch(self.norm(x) * self.scale)


class CompleteP(Residual):
    """y = x + F(N(x)) / m, m = L / 2 (Dey et al. 2025, CompleteP, arXiv 2505.01618; base depth 2).

    dy/dx = I + J_F / m: the sum over all branches stays of order 1 at any depth, so the best learning
    rate of a shallow model carries over. Its rule for Adam's eps (divided by m) is a flag: --adam_eps.
    """

    has_identity = False  # m changes with depth

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = 2 / config.n_layer

    def forward(self, x, branch):
        return x + self.scale * branch(self.norm(x))


class DepthMuP(PreNorm):
    """y = x + sqrt(B / L) F(N(x)), B = 4 (Yang et al. 2023, arXiv 2310.02244; Bordelon et al. 2309.16620).

    dy/dx = I + sqrt(B / L) dF/dx, and exactly I at the start, where every output projection is 0. A sum of
    L independent branches of size 1 / sqrt(L) stays of order 1 at any depth. Embeddings enter at rms 1, the
    scale that branches are measured by. Under Adam the first paper divides the rate inside the blocks by
    sqrt(L) as well: that is a setting, --block_lr.
    """

    has_identity = False  # the factor changes with depth
    base = 4  # B: the depth at which a branch has weight 1

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = math.sqrt(self.base / config.n_layer)

    def open(self, x):
        return rms_one(x)

    def forward(self, x, branch):
        return x + self.scale * branch(self.norm(x))

    def init(self, branch):
        branch.c_proj.weight.zero_()


class Highway(Residual):
    """y = (1 - g) x + g F(N(x)), g = sigmoid(W x + b), b = -2 (Srivastava et al. 2015, arXiv 1505.00387).

    dy/dx holds diag(1 - g): the clean path is gated, 0.88 per sublayer at the start, and 0.88^(2L) in all.
    The paper's layers have no N, and its b, below 0, depends on the task. Gates are computed in float32.
    """

    has_identity = False
    skip = None  # not a constant weight

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
    """y = r x + s x_0 + F(N(x)), r = 1 and s = 0 at the start (Jordan et al. 2024, modded-nanogpt).

    The embedding x_0 enters every sublayer by a scalar of its own, so layer 0 also gets a gradient
    straight from each block. (There once per block, and on a normalised embedding.) Carries (x, x_0).
    """

    stream = "x and x_0"
    single_tensor = False

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.keep = nn.Parameter(torch.ones(()))
        self.first = nn.Parameter(torch.zeros(()))

    def open(self, x):
        return x, x

    def forward(self, stream, branch):
        x, x0 = stream
        return self.keep * x + self.first * x0 + branch(self.norm(x)), x0

    def close(self, stream):
        return stream[0]


class DenseFormer(PreNorm):
    """x = sum_j w_j y_j over all earlier block outputs y_j (Pagliardini et al. 2024, DenseFormer).

    Inside a block `pre`; behind it a weighted mean with w = 1 on the newest, 0 on the others at the start.
    The gradient of a block reaches every earlier one in one step. Carries (x, earlier outputs).
    """

    same_in_each_layer = False
    has_identity = False  # an inserted block would shift the weights of those behind it
    stream = "all outputs"
    single_tensor = False
    stream_grows = True

    def __init__(self, config, depth):
        super().__init__(config, depth)
        if depth % 2:  # behind the MLP, where a block ends
            weights = torch.zeros(depth // 2 + 2)
            weights[-1] = 1.0
            self.weights = nn.Parameter(weights)

    def open(self, x):
        return x, [x]

    def forward(self, stream, branch):
        x, outputs = stream
        x = x + branch(self.norm(x))
        if not hasattr(self, "weights"):
            return x, outputs
        outputs = [*outputs, x]
        return sum(weight * y for weight, y in zip(self.weights, outputs, strict=True)), outputs

    def close(self, stream):
        return stream[0]


class HyperConnections(PreNorm):
    """n = 4 streams h; x = read . h; h' = mix h + write F(N(x)) (Zhu et al. 2024, Hyper-Connections).

    arXiv 2409.19606. Sublayer k reads stream k mod n at the start, mix is the identity and write is 1, so all
    streams are equal and the stack is `pre`. Each stream is a clean path. This is the paper's static form;
    its dynamic one computes read, mix and write from x as well. The paper closes with the sum of the streams;
    here it is the mean, which the norm before the head can't tell from it. Mixed in float32. Carries h
    (n, B, T, C).
    """

    stream = "parallel streams"
    single_tensor = False
    streams = 4

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.read = nn.Parameter(torch.eye(self.streams)[depth % self.streams])
        self.mix = nn.Parameter(torch.eye(self.streams))
        self.write = nn.Parameter(torch.ones(self.streams))

    def open(self, x):
        return x.expand(self.streams, *x.shape)  # (n, B, T, C)

    def forward(self, stream, branch):
        with no_autocast(stream):
            x = torch.einsum("n,nbtc->btc", self.read, stream)
            mixed = torch.einsum("mn,nbtc->mbtc", self.mix, stream)
        return mixed + self.write[:, None, None, None] * branch(self.norm(x))

    def close(self, stream):
        return stream.mean(dim=0)


class AttentionResidual(Residual):
    """x = sum_j softmax_j(q . N(v_j)) v_j over all earlier outputs (Kimi Team 2026, arXiv 2603.15031).

    Each sublayer attends over depth with one learned query q, 0 at the start, so it begins with the plain
    mean of the embedding and all branches before it. The gradient reaches v_j from every later sublayer,
    weighted 1 / depth. The paper's Full form (its Block form attends over blocks); computed in float32.
    Carries the list of v_j.
    """

    same_in_each_layer = False
    has_identity = False  # a silent branch takes part in the mean
    stream = "all branches"
    single_tensor = False
    stream_grows = True

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.query = nn.Parameter(torch.zeros(config.n_embd))
        if depth == 2 * config.n_layer - 1:
            self.last_query = nn.Parameter(torch.zeros(config.n_embd))

    def open(self, x):
        return [x]

    def forward(self, stream, branch):
        return [*stream, branch(self.norm(self._attend(self.query, stream)))]

    def close(self, stream):
        return self._attend(self.last_query, stream)

    def _attend(self, query, stream):
        with no_autocast(query):
            values = torch.stack([v.to(query.dtype) for v in stream])  # (depth, B, T, C)
            weights = (rms_one(values) @ query).softmax(dim=0)  # (depth, B, T)
            return torch.einsum("nbt,nbtc->btc", weights, values)


class ZeroBranch(Residual):
    """y = x + 0 F(N(x)): branches frozen at 0, the control for what embedding and head can do alone.

    dy/dx = I. It is `pre` without blocks: whatever the number of layers, at most a bigram model. Its loss
    beside a stack's tells what the blocks are worth; the distance to the bigram baseline tells mostly how
    fast embeddings learn.
    """

    def forward(self, x, branch):
        return x + 0.0 * branch(self.norm(x))


class IdentityStart(NoSkip):
    """y = F(N(x)) with attention a I + b A, a = 1, b = 0 (He et al. 2023, value-SkipInit).

    arXiv 2302.10322. A repaired control: V, O and the MLP start orthogonal and W_Q at 0, so a token keeps its
    identity and J_F is close to a rotation: the gradient survives without a skip, bought by care that `pre`
    does not need. W_Q = 0 behind b = 0 is a double zero: Q and K get no gradient before b moves, so tokens
    learn to mix late. init="self" repairs the standard block with nothing but its starting weights.
    """

    mixes_identity = True

    def init(self, branch):
        branch.c_proj.weight.copy_(orthogonal(branch.c_proj.weight))
        *others, value = branch.parts()  # Q, K and V, or W1 and perhaps a gate
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
    "rezero": ReZero,
    "sandwich": Sandwich,
    "layerscale": LayerScale,
    "deepnorm": DeepNorm,
    "depth_scaled": DepthScaled,
    "completep": CompleteP,
    "depth_mup": DepthMuP,
    "highway": Highway,
    "x0": X0Mix,
    "dense": DenseFormer,
    "hyper": HyperConnections,
    "attention_residual": AttentionResidual,
    "silent": ZeroBranch,
    "identity_start": IdentityStart,
}
