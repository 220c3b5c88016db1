"""What is measured on a model from outside, one sequence at a time, on a GPU some of them.

PROBES maps the name of a row's key `probe/<name>` to a Probe: the function of one Snapshot, and what a page
needs to show its numbers. OTHERS describes update_ratio and layers_that_learn, which no single snapshot
gives. What follows from stored numbers is not stored again: see reslab/run/derived.py.
"""

import math
from collections.abc import Iterable

import torch

from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.parts import Anatomy
from reslab.instruments.probe import (
    ADDED,
    AROUND,
    BRANCHES,
    MODEL,
    NULL,
    STREAM,
    Probe,
    Sums,
    cosine,
    norm_ratio,
    only_nan,
    ratio,
    rms,
    share,
)
from reslab.instruments.snapshot import Snapshot, at_once, check_batch, readable, snapshot
from reslab.run import capacity
from reslab.run.streams import warn_once
from reslab.system.device import exact_float32

DIVERSITY_FLOOR = 1e-3  # tokens that differ by less than this share of their norm are one token
GRADIENT_FLOOR = 1e-10  # 1% of Adam's eps: a weight whose gradient is smaller moves by < 1% of a step
TOO_LARGE = (
    "the probes look at one sequence at a time, in float32 and without recomputation, so a smaller "
    "--probe_sequences does not help: leave them out with --probes=False, or lower --block_size"
)
EARLY_STEPS = (0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)


def due(step: int, eval_interval: int, ends: bool) -> bool:
    """Whether a run is probed at a step: often at the beginning, at each evaluation, and at the end."""
    return ends or step in EARLY_STEPS or step % eval_interval == 0


def resid_gradient(part: Snapshot) -> list[tuple]:
    """norm(dL/dh) of the stream around the sublayers (2L + 1)."""
    return [None if g is None else (_square(g),) for g in part.resid_gradients]


def position0_share(part: Snapshot) -> list[tuple]:
    """Share of the energy of dL/dh that sits on the first token (L + 1); 1/T when spread evenly."""
    return [(_square(g[:, 0]), _square(g)) for g in part.stream_gradients]


def kind_gradients(kind: str, matrices: str) -> Probe:
    """The gradient norm of one kind of matrix in each block (L): qk, v, o, w1 or w2."""

    def sums(part: Snapshot) -> list[tuple | None]:
        layers = range(len(part.anatomy.blocks))
        rows = [part.anatomy.matrices(layer, kind, part.gradients) for layer in layers]
        return [None if row is None else (sum(_square(matrix) for matrix in row),) for row in rows]

    return Probe(sums, f"gradient of {matrices}", value=math.sqrt, of_weights=True)


def token_diversity(part: Snapshot) -> list[tuple]:
    """norm(X - mean over tokens) / norm(X) of the stream (L + 1); 0 when all tokens are the same."""
    streams = (stream.double() for stream in part.streams)
    return [(_square(x - x.mean(dim=1, keepdim=True)), _square(x)) for x in streams]


def resid_rms(part: Snapshot) -> list[tuple]:
    """Root mean square of the stream around the sublayers (2L + 1)."""
    return [None if x is None else (_square(x), x.numel()) for x in part.resid]


def branch_ratio(part: Snapshot) -> list[tuple | None]:
    """norm(F) / norm(x) of each sublayer (2L), F as the branch gives it."""
    return [None if f is None else (_square(f), _square(x)) for x, f in _read_and_given(part)]


def branch_cosine(part: Snapshot) -> list[torch.Tensor | None]:
    """Mean cosine between F and x of each sublayer (2L); below 0 the branch erases."""
    return [
        None if f is None else torch.cosine_similarity(x.double(), f.double(), dim=-1).mean()
        for x, f in _read_and_given(part)
    ]


def _read_and_given(part: Snapshot) -> list[tuple]:
    """x and F of each sublayer (2L)."""
    return [(part.read_by(k), f) for k, f in enumerate(part.branch)]


def added_rms(part: Snapshot) -> list[tuple | None]:
    """Root mean square of y - skip x of each sublayer (2L), None where the skip is no constant."""
    added = map(part.added, range(len(part.branch)))
    return [None if a is None else (_square(a), a.numel()) for a in added]


def added_cosine(part: Snapshot) -> list[tuple | None]:
    """Cosine between x and y - skip x of each sublayer (2L), over all entries at once.

    So rms(y)^2 = s^2 rms(x)^2 + rms(a)^2 + 2 s rms(x) rms(a) cosine, a = y - s x, and s the skip.
    """
    pairs = [(part.read_by(k), part.added(k)) for k in range(len(part.branch))]
    return [
        None if a is None else ((x.double() * a.double()).sum(), _square(x), _square(a)) for x, a in pairs
    ]


def skip_gradient(part: Snapshot) -> list[tuple | None]:
    """norm(skip dL/dy) of each sublayer (2L), None where the skip is no constant."""
    places = range(len(part.branch))
    parts = [part.sublayer_gradients(k).through_skip if part.skip(k) is not None else None for k in places]
    return [None if g is None else (_square(g),) for g in parts]


def branch_gradient(part: Snapshot) -> list[tuple | None]:
    """norm((dF/dx)^T dL/dy) of each sublayer (2L), None where the skip is no constant."""
    return [None if g is None else (_square(g),) for g in part.branch_gradients]


def attention_entropy(part: Snapshot) -> list[torch.Tensor | float | None]:
    """Mean entropy of the attention rows, relative to uniform attention over what a row may see (L)."""
    entropies = []
    for layer, x in enumerate(part.attn_input):
        attention = part.anatomy.attention(layer, x, part.attention_weights.get(layer))
        if attention is None:
            entropies.append(None)
            continue
        weights, seen = attention
        T, seen = weights.shape[-1], seen[..., 1:]  # the first row sees one token
        entropy = torch.special.entr(weights).sum(dim=-1)[..., 1:]
        entropies.append((entropy / seen.log()).mean() if T > 1 else 0.0)
        del attention, weights, entropy  # before those of the next layer are made
    return entropies


def block_matrices(model) -> list[list[torch.Tensor]]:
    """Copies of the matrices of each block, taken before an update that update_ratio will look at."""
    return [[readable(p.detach().clone()) for p in _matrices(block)] for block in anatomy_of(model).blocks]


def update_ratio(model, before: list[list[torch.Tensor]]) -> list[float]:
    """norm(W after one update - W before) / norm(W before) over the matrices of each block (L)."""
    sums = []
    for block, was in zip(anatomy_of(model).blocks, before, strict=True):
        for now, w in zip(_matrices(block), was, strict=True):
            sums += [_square(readable(now.detach()) - w), _square(w)]
    read = iter(torch.stack(sums).tolist() if sums else [])  # one wait for a GPU
    pairs = [[(next(read), next(read)) for _ in was] for was in before]
    return [norm_ratio(sum(moved for moved, _ in block), sum(w for _, w in block)) for block in pairs]


def _matrices(block) -> list[torch.Tensor]:
    return [p for p in block.parameters() if p.dim() == 2]


def layers_that_learn(values: dict[str, list[float | None] | None], count: int) -> int | None:
    """How many blocks could learn: they tell tokens apart, and their Q and K get a gradient. Not a measure of
    what was learned: it may count all of them in a stack that has not moved, so pages leave it out at step 0.

    A block counts when the diversity of the stream it reads is at least DIVERSITY_FLOOR, and the root
    mean square of its Q/K gradient (count numbers) at least GRADIENT_FLOOR. None where either is missing.
    """
    pair = values["token_diversity"], values["qk_gradient"]
    if None in pair or None in pair[1]:
        return None
    return sum(
        diversity >= DIVERSITY_FLOOR and gradient / math.sqrt(count) >= GRADIENT_FLOOR
        for diversity, gradient in zip(*pair, strict=False)
    )


def measure_batch(model, inputs: torch.Tensor, targets: torch.Tensor, anatomy: Anatomy | None = None) -> dict:
    """All PROBES of a batch, as a row's keys: few sequences at a time, so that a batch takes little memory.

    Args:
        model: as snapshot() takes it; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device.
        anatomy: of a model of your own.
    """
    B, anatomy = len(inputs), anatomy or anatomy_of(model)
    check_batch(anatomy.model, inputs, targets)
    most = at_once(anatomy, inputs) if all(probe.takes_several for probe in PROBES.values()) else 1
    for size in dict.fromkeys((most, 1)):
        sums, pairs = {}, zip(inputs.split(size), targets.split(size), strict=True)  # sums of gradients
        try:
            return _measure((snapshot(model, x, y, size / B, sums, anatomy) for x, y in pairs), B // size)
        except Exception as error:
            if size == 1 or not capacity.ran_out(error):
                raise


def measure(part: Snapshot) -> dict:
    """All PROBES of a snapshot, as a row's keys."""
    return _measure([part], 1)


@exact_float32()
def _measure(parts: Iterable[Snapshot], count: int) -> dict:
    """All PROBES of so many parts of a batch, of which one is held at a time."""
    sums = {name: Sums(name, probe) for name, probe in PROBES.items()}
    for part in parts:  # not enumerate(), which would hold one part while the next is made
        count -= 1
        for name, probe in PROBES.items():
            if count == 0 or not probe.of_weights:
                sums[name].add(part)
        qk = part.anatomy.matrices(0, "qk", part.gradients) or []
        count_qk = sum(matrix.numel() for matrix in qk)
        del part, qk  # before the next part is looked at
    values = {name: each.read() for name, each in sums.items()}
    if not only_nan(values["resid_rms"]):  # then it is not the model
        for name in filter(lambda name: only_nan(values[name]), values):
            warn_once(f"probe {name}", ValueError("it gives nothing but NaN"), NULL)
    row = {f"probe/{name}": value for name, value in values.items()}
    return row | {"probe/layers_that_learn": layers_that_learn(values, count_qk)}


def early_warning(row: dict) -> str | None:
    """One line when this stack is unlikely to train, from what a probe measured; None where nothing says so.

    The sign is that the end of the stack can't tell tokens apart: whatever later tokens say is lost,
    and Q and K, which should tell them apart, get no gradient. It is no proof: near an edge of what trains
    some of the stored runs that were warned ended below `silent` (docs/residuals.md, step 3, counts them).
    """
    names = ("token_diversity", "resid_gradient", "position0_share")
    diversity, norms, shares = (row[f"probe/{name}"] for name in names)
    if diversity is None or not diversity[-1] < DIVERSITY_FLOOR:  # not a number: that is a divergence
        return None
    dead = next(layer for layer, d in enumerate(diversity) if d < DIVERSITY_FLOOR)
    line = (
        f"this stack is unlikely to train: behind {dead} of {len(diversity) - 1} layers all tokens look "
        f"alike (diversity {diversity[dead]:.0e}, at the end {diversity[-1]:.0e})"
    )
    if norms is None or shares is None:
        return line
    return (
        f"{line}; layer 0 sees {ratio(norms[0], norms[-1]):.0e} of the last layer's gradient, "
        f"{shares[0]:.0%} of that on the first token"
    )


def describe() -> dict[str, dict]:
    """Name -> label, scale, ends and sites of everything that is measured, for config.json and the page."""
    return {
        name: {"label": probe.label, "scale": probe.scale, "ends": probe.ends, "sites": list(probe.sites)}
        for name, probe in (PROBES | OTHERS).items()
    }


def _square(x: torch.Tensor) -> torch.Tensor:
    """The sum of squares, float64 ()."""
    return x.double().square().sum()


PROBES = {
    "resid_gradient": Probe(resid_gradient, "gradient at the stream, ‖dL/dh‖", sites=AROUND, value=math.sqrt),
    "position0_share": Probe(
        position0_share, "share of the gradient on the first token", "linear", sites=STREAM, value=share
    ),
    "qk_gradient": kind_gradients("qk", "Q and K"),
    "v_gradient": kind_gradients("v", "V"),
    "o_gradient": kind_gradients("o", "O"),
    "w1_gradient": kind_gradients("w1", "W1"),
    "w2_gradient": kind_gradients("w2", "W2"),
    "token_diversity": Probe(
        token_diversity, "token diversity", ends=(1e-6, 1), sites=STREAM, value=norm_ratio
    ),
    "resid_rms": Probe(resid_rms, "stream, rms", sites=AROUND, value=rms),
    "branch_ratio": Probe(branch_ratio, "branch over stream, ‖F‖ / ‖x‖", sites=BRANCHES, value=norm_ratio),
    "branch_cosine": Probe(
        branch_cosine, "cosine of branch and stream", "linear", (-1, 1), BRANCHES, averages=True
    ),
    "added_rms": Probe(added_rms, "what a sublayer adds, rms of y − skip x", sites=ADDED, value=rms),
    "added_cosine": Probe(
        added_cosine, "cosine of the stream and what is added to it", "linear", (-1, 1), ADDED, cosine
    ),
    "skip_gradient": Probe(skip_gradient, "gradient through the skip", sites=ADDED, value=math.sqrt),
    "branch_gradient": Probe(branch_gradient, "gradient through the branch", sites=ADDED, value=math.sqrt),
    "attention_entropy": Probe(
        attention_entropy, "attention entropy over that of uniform attention", "linear", averages=True
    ),
}
OTHERS = {
    "update_ratio": Probe(None, "update over weight, ‖ΔW‖ / ‖W‖", ends=(1e-6, 1)),
    "layers_that_learn": Probe(
        None,
        f"layers that a signal reaches: token diversity ≥ {DIVERSITY_FLOOR:g}, Q/K gradient rms ≥ "
        f"{GRADIENT_FLOOR:g}",
        "linear",
        sites=MODEL,
    ),
}
