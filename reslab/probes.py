"""What is measured on a model from outside, by hooks that are gone afterwards.

PROBES maps the name of a row's key `probe/<name>` to a function of one Snapshot; update_ratio alone is
about an update and not a batch. A snapshot is one
forward and one backward pass of a fixed batch through the uncompiled model in float32: the stream
before every block and after the last, the branches, and every gradient. It draws no random number
and leaves no gradient, so losses with probes on and off are bitwise equal.
"""

import math
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from reslab.device import uncompiled

DIVERSITY_FLOOR = 1e-3  # tokens that differ by less than this share of their norm are one token
GRADIENT_FLOOR = (
    1e-10  # a hundredth of Adam's eps: a weight whose gradient is smaller moves by < 1% of a step
)
NOWHERE = "nowhere in float32: the precision of the run, or the sum over its batches, overflowed"
EARLY_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


@dataclass
class Snapshot:
    """One batch seen in passing; L blocks, sequences of T tokens, width C."""

    streams: list[torch.Tensor]
    """L + 1 tensors (B, T, C): before each block, and after the last."""
    stream_gradients: list[torch.Tensor]
    """dL/dh of the same."""
    branches: list[tuple[torch.Tensor, torch.Tensor]]
    """2L pairs (x, F): what a sublayer's stream was, and what its branch gave, each (B, T, C)."""
    normed: list[torch.Tensor]
    """L inputs (B, T, C) of the attention branches."""
    crossings: list["Crossing | None"]
    """2L, attention and MLP in turn; None where a wiring carries more than x."""
    gradients: dict[str, torch.Tensor]
    """Parameter name -> gradient."""
    model: torch.nn.Module


@dataclass
class Crossing:
    """The gradient on its way back across y = skip x + F(x); each tensor (B, T, C).

    Where a norm or a gate stands on the skip, which is then no constant, it does not split.
    """

    skip: float | None
    arrived: torch.Tensor
    """dL/dy."""
    through_branch: torch.Tensor | None
    """dF/dx^T dL/dy, as it comes out of the branch."""
    left: torch.Tensor
    """dL/dx."""

    @property
    def through_skip(self) -> torch.Tensor | None:
        return None if self.skip is None else self.skip * self.arrived


def due(step: int, eval_interval: int, ends: bool) -> bool:
    """Whether a run is probed at a step: often at the beginning, at each evaluation, and at the end."""
    return ends or step in EARLY_STEPS or step % eval_interval == 0


def newest(stream) -> torch.Tensor:
    """Of what a wiring carries, the tensor that the next sublayer builds on: (B, T, C) or (n, B, T, C)."""
    while isinstance(stream, tuple | list):
        stream = stream[0] if isinstance(stream, tuple) else stream[-1]
    return stream


def visible(stream) -> torch.Tensor:
    """The same as one tensor (B, T, C): parallel streams by their mean."""
    x = newest(stream)
    return x.mean(dim=0) if x.dim() == 4 else x


class _Watch:
    """Hooks on a model that keep what one forward pass shows, until remove()."""

    def __init__(self, model):
        self.streams, self.branches, self.normed = [], [], []
        self.middles, self.entries = [], {}  # streams between attention and MLP; sublayer -> x as F reads it
        self.sublayers = [pair for block in model.blocks for pair in _sublayers(block)]
        self.handles = []
        for block in model.blocks:
            self._before(block, lambda x: self.streams.append(newest(x)))
            self._before(block.attn, lambda x: self.normed.append(x.detach()))
            self._before(block.mlp_residual, lambda x: self.middles.append(newest(x)))
        for sublayer, (residual, branch) in enumerate(self.sublayers):
            self._before(residual, self._arrive)
            self.handles.append(branch.register_forward_hook(self._leave))
            if residual.stream == "x" and residual.skip is not None:
                self._enter(sublayer, residual.norm if hasattr(residual, "norm") else branch)
        last = model.blocks[-1].register_forward_hook(lambda _, args, out: self.streams.append(newest(out)))
        self.handles.append(last)

    def _before(self, module, look) -> None:
        self.handles.append(module.register_forward_pre_hook(lambda _, args: look(args[0])))

    def _arrive(self, stream) -> None:
        self.x = visible(stream)

    def _leave(self, module, args, output) -> None:
        self.branches.append((_readable(self.x.detach()), _readable(output.detach())))

    def _enter(self, sublayer: int, first) -> None:
        """Give what a branch reads a node of its own: what comes back to it has passed the branch alone."""

        def alias(module, args):
            self.entries[sublayer] = args[0].view_as(args[0])
            return (self.entries[sublayer],)

        self.handles.append(first.register_forward_pre_hook(alias))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def crossings(self, reached, between, back) -> list[Crossing | None]:
        """From dL/dh of the streams, of those between, and of the entries: one Crossing per sublayer."""
        arrivals = [g for pair in zip(reached, [*between, None], strict=True) for g in pair]
        came_back = dict(zip(self.entries, back, strict=True))
        return [
            Crossing(residual.skip, arrivals[k + 1], came_back.get(k), arrivals[k])
            if residual.stream == "x"
            else None
            for k, (residual, _) in enumerate(self.sublayers)
        ]


def snapshot(model, inputs, targets) -> Snapshot:
    """Run one batch through the model and look.

    Args:
        model: the uncompiled GPT; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device.
    """
    training = model.training
    model.eval()
    watch = _Watch(model)
    try:
        with torch.enable_grad(), uncompiled():
            _, loss = model(inputs, targets)
            names, parameters = zip(*model.named_parameters(), strict=True)
            groups = [parameters, watch.streams, watch.middles, watch.entries.values()]
            wanted = [tensor for group in groups for tensor in group]
            found = torch.autograd.grad(loss, wanted, allow_unused=True)
    finally:
        watch.remove()
        model.train(training)
    whole = (torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=True))
    found = map(_readable, whole)
    gradients, reached, between, back = ([next(found) for _ in group] for group in groups)
    # Moving n parallel streams together moves their mean: its gradient is the sum of theirs.
    reached = [g.sum(dim=0) if g.dim() == 4 else g for g in reached]
    seen = [_readable(visible(stream.detach())) for stream in watch.streams]
    crossings = watch.crossings(reached, between, back)
    named = dict(zip(names, gradients, strict=True))
    return Snapshot(seen, reached, watch.branches, watch.normed, crossings, named, model)


def gradient_reach(seen: Snapshot) -> list[float]:
    """norm(dL/dh_l) relative to the last, for the stream before each block and after the last (L + 1).

    Misleads alone: in a fresh plain stack the norm survives while it all sits on one token.
    """
    norms = [g.double().norm().item() for g in seen.stream_gradients]
    return [norm / norms[-1] if norms[-1] else 0.0 for norm in norms]


def gradient_norm(seen: Snapshot) -> list[float]:
    """norm(dL/dh_l), absolute (L + 1)."""
    return [g.double().norm().item() for g in seen.stream_gradients]


def position0_share(seen: Snapshot) -> list[float]:
    """Share of the energy of dL/dh_l that sits on the first token (L + 1); 1/T when spread evenly."""
    energies = [g.double().square().sum(dim=(0, 2)) for g in seen.stream_gradients]  # (T,)
    return [(e[0] / e.sum()).item() if e.sum() > 0 else 1.0 for e in energies]


def kind_gradients(kind: str):
    """A probe: the gradient norm of one kind of matrix in each block (L)."""

    def probe(seen: Snapshot) -> list[float]:
        norms = []
        for layer, block in enumerate(seen.model.blocks):
            attention = seen.gradients[f"blocks.{layer}.attn.c_attn.weight"]
            values = len(attention) - len(block.attn.parts()[-1])  # where the rows of V begin
            gradient = {
                "qk": lambda attention=attention, values=values: attention[:values],
                "v": lambda attention=attention, values=values: attention[values:],
                "o": lambda layer=layer: seen.gradients[f"blocks.{layer}.attn.c_proj.weight"],
                "w1": lambda layer=layer: seen.gradients[f"blocks.{layer}.mlp.c_fc.weight"],
                "w2": lambda layer=layer: seen.gradients[f"blocks.{layer}.mlp.c_proj.weight"],
            }[kind]()
            norms.append(gradient.double().norm().item())
        return norms

    probe.__doc__ = f"Gradient norm of {kind.upper()} in each block (L)."
    return probe


def token_diversity(seen: Snapshot) -> list[float]:
    """norm(X - mean over tokens) / norm(X) of the stream (L + 1); 0 when all tokens are the same."""
    found = []
    for stream in seen.streams:
        x = stream.double()
        total = x.norm().item()
        found.append((x - x.mean(dim=1, keepdim=True)).norm().item() / total if total else 0.0)
    return found


def stream_rms(seen: Snapshot) -> list[float]:
    """Root mean square of the stream (L + 1)."""
    return [stream.double().square().mean().sqrt().item() for stream in seen.streams]


def branch_ratio(seen: Snapshot) -> list[float]:
    """norm(F) / norm(x) of each sublayer, attention and MLP in turn (2L)."""
    return [_ratio(f.double().norm().item(), x.double().norm().item()) for x, f in seen.branches]


def branch_cosine(seen: Snapshot) -> list[float]:
    """Mean cosine between F and x of each sublayer (2L); below 0 the branch erases."""
    return [torch.cosine_similarity(x.double(), f.double(), dim=-1).mean().item() for x, f in seen.branches]


def sublayer_rms(seen: Snapshot) -> list[float]:
    """Root mean square of the stream before each sublayer and after the last (2L + 1)."""
    streams = [*(x for x, _ in seen.branches), seen.streams[-1]]
    return [stream.double().square().mean().sqrt().item() for stream in streams]


def crossing_norm(name: str):
    """A probe: the norm of one part of the gradient at each sublayer (2L)."""

    def probe(seen: Snapshot) -> list[float | None]:
        parts = [getattr(crossing, name, None) for crossing in seen.crossings]
        return [None if part is None else part.double().norm().item() for part in parts]

    probe.__doc__ = f"norm of {name} of each Crossing (2L), None where it has none."
    return probe


def attention_entropy(seen: Snapshot) -> list[float]:
    """Mean entropy of the attention rows, relative to uniform attention over what a row may see (L)."""
    found = []
    for block, x in zip(seen.model.blocks, seen.normed, strict=True):
        T = x.shape[1]
        with torch.no_grad():
            q, k, _ = block.attn.qkv(x)
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)  # (B, H, T, D)
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, T)
            future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
            probs = scores.masked_fill(future, -torch.inf).softmax(dim=-1)
            entropy = torch.special.entr(probs).sum(dim=-1)[..., 1:]  # the first row sees one token
            uniform = torch.arange(2, T + 1, device=x.device).log()
            found.append((entropy / uniform).mean().item() if T > 1 else 0.0)
    return found


def block_matrices(model) -> list[list[torch.Tensor]]:
    """Copies of the matrices of each block, taken before an update that update_ratio will look at."""
    return [
        [_readable(p.detach().clone()) for p in block.parameters() if p.dim() == 2] for block in model.blocks
    ]


def update_ratio(model, before: list[list[torch.Tensor]]) -> list[float]:
    """norm(W after one update - W before) / norm(W before) over the matrices of each block (L)."""
    found = []
    for was, now in zip(before, block_matrices(model), strict=True):
        moved = sum((a - b).double().square().sum().item() for a, b in zip(now, was, strict=True))
        found.append(_ratio(math.sqrt(moved), math.sqrt(sum(w.double().square().sum().item() for w in was))))
    return found


def layers_that_learn(rows: dict[str, list[float]], count: int) -> int:
    """How many blocks could learn: they tell tokens apart, and their Q and K get a gradient. Not a measure of
    what was learned: it may count all of them in a stack that has not moved.

    A block counts when the diversity of the stream it reads is at least DIVERSITY_FLOOR, and the root
    mean square of its Q/K gradient (count numbers) at least GRADIENT_FLOOR.
    """
    return sum(
        diversity >= DIVERSITY_FLOOR and gradient / math.sqrt(count) >= GRADIENT_FLOOR
        for diversity, gradient in zip(rows["token_diversity"], rows["qk_gradient"], strict=False)
    )


def measure(seen: Snapshot) -> dict:
    """All PROBES of a snapshot, as a row's keys."""
    values = {name: probe(seen) for name, probe in PROBES.items()}
    row = {f"probe/{name}": value for name, value in values.items()}
    q, k, _ = seen.model.blocks[0].attn.parts()
    return row | {"probe/layers_that_learn": layers_that_learn(values, q.numel() + k.numel())}


def alarm(row: dict) -> str | None:
    """One line when this stack will not train, from what a probe measured; None when it may.

    The sign is that the end of the stack can't tell tokens apart: whatever later tokens say is lost,
    and Q and K, which should tell them apart, get no gradient. (A plain stack of 2 blocks passes
    0.004 on its way and recovers; one of 3 falls below the floor within 50 updates and stays there.)
    """
    diversity, layers = row["probe/token_diversity"], len(row["probe/qk_gradient"])
    if not diversity[-1] < DIVERSITY_FLOOR:  # or not a number: that is a divergence
        return None
    reach, share = row["probe/gradient_reach"][0], row["probe/position0_share"][0]
    dead = next(layer for layer, d in enumerate(diversity) if d < DIVERSITY_FLOOR)
    return (
        f"this stack will not train: behind {dead} of {layers} layers all tokens look alike "
        f"(diversity {diversity[dead]:.0e}, at the end {diversity[-1]:.0e}); layer 0 sees {reach:.0e} of "
        f"the last layer's gradient, {share:.0%} of that on the first token"
    )


def first_bad_layer(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> str:
    """Where a batch first turns non-finite, for the record of a run that diverged.

    The forward pass is searched from the first block up, the backward pass from the last one down.

    Args:
        inputs, targets: token ids (B, T) on the model's device.
    """
    bad = []

    def look(name):
        def hook(module, args, output):
            if not visible(output).isfinite().all():
                bad.append(name)

        return hook

    blocks = [(block, look(f"block {k}, forward")) for k, block in enumerate(model.blocks)]
    with _hooks(blocks), uncompiled():
        _, loss = model(inputs, targets)
        if bad:
            return bad[0]
        if not loss.isfinite():
            return "head, forward"
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for name, gradient in reversed(list(zip(names, gradients, strict=True))):
        if gradient is not None and not gradient.isfinite().all():
            return f"{name}, backward"
    return NOWHERE


@contextmanager
def _hooks(pairs):
    """Forward hooks on modules, taken off at the end."""
    handles = [module.register_forward_hook(hook) for module, hook in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _sublayers(block):
    return (block.attn_residual, block.attn), (block.mlp_residual, block.mlp)


def _readable(tensor: torch.Tensor) -> torch.Tensor:
    """Where float64 exists: Apple's GPUs have none."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


PROBES = {
    "gradient_reach": gradient_reach,
    "gradient_norm": gradient_norm,
    "position0_share": position0_share,
    "qk_gradient": kind_gradients("qk"),
    "v_gradient": kind_gradients("v"),
    "o_gradient": kind_gradients("o"),
    "w1_gradient": kind_gradients("w1"),
    "w2_gradient": kind_gradients("w2"),
    "token_diversity": token_diversity,
    "stream_rms": stream_rms,
    "branch_ratio": branch_ratio,
    "branch_cosine": branch_cosine,
    "sublayer_rms": sublayer_rms,
    "output_gradient": crossing_norm("arrived"),
    "skip_gradient": crossing_norm("through_skip"),
    "branch_gradient": crossing_norm("through_branch"),
    "input_gradient": crossing_norm("left"),
    "attention_entropy": attention_entropy,
}
