"""What is measured on a model from outside, one sequence at a time.

PROBES maps the name of a row's key `probe/<name>` to a function of one Snapshot, or to a Probe, which says
how the numbers of several sequences become one. update_ratio alone is about an update and not a batch.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch

from reslab.instruments.snapshot import Snapshot, readable, snapshot

DIVERSITY_FLOOR = 1e-3  # tokens that differ by less than this share of their norm are one token
GRADIENT_FLOOR = (
    1e-10  # a hundredth of Adam's eps: a weight whose gradient is smaller moves by < 1% of a step
)
TOO_LARGE = (
    "the probes look at one sequence at a time, in float32 and without recomputation, so a smaller "
    "--probe_sequences does not help: leave them out with --probes=False, or lower --block_size"
)
EARLY_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def due(step: int, eval_interval: int, ends: bool) -> bool:
    """Whether a run is probed at a step: often at the beginning, at each evaluation, and at the end."""
    return ends or step in EARLY_STEPS or step % eval_interval == 0


@dataclass(frozen=True)
class Probe:
    """Numbers of a batch that is seen in parts: sums over the parts, and what the sums are worth."""

    sums: Callable[[Snapshot], list]
    """Per layer a tuple of numbers that add up over parts, or None where there are none."""
    value: Callable[..., float]
    """Of the sums of one layer."""
    of_weights: bool = False
    """Reads the parameters' gradients alone, which a snapshot has added to those of the parts before it."""

    def add(self, before: list | None, seen: Snapshot) -> list:
        """The sums of a further part, added to those before it."""
        rows = self.sums(seen)
        flat = [torch.as_tensor(x, dtype=torch.float64) for row in rows if row is not None for x in row]
        numbers = iter(torch.stack(flat).tolist() if flat else [])  # one wait for a GPU
        rows = [None if row is None else [next(numbers) for _ in row] for row in rows]
        if before is None:
            return rows
        pairs = zip(before, rows, strict=True)
        return [now and [a + b for a, b in zip(was, now, strict=True)] for was, now in pairs]

    def read(self, sums: list) -> list[float | None]:
        return [None if row is None else self.value(*row) for row in sums]


def mean(probe: Callable[[Snapshot], list]) -> Probe:
    """A function of a snapshot, whose numbers become their mean over the parts."""
    return Probe(lambda seen: [None if value is None else (value, 1) for value in probe(seen)], _ratio)


def gradient_reach(seen: Snapshot) -> list[tuple]:
    """norm(dL/dh_l) relative to the last, for the stream before each block and after the last (L + 1).

    Misleads alone: in a fresh plain stack the norm survives while it all sits on one token.
    """
    squares = [_square(g) for g in seen.stream_gradients]
    return [(square, squares[-1]) for square in squares]


def gradient_norm(seen: Snapshot) -> list[tuple]:
    """norm(dL/dh_l), absolute (L + 1)."""
    return [(_square(g),) for g in seen.stream_gradients]


def position0_share(seen: Snapshot) -> list[tuple]:
    """Share of the energy of dL/dh_l that sits on the first token (L + 1); 1/T when spread evenly."""
    return [(_square(g[:, 0]), _square(g)) for g in seen.stream_gradients]


def kind_gradients(kind: str) -> Probe:
    """The gradient norm of one kind of matrix in each block (L): qk, v, o, w1 or w2."""

    def sums(seen: Snapshot) -> list[tuple]:
        return [(_square(_kind_gradient(seen, layer, kind)),) for layer in range(len(seen.model.blocks))]

    return Probe(sums, math.sqrt, of_weights=True)


def _kind_gradient(seen: Snapshot, layer: int, kind: str) -> torch.Tensor:
    name = {"qk": "attn.c_attn", "v": "attn.c_attn", "o": "attn.c_proj", "w1": "mlp.c_fc", "w2": "mlp.c_proj"}
    gradient = seen.gradients[f"blocks.{layer}.{name[kind]}.weight"]
    *_, v = seen.model.blocks[layer].attn.input_matrices()
    values = len(gradient) - len(v)  # where the rows of V begin
    return {"qk": gradient[:values], "v": gradient[values:]}.get(kind, gradient)


def token_diversity(seen: Snapshot) -> list[tuple]:
    """norm(X - mean over tokens) / norm(X) of the stream (L + 1); 0 when all tokens are the same."""
    streams = (stream.double() for stream in seen.streams)
    return [(_square(x - x.mean(dim=1, keepdim=True)), _square(x)) for x in streams]


def stream_rms(seen: Snapshot) -> list[tuple]:
    """Root mean square of the stream (L + 1)."""
    return [(_square(stream), stream.numel()) for stream in seen.streams]


def branch_ratio(seen: Snapshot) -> list[tuple]:
    """norm(F) / norm(x) of each sublayer, attention and MLP in turn (2L)."""
    return [(_square(f), _square(x)) for x, f in seen.branches]


def branch_cosine(seen: Snapshot) -> list[float]:
    """Mean cosine between F and x of each sublayer (2L); below 0 the branch erases."""
    return [torch.cosine_similarity(x.double(), f.double(), dim=-1).mean().item() for x, f in seen.branches]


def sublayer_rms(seen: Snapshot) -> list[tuple]:
    """Root mean square of the stream before each sublayer and after the last (2L + 1)."""
    streams = [*(x for x, _ in seen.branches), seen.streams[-1]]
    return [(_square(stream), stream.numel()) for stream in streams]


def crossing_norm(name: str) -> Probe:
    """The norm of one part of the gradient at each sublayer (2L), None where a Crossing has none."""

    def sums(seen: Snapshot) -> list[tuple | None]:
        parts = [getattr(crossing, name, None) for crossing in seen.crossings]
        return [None if part is None else (_square(part),) for part in parts]

    return Probe(sums, math.sqrt)


def attention_entropy(seen: Snapshot) -> list[float]:
    """Mean entropy of the attention rows, relative to uniform attention over what a row may see (L)."""
    found = []
    for block, x in zip(seen.model.blocks, seen.normed, strict=True):
        T = x.shape[1]
        with torch.no_grad():
            q, k, _ = block.attn.qkv(x)
            k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)  # (B, H, T, D)
            scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, H, T, T), and twice that in all
            future = torch.ones(T, T, dtype=torch.bool, device=x.device).triu(1)
            probs = scores.masked_fill_(future, -torch.inf).softmax(dim=-1)
            entropy = torch.special.entr(probs, out=scores).sum(dim=-1)[
                ..., 1:
            ]  # the first row sees one token
            uniform = torch.arange(2, T + 1, device=x.device).log()
            found.append((entropy / uniform).mean().item() if T > 1 else 0.0)
    return found


def block_matrices(model) -> list[list[torch.Tensor]]:
    """Copies of the matrices of each block, taken before an update that update_ratio will look at."""
    return [[readable(p.detach().clone()) for p in _matrices(block)] for block in model.blocks]


def update_ratio(model, before: list[list[torch.Tensor]]) -> list[float]:
    """norm(W after one update - W before) / norm(W before) over the matrices of each block (L)."""
    found = []
    for block, was in zip(model.blocks, before, strict=True):
        pairs = zip(_matrices(block), was, strict=True)
        moved = sum((readable(now.detach()) - w).double().square().sum().item() for now, w in pairs)
        found.append(_ratio(math.sqrt(moved), math.sqrt(sum(w.double().square().sum().item() for w in was))))
    return found


def _matrices(block) -> list[torch.Tensor]:
    return [p for p in block.parameters() if p.dim() == 2]


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


def look(model, inputs: torch.Tensor, targets: torch.Tensor) -> dict:
    """All PROBES of a batch, as a row's keys: one sequence at a time, so a larger batch takes no more memory.

    Args:
        model: the GPT; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device.
    """
    gradients, B = {}, len(inputs)
    pairs = zip(inputs.split(1), targets.split(1), strict=True)
    return _measure((snapshot(model, x, y, 1 / B, gradients) for x, y in pairs), B)


def measure(seen: Snapshot) -> dict:
    """All PROBES of a snapshot, as a row's keys."""
    return _measure([seen], 1)


def _measure(parts: Iterable[Snapshot], count: int) -> dict:
    """All PROBES of so many parts of a batch, of which one is held at a time."""
    probes = {name: probe if isinstance(probe, Probe) else mean(probe) for name, probe in PROBES.items()}
    sums = dict.fromkeys(probes)
    for seen in parts:  # not enumerate(), which would hold one part while the next is made
        count -= 1
        for name, probe in probes.items():
            if count == 0 or not probe.of_weights:
                sums[name] = probe.add(sums[name], seen)
        q, k, _ = seen.model.blocks[0].attn.input_matrices()
        del seen  # before the next part is looked at
    values = {name: probe.read(sums[name]) for name, probe in probes.items()}
    row = {f"probe/{name}": value for name, value in values.items()}
    return row | {"probe/layers_that_learn": layers_that_learn(values, q.numel() + k.numel())}


def early_warning(row: dict) -> str | None:
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


def _square(x: torch.Tensor) -> torch.Tensor:
    """The sum of squares, float64 ()."""
    return x.double().square().sum()


def _ratio(a: float, b: float) -> float:
    return a / b if b else 0.0


def _norm_ratio(a: float, b: float) -> float:
    return _ratio(math.sqrt(a), math.sqrt(b))


def _rms(square: float, count: float) -> float:
    return math.sqrt(square / count)


def _share(part: float, total: float) -> float:
    return part / total if total > 0 else 1.0


PROBES = {
    "gradient_reach": Probe(gradient_reach, _norm_ratio),
    "gradient_norm": Probe(gradient_norm, math.sqrt),
    "position0_share": Probe(position0_share, _share),
    "qk_gradient": kind_gradients("qk"),
    "v_gradient": kind_gradients("v"),
    "o_gradient": kind_gradients("o"),
    "w1_gradient": kind_gradients("w1"),
    "w2_gradient": kind_gradients("w2"),
    "token_diversity": Probe(token_diversity, _norm_ratio),
    "stream_rms": Probe(stream_rms, _rms),
    "branch_ratio": Probe(branch_ratio, _norm_ratio),
    "branch_cosine": branch_cosine,
    "sublayer_rms": Probe(sublayer_rms, _rms),
    "output_gradient": crossing_norm("arrived"),
    "skip_gradient": crossing_norm("through_skip"),
    "branch_gradient": crossing_norm("through_branch"),
    "input_gradient": crossing_norm("left"),
    "attention_entropy": attention_entropy,
}
