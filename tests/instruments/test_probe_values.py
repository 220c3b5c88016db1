"""Every probe on a snapshot made by hand, against plain loops over its numbers."""

import math
from itertools import product

import pytest
import torch
from conftest import tiny_model

from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.divergence import NOWHERE, first_bad_layer
from reslab.instruments.probes import (
    DIVERSITY_FLOOR,
    GRADIENT_FLOOR,
    PROBES,
    block_matrices,
    early_warning,
    layers_that_learn,
    measure,
    update_ratio,
)
from reslab.instruments.snapshot import Snapshot, snapshot
from reslab.residual import WIRINGS

B, T, C, L = 2, 3, 8, 2
HEADS, KV_HEADS, D = 4, 2, 2


def draws(count: int, *shape: int) -> list[torch.Tensor]:
    """Tensors whose mean is not 0 and whose axes all differ."""
    ramp = sum(
        (axis + 1) * torch.arange(size).view([-1] + [1] * (len(shape) - axis - 1))
        for axis, size in enumerate(shape)
    )
    return [torch.randn(shape, dtype=torch.float64) + ramp / 4 + k for k in range(count)]


def make_snapshot() -> Snapshot:
    model = tiny_model(n_layer=L, n_embd=C, n_head=HEADS, n_kv_head=KV_HEADS, qk_norm=True, mlp="swiglu")
    first, second = model.blocks
    first.attn_residual.skip, first.mlp_residual.skip = 0.5, None
    second.attn_residual.skip, second.mlp_residual.skip = None, -2.0
    return Snapshot(
        resid=draws(2 * L + 1, B, T, C),
        resid_gradients=draws(2 * L + 1, B, T, C),
        branch=draws(2 * L, B, T, C),
        attn_input=draws(L, B, T, C),
        branch_gradients=[*draws(1, B, T, C), None, None, *draws(1, B, T, C)],
        gradients={name: torch.randn_like(p) for name, p in model.named_parameters()},
        anatomy=anatomy_of(model),
    )


def length(numbers) -> float:
    return math.sqrt(sum(x * x for x in torch.as_tensor(numbers).flatten().tolist()))


def rms(x) -> float:
    return length(x) / math.sqrt(x.numel())


def first_token(g) -> float:
    energy = [sum(g[b, t, c].item() ** 2 for b in range(B) for c in range(C)) for t in range(T)]
    return energy[0] / sum(energy)


def diversity(x) -> float:
    apart = []
    for b, c in product(range(B), range(C)):
        mean = sum(x[b, t, c].item() for t in range(T)) / T
        apart += [x[b, t, c].item() - mean for t in range(T)]
    return length(apart) / length(x)


def cosine(x, f) -> float:
    values = [
        sum(x[b, t] * f[b, t]).item() / length(x[b, t]) / length(f[b, t]) for b in range(B) for t in range(T)
    ]
    return sum(values) / len(values)


def unit(row, gain):
    return gain * row / math.sqrt(sum(x * x for x in row.tolist()) / D + 1e-5)


def entropy(attn, x) -> float:
    """Of each head and each row but the first, in shares of the logarithm of what the row may see."""
    values = []
    for b, h in product(range(B), range(HEADS)):
        rows = x[b] @ attn.c_attn.weight.T + attn.c_attn.bias
        shared = C + D * (h // (HEADS // KV_HEADS))
        q = [unit(row[D * h : D * h + D], attn.q_norm.weight) for row in rows]
        k = [unit(row[shared : shared + D], attn.k_norm.weight) for row in rows]
        for t in range(1, T):
            weights = [math.exp(sum(q[t] * k[s]).item() / math.sqrt(D)) for s in range(t + 1)]
            shares = [w / sum(weights) for w in weights]
            values.append(-sum(p * math.log(p) for p in shares) / math.log(t + 1))
    return sum(values) / len(values)


def matrix(name, rows=slice(None)):
    return lambda s: [length(s.gradients[f"blocks.{k}.{name}.weight"][rows]) for k in range(L)]


SKIPS = [0.5, None, None, -2.0]


def split(quantity):
    """What a function of skip and place gives for each sublayer of make_snapshot() with a constant skip."""
    return lambda s: [None if skip is None else quantity(s, skip, k) for k, skip in enumerate(SKIPS)]


def flat_cosine(x, a) -> float:
    return (x * a).sum().item() / length(x) / length(a)


QK = C + KV_HEADS * D  # rows of Q and K
EXPECTED = {
    "resid_gradient": lambda s: [length(g) for g in s.resid_gradients],
    "position0_share": lambda s: [first_token(g) for g in s.resid_gradients[::2]],
    "qk_gradient": matrix("attn.c_attn", slice(0, QK)),
    "v_gradient": matrix("attn.c_attn", slice(QK, None)),
    "o_gradient": matrix("attn.c_proj"),
    "w1_gradient": matrix("mlp.c_fc"),
    "w2_gradient": matrix("mlp.c_proj"),
    "token_diversity": lambda s: [diversity(x) for x in s.resid[::2]],
    "resid_rms": lambda s: [rms(x) for x in s.resid],
    "branch_ratio": lambda s: [length(f) / length(x) for x, f in zip(s.resid, s.branch, strict=False)],
    "branch_cosine": lambda s: [cosine(x, f) for x, f in zip(s.resid, s.branch, strict=False)],
    "added_rms": split(lambda s, skip, k: rms(s.resid[k + 1] - skip * s.resid[k])),
    "added_cosine": split(lambda s, skip, k: flat_cosine(s.resid[k], s.resid[k + 1] - skip * s.resid[k])),
    "skip_gradient": split(lambda s, skip, k: length(skip * s.resid_gradients[k + 1])),
    "branch_gradient": split(lambda s, skip, k: length(s.branch_gradients[k])),
    "attention_entropy": lambda s: [
        entropy(block.attn, x) for block, x in zip(s.model.blocks, s.attn_input, strict=True)
    ],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_a_probe_is_its_formula(name):
    seen = make_snapshot()
    with torch.no_grad():
        values = measure(seen)[f"probe/{name}"]
        assert values == [v and pytest.approx(v, rel=1e-6) for v in EXPECTED[name](seen)]


def test_a_row_holds_every_probe_and_how_many_layers_learn():
    seen = make_snapshot()
    for scale, learning in ((1.01, 1), (0.99, 0)):  # of the floor, by the root mean square of Q and K
        for layer in range(L):
            name = f"blocks.{layer}.attn.c_attn.weight"
            rows = torch.zeros_like(seen.gradients[name])
            rows[:QK] = GRADIENT_FLOOR * scale * (-1) ** layer
            seen.gradients[name] = rows
        seen.resid[2] = torch.ones(B, T, C, dtype=torch.float64)  # block 1 can't tell tokens apart
        row = measure(seen)
        assert row.keys() == {f"probe/{name}" for name in [*PROBES, "layers_that_learn"]}
        assert row["probe/layers_that_learn"] == learning


def test_a_layer_learns_when_it_has_both():
    above, below = 2 * DIVERSITY_FLOOR, DIVERSITY_FLOOR / 2
    values = {
        "token_diversity": [above, above, below, below, above],  # the last is behind all blocks
        "qk_gradient": [5 * GRADIENT_FLOOR, 3 * GRADIENT_FLOOR, 5 * GRADIENT_FLOOR, 0.0],
    }
    assert layers_that_learn(values, 16) == 1
    assert layers_that_learn(values, 9) == 2
    assert layers_that_learn(values, 36) == 0


def warned_row(diversity):
    return {
        "probe/token_diversity": diversity,
        "probe/qk_gradient": [1.0] * (len(diversity) - 1),
        "probe/resid_gradient": [6e-7, 5.0, 2.0],
        "probe/position0_share": [0.25, 0.5],
    }


def test_the_early_warning_reads_the_end_of_the_stack_and_tells_where_it_died():
    assert early_warning(warned_row([1e-4, 1e-4, 0.002])) is None  # recovers
    assert early_warning(warned_row([0.5, 0.2, math.nan])) is None  # diverged
    warning = early_warning(warned_row([0.5, 0.2, 2e-4, 3e-5]))
    assert "behind 2 of 3 layers all tokens look alike (diversity 2e-04, at the end 3e-05)" in warning
    assert "layer 0 sees 3e-07 of the last layer's gradient, 25% of that on the first token" in warning


def test_the_update_ratio_compares_with_the_matrices_before():
    model = tiny_model(n_layer=2)
    before = block_matrices(model)
    with torch.no_grad():
        for parameter in model.blocks[1].parameters():
            parameter.mul_(3.0) if parameter.dim() == 2 else parameter.fill_(100.0)
    assert update_ratio(model, before) == pytest.approx([0.0, 2.0])


def test_nothing_to_divide_by_is_no_fault():
    seen = make_snapshot()
    seen.resid = [torch.zeros(B, T, C)] * (2 * L + 1)
    seen.resid_gradients = [torch.zeros(B, T, C)] * (2 * L + 1)
    seen.branch = [torch.ones(B, T, C)] * (2 * L)
    row = measure(seen)
    assert row["probe/resid_gradient"] == [0.0] * 5 and row["probe/position0_share"] == [1.0] * 3
    assert row["probe/token_diversity"] == [0.0] * 3 and row["probe/branch_ratio"] == [0.0] * 4
    assert row["probe/added_cosine"] == [0.0, None, None, 0.0]


IDS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(2))


def plain_pass(model):
    """Streams around the sublayers, (x, F) of each branch, and the loss, without hooks."""
    branches = []

    def through(residual, branch, stream):
        def watched(x, **more):
            branches.append((x, branch(x, **more)))
            return branches[-1][1]

        return residual(stream, watched)

    stream, around = model.stack.open(model.embed(IDS)), []
    for block in model.blocks:
        around.append(stream)
        stream = through(block.attn_residual, block.attn, stream)
        around.append(stream)
        stream = through(block.mlp_residual, block.mlp, stream)
    around.append(stream)
    return [one_tensor(x) for x in around], branches, model.head_loss(model.stack.close(stream), TARGETS)


def one_tensor(stream):
    stream = stream[0] if isinstance(stream, tuple) else stream
    return stream[-1] if isinstance(stream, list) else stream


@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_snapshot_is_what_the_model_computes(wiring):
    """Streams, branches, inputs of attention and gradients, from one plain pass without hooks."""
    model = tiny_model(residual=wiring, dropout=0.5).train()
    seen = snapshot(model, IDS, TARGETS)
    assert model.training
    model.eval()
    streams, branches, loss = plain_pass(model)
    gradients = torch.autograd.grad(loss, streams, retain_graph=True, allow_unused=True)
    parallel = streams[0].dim() == 4
    for k, (x, g) in enumerate(zip(streams, gradients, strict=True)):
        g = torch.zeros_like(x) if g is None else g
        assert torch.allclose(seen.resid[k], x.mean(0) if parallel else x)
        assert torch.allclose(seen.resid_gradients[k], g.sum(0) if parallel else g, atol=1e-12)
    assert all(torch.allclose(F, branches[k][1]) for k, F in enumerate(seen.branch))
    assert all(torch.allclose(x, branches[2 * k][0]) for k, x in enumerate(seen.attn_input))
    loss.backward()
    for name, parameter in model.named_parameters():
        expected = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        assert torch.allclose(seen.gradients[name], expected, atol=1e-12), name
    if WIRINGS[wiring].single_tensor:
        x0 = model.stack.open(model.embed(IDS)).detach().requires_grad_()
        gradient = torch.autograd.grad(run(model, x0), x0)[0]
        assert torch.allclose(seen.sublayer_gradients(0).grad_in, gradient, atol=1e-12)


def run(model, x):
    for block in model.blocks:
        x = block(x)
    return model.head_loss(x, TARGETS)


def test_the_first_place_that_is_not_finite_is_named():
    def bad_at(change, **shape):
        model = tiny_model(**shape).float()
        with torch.no_grad():
            change(model)
        return first_bad_layer(model, IDS, TARGETS)

    def both(model):
        model.blocks[1].mlp.c_fc.weight[0, 0] = math.inf
        model.blocks[2].attn.c_attn.weight[0, 0] = math.nan

    assert bad_at(lambda model: None) == NOWHERE
    assert bad_at(both) == "block 1, forward"
    assert bad_at(lambda model: model.ln_f.weight.fill_(math.inf)) == "head, forward"
    # A gradient that overflows: the forward pass and the loss are finite, the blocks' biases come last.
    model = tiny_model().float()
    model.blocks[1].mlp.c_fc.register_full_backward_hook(lambda m, grads, out: (grads[0] * math.inf,))
    assert first_bad_layer(model, IDS, TARGETS) == "blocks.1.mlp_residual.norm.bias, backward"
