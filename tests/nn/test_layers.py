"""The parts of a block against plain loops: attention, MLP, norms, dropout, and how matrices start."""

import math
import shutil

import pytest
import torch
from conftest import ROOT, run_python, tiny_config, tiny_model

from model import GPT
from reslab.nn.init import INITS
from reslab.nn.layers import NORMS
from reslab.residual import WIRINGS

IDS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(1))
MODERN = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope", "n_head": 4, "n_kv_head": 2, "qk_norm": True}


def rotated(x, t):
    """Pair (j, j + D / 2) of x (D,) turned by t 10000^(-2j / D)."""
    half, y = len(x) // 2, x.clone()
    for j in range(half):
        angle = t * 10_000 ** (-2 * j / len(x))
        y[j] = x[j] * math.cos(angle) - x[j + half] * math.sin(angle)
        y[j + half] = x[j + half] * math.cos(angle) + x[j] * math.sin(angle)
    return y


def attention_by_loops(attn, config, x):
    """One sequence x (T, C), one head and one query at a time."""
    D, kv_heads = config.n_embd // config.n_head, config.n_kv_head or config.n_head
    rows = x @ attn.c_attn.weight.T + attn.c_attn.bias  # (T, Q, then K, then V)
    y = torch.zeros_like(x)
    for h in range(config.n_head):
        shared = h // (config.n_head // kv_heads)

        def part(first, head, gain=None, rows=rows):
            actual = rows[:, first + head * D : first + (head + 1) * D]
            if gain is not None:
                actual = gain * actual / (actual.square().mean(-1, keepdim=True) + config.norm_eps).sqrt()
            return actual

        gains = (attn.q_norm.weight, attn.k_norm.weight) if config.qk_norm else (None, None)
        q, k = part(0, h, gains[0]), part(config.n_embd, shared, gains[1])
        v = part(config.n_embd + kv_heads * D, shared)
        if config.pos == "rope":
            q, k = (torch.stack([rotated(row, t) for t, row in enumerate(z)]) for z in (q, k))
        for t in range(len(x)):
            weights = torch.stack([(q[t] @ k[s] / math.sqrt(D)).exp() for s in range(t + 1)])
            seen = sum(w / weights.sum() * v[s] for s, w in enumerate(weights))
            if attn.a is not None:
                seen = attn.a[h] * v[t] + attn.b[h] * seen
            y[t, h * D : (h + 1) * D] = seen
    return y @ attn.c_proj.weight.T + attn.c_proj.bias


@pytest.mark.parametrize("changes", [{}, MODERN, {"n_head": 4, "n_kv_head": 1, "pos": "rope"}])
@pytest.mark.parametrize("wiring", ["pre", "identity_start"])
def test_attention_is_that_of_plain_loops_at_every_length(changes, wiring):
    model = tiny_model(residual=wiring, norm_eps=0.1, **changes)
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    attn = model.blocks[1].attn
    for T in (1, 2, 3, 8):
        expected = torch.stack([attention_by_loops(attn, model.config, sequence[:T]) for sequence in x])
        assert torch.allclose(attn(x[:, :T]), expected, atol=1e-6)  # the table of angles holds float32


ACTS = {
    "gelu": lambda h: h * (1 + ((2 / math.pi) ** 0.5 * (h + 0.044715 * h**3)).tanh()) / 2,
    "gelu_erf": lambda h: h * (1 + (h / 2**0.5).erf()) / 2,
    "relu2": lambda h: torch.where(h > 0, h * h, 0 * h),
    "swiglu": lambda h: h[..., :40] / (1 + (-h[..., :40]).exp()) * h[..., 40:],
}


@pytest.mark.parametrize("name", ACTS)
def test_an_mlp_computes_its_equation(name):
    mlp, x = tiny_model(mlp=name).blocks[1].mlp, torch.randn(2, 8, 16, dtype=torch.float64)
    inside = ACTS[name](x @ mlp.c_fc.weight.T + mlp.c_fc.bias)
    assert inside.shape[-1] == (40 if name == "swiglu" else 64)
    assert torch.allclose(mlp(x), inside @ mlp.c_proj.weight.T + mlp.c_proj.bias, atol=1e-12)


NORM_FORMULAS = {
    "layernorm": lambda x: (x - x.mean(-1, True)) / (x.var(-1, keepdim=True, correction=0) + 0.1).sqrt(),
    "rmsnorm": lambda x: x / (x.square().mean(-1, keepdim=True) + 0.1).sqrt(),
}


@pytest.mark.parametrize("name", NORM_FORMULAS)
def test_a_norm_computes_its_formula(name):
    norm, x = tiny_model(norm=name, norm_eps=0.1).ln_f, 1 + torch.randn(2, 8, 16, dtype=torch.float64)
    bias = norm.bias if name == "layernorm" else 0
    assert torch.allclose(norm(x), norm.weight * NORM_FORMULAS[name](x) + bias, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_without_biases_there_is_none(name):
    names = [n for n, _ in GPT(tiny_config(norm=name, bias=False)).named_parameters()]
    assert not [n for n in names if "bias" in n]
    model = GPT(tiny_config(norm=name))
    with_bias = {n.rsplit(".", 1)[0] for n, _ in model.named_parameters() if n.endswith("bias")}
    assert {
        f"blocks.0.{part}" for part in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    } <= with_bias
    assert ("ln_f" in with_bias) == (name == "layernorm")
    assert model.count_parameters() == sum(p.numel() for p in set(model.parameters()))


def share_dropped(before, after):
    """Share of zeros in `after`, and whether all others are `before` divided by what is left."""
    zero = after == 0
    assert torch.allclose(after[~zero], before[~zero] / 0.75)
    return zero.double().mean().item()


def test_every_place_of_dropout_drops_its_share():
    """Embeddings and both branches lose a quarter of their activations while training, nothing else."""
    model = tiny_model(dropout=0.25, block_size=64, n_embd=64)
    ids = torch.randint(19, (4, 64))
    seen = {}

    def keep(module, args, output=None):
        seen[module] = args[0] if output is None else output

    block = model.blocks[1]
    model.blocks[0].register_forward_pre_hook(keep)
    for module in (block.attn, block.mlp, block.attn.c_proj, block.mlp.c_proj):
        module.register_forward_hook(keep)
    plain = model(ids)
    assert torch.equal(seen[model.blocks[0]], model.embed(ids))
    assert torch.equal(seen[block.mlp], seen[block.mlp.c_proj]) and torch.equal(plain, model(ids))
    model.train()(ids)
    pairs = [(model.embed(ids), seen[model.blocks[0]])]
    pairs += [(seen[branch.c_proj], seen[branch]) for branch in (block.attn, block.mlp)]
    for before, after in pairs:
        assert share_dropped(before, after) == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dropout_of_attention_drops_whole_weights(dtype):
    """The first token has one weight, 1: its value arrives divided by 0.75, or does not arrive."""
    attn = tiny_model(dropout=0.25, n_head=2).blocks[0].attn.to(dtype)
    seen = []
    attn.c_proj.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(4000, 8, 16, dtype=dtype)
    for training in (False, True):
        attn.train(training)(x)
    first = [y[:, 0].double().view(4000, 2, 8) for y in seen]  # (B, H, D)
    dropped = (first[1] == 0).all(-1)
    assert dropped.double().mean().item() == pytest.approx(0.25, abs=0.02)
    assert ((first[1] == 0).any(-1) == dropped).all()
    assert torch.allclose(first[1][~dropped], first[0][~dropped] / 0.75, rtol=0.02)


def parts_of(model):
    """Each matrix of a block as the inits see it: Q, K and V apart, gate and W1 apart."""
    block = model.blocks[1]
    return [
        *block.attn.input_matrices(),
        block.attn.c_proj.weight,
        *block.mlp.input_matrices(),
        block.mlp.c_proj.weight,
    ]


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("shape", [{}, MODERN])
def test_an_init_overrules_every_wiring(wiring, shape):
    """Of Gaussian draws of std 0.02, the same for all: what each rule makes of them."""
    inits = {
        init: parts_of(GPT(tiny_config(residual=wiring, init=init, **shape | {"n_embd": 48})))
        for init in INITS
    }
    draws = inits.pop("unscaled")
    last = (len(draws) - 1, 3)  # W2 and O
    for place, draw in enumerate(draws):
        assert draw.std().item() == pytest.approx(0.02, rel=0.08)
        scaled = draw / math.sqrt(2 * 3) if place in last else draw
        assert torch.allclose(inits["scaled"][place], scaled, rtol=1e-5)
        fan_in = draw / (0.02 * math.sqrt(draw.shape[1]))
        assert torch.allclose(inits["fan_in"][place], fan_in, rtol=1e-5)
        matrix = inits["orthogonal"][place]
        tall, tall_draw = (m if m.shape[0] >= m.shape[1] else m.T for m in (matrix, draw))
        assert torch.allclose(tall.T @ tall, torch.eye(tall.shape[1]), atol=1e-5)
        triangle = tall.T @ tall_draw  # R of the draw, with signs that only the draw decides
        assert triangle.tril(-1).abs().max() < 1e-5 and (triangle.diagonal() > 0).all()


def test_the_repaired_control_starts_orthogonal_with_silent_queries():
    drawn = parts_of(GPT(tiny_config(init="orthogonal", residual="none", **MODERN)))
    unscaled = parts_of(GPT(tiny_config(init="unscaled", residual="none", **MODERN)))
    control = parts_of(GPT(tiny_config(residual="identity_start", **MODERN)))
    assert (control[0] == 0).all() and torch.equal(control[1], unscaled[1])  # Q, K
    assert all(torch.equal(a, b) for a, b in zip(control[2:], drawn[2:], strict=True))
    attn = GPT(tiny_config(residual="identity_start")).blocks[0].attn
    assert (attn.a == 1).all() and (attn.b == 0).all()


EDGES = [
    ({"dropout": 0.0}, {"dropout": 1.0}),
    ({"dropout": 0.99}, {"dropout": -0.01}),
    ({"norm_eps": 1e-12}, {"norm_eps": 0.0}),
    ({"norm_eps": 1.0}, {"norm_eps": math.inf}),
    ({"residual_scale": -2.0}, {"residual_scale": math.nan}),
    ({"vocab_size": 1}, {"vocab_size": -1}),
    ({"n_layer": 1}, {"n_layer": 0}),
    ({"block_size": 1}, {"block_size": 0}),
    ({"n_head": 16}, {"n_head": 0}),
    ({"n_head": 8}, {"n_head": 32}),
    ({"n_embd": 2}, {"n_embd": 0}),
    ({"n_kv_head": 2, "n_head": 4}, {"n_kv_head": 3, "n_head": 4}),
]


@pytest.mark.parametrize(("allowed", "refused"), EDGES)
def test_settings_are_taken_up_to_their_edge_and_refused_beyond(allowed, refused):
    assert not tiny_config(**allowed).faults()
    GPT(tiny_config(**allowed))(torch.zeros(1, 1, dtype=torch.long))
    (fault,) = tiny_config(**refused).faults()
    key, value = next(iter(refused.items()))
    assert fault.startswith(f"{key}={value}: ")


def test_a_model_without_a_vocabulary_is_refused():
    assert not tiny_config(vocab_size=0).faults()  # a dataset may still give it
    with pytest.raises(ValueError, match="vocab_size=0: must be set"):
        GPT(tiny_config(vocab_size=0))


GEGLU = """
from dataclasses import replace
import torch
import torch.nn.functional as F
from model import GPT
from reslab.run.settings import GPTConfig
from reslab.nn import flops
from reslab.training.growth import grow
shape = dict(block_size=8, vocab_size=19, n_layer=2, n_head=2, n_embd=48)
config = GPTConfig(**shape, mlp="geglu", residual="deepnorm")
mlp = GPT(config).blocks[0].mlp
assert [tuple(m.shape) for m in mlp.input_matrices()] == [(128, 48), (128, 48)] and config.mlp_width == 128
x = torch.randn(2, 8, 48)
gate, value = mlp.c_fc(x).chunk(2, dim=-1)
assert torch.allclose(mlp(x), mlp.c_proj(F.gelu(gate) * value))
config = replace(config, residual="pre")
old, new = GPT(config), GPT(replace(config, n_layer=3))
grow(old, new, "end")
ids = torch.zeros(1, 8, dtype=torch.long)
assert torch.equal(old(ids), new(ids))
matrices = 2 * (4 * 48 * 48 + 3 * 128 * 48) + 19 * 48
assert flops.flops_per_token(config) == 6 * matrices + 12 * 2 * 48 * 8
"""


@pytest.mark.slow
def test_a_gated_activation_is_one_entry(tmp_path):
    """Written into the dict of a copy: settings, width, starts, growth and FLOPs know that it has a gate."""
    for name in ("model.py", "reslab"):
        source = ROOT / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    path = tmp_path / "reslab" / "nn" / "layers.py"
    entry = '    "geglu": Activation(lambda x: F.gelu(x.chunk(2, -1)[0]) * x.chunk(2, -1)[1], gated=True),\n'
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("ACTIVATIONS = {\n", "ACTIVATIONS = {\n" + entry), encoding="utf-8")
    run_python("-c", GEGLU, cwd=tmp_path)
