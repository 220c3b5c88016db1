"""Each wiring against its equation, written out a second time, and against the constants of its paper."""

import math

import pytest
import torch
from conftest import tiny_config, tiny_model
from stacks_by_hand import STACKS, norm, run_blocks, sublayers

from reslab.model import GPT
from reslab.residual import WIRINGS

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("wiring", STACKS)  # the contract holds one of yours
def test_a_stack_computes_its_equation(wiring):
    """With parameters far from where they start, so that no term is 0 and no factor 1."""
    model = tiny_model(residual=wiring, residual_scale=0.7)
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    assert torch.allclose(run_blocks(model, x), STACKS[wiring](model, x), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_the_head_normalises_what_the_last_block_does_not(wiring):
    model = tiny_model(residual=wiring)
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    expected = x if wiring in ("post", "deepnorm", "keel", "resi_dual") else norm(model.ln_f, x)
    assert torch.allclose(model.head(x), expected @ model.wte.weight.T, atol=1e-12)
    mixed = GPT(tiny_config(residual="pre", mlp_residual="post"))
    assert isinstance(mixed.ln_f, torch.nn.Identity)  # the last sublayer decides
    assert not isinstance(GPT(tiny_config(attn_residual="post")).ln_f, torch.nn.Identity)


def as_gpt2(layers):
    return {"O": (2 * layers) ** -0.5, "W2": (2 * layers) ** -0.5}


def twice_gpt2(layers):
    """sqrt(n) times as large, of n = 4 streams."""
    return {name: 2 * factor for name, factor in as_gpt2(layers).items()}


def by_xavier(layers):
    """At width 16 and 64 in the MLP."""
    square, oblong = (1 / 16) ** 0.5 / 0.02, (2 / 80) ** 0.5 / 0.02
    return dict.fromkeys("QKVO", square) | dict.fromkeys(("W1", "W2"), oblong)


def as_deepnet(layers):
    """By Xavier's variance; V, O, W1 and W2 times beta."""
    beta = (8 * layers) ** -0.25
    return {name: factor * (1 if name in "QK" else beta) for name, factor in by_xavier(layers).items()}


# What each wiring's paper multiplies the draws of std 0.02 by, where it is not 1.
AS_PRE = ["pre", "scaled", "x0", "value_residual", "dense", "mhc", "parallel", "stochastic_depth"]
DRAWS = dict.fromkeys(AS_PRE, as_gpt2)
DRAWS |= {"rezero": by_xavier, "deepnorm": as_deepnet, "depth_mup": lambda layers: {"O": 0, "W2": 0}}
DRAWS |= dict.fromkeys(("hyper", "dynamic_hyper"), twice_gpt2)
DRAWS |= {"block_skip": lambda layers: {"W2": layers**-0.5}}


def matrices(model, layer: int) -> dict:
    """The matrices of a block by their usual names."""
    branches = (model.blocks[layer].attn, model.blocks[layer].mlp)
    weights = [matrix for branch in branches for matrix in (*branch.input_matrices(), branch.c_proj.weight)]
    return dict(zip((*"QKVO", "W1", "W2"), weights, strict=True))


@pytest.mark.parametrize("layers", [2, 7])
@pytest.mark.parametrize("wiring", [n for n in WIRINGS if n not in ("identity_start", "partial_skips")])
def test_matrices_start_as_the_paper_says(wiring, layers):
    shape = {"residual": wiring, "n_layer": layers}
    model, draws = GPT(tiny_config(**shape)), GPT(tiny_config(**shape, init="unscaled"))
    factors = DRAWS.get(wiring, lambda layers: {})(layers)
    for layer in (0, layers - 1):
        drawn = matrices(draws, layer)
        for name, matrix in matrices(model, layer).items():
            assert torch.allclose(matrix, factors.get(name, 1) * drawn[name], rtol=1e-5), name
    biases = [p for name, p in model.named_parameters() if name.endswith("bias") and "gate" not in name]
    assert biases and all((bias == 0).all() for bias in biases)


def one_hot(size, place):
    return [float(i == place) for i in range(size)]


def as_hyper(k, layers):
    mix = [one_hot(4, n) for n in range(4)]
    return {"inward": one_hot(4, k % 4), "mix": mix, "outward": [1.0] * 4}


def as_mhc(k, layers):
    reads, writes = [-math.log(3)] * 4, [0.0] * 4  # sigmoid gives 1/4, and 2 sigmoid 1
    mix = [0.0 if to == start else -3.0 for to in range(4) for start in range(4)]
    return {"scales": [0.01] * 3, "base": reads + writes + mix}


# What the wiring's own parameters start at, in sublayer k of L layers.
OWN = {
    "rezero": lambda k, layers: {"alpha": 0.0},
    "layerscale": lambda k, layers: {"gain": [0.1 if layers <= 18 else 1e-5 if layers <= 24 else 1e-6] * 16},
    "highway": lambda k, layers: {"gate.bias": [-2.0] * 16},
    "x0": lambda k, layers: {"keep": 1.0, "first": 0.0},
    "dense": lambda k, layers: {"weights": one_hot(k // 2 + 2, k // 2 + 1)} if k % 2 else {},
    "hyper": as_hyper,
    "dynamic_hyper": lambda k, layers: as_hyper(k, layers) | {"maps": [[0.0] * 6] * 16, "scales": [0.01] * 2},
    "mhc": as_mhc,
    "attention_residual": lambda k, layers: {"query": [0.0] * 16},
}


@pytest.mark.parametrize("layers", [3, 24, 25])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_what_a_wiring_adds_starts_as_the_paper_says(wiring, layers):
    model = GPT(tiny_config(residual=wiring, n_layer=layers))
    shared = {"last_query": [0.0] * 16} if wiring == "attention_residual" else {}
    assert {n: p.tolist() for n, p in model.stack.named_parameters() if "norm" not in n} == shared
    for k, (residual, _) in enumerate(sublayers(model)):
        own = {name: p for name, p in residual.named_parameters() if "norm" not in name}
        drawn = {"highway": "gate.weight", "mhc": "maps.weight"}.get(wiring)
        assert own.pop(drawn).any() if drawn else True
        expected = OWN.get(wiring, lambda k, layers: {})(k, layers)
        assert own.keys() == expected.keys()
        for name, value in expected.items():
            assert torch.equal(own[name], torch.tensor(value)), name


@pytest.mark.parametrize(("wiring", "larger"), [("x0", 1), ("dense", 1), ("hyper", 2), ("dynamic_hyper", 2)])
def test_these_start_as_pre_with_branches_as_large_or_larger(wiring, larger):
    x = torch.randn(2, 8, 16)
    other, pre = GPT(tiny_config(residual=wiring)), GPT(tiny_config(residual="pre"))
    with torch.no_grad():
        for _, branch in sublayers(pre):
            branch.c_proj.weight.mul_(larger)
    assert torch.equal(run_blocks(other, x), run_blocks(pre, x))


@pytest.mark.parametrize("layers", [1, 100])
def test_a_zero_start_does_not_feel_depth(layers):
    """J = I exactly: loss and gradient at layer 0 are those of the model without blocks."""
    model = GPT(tiny_config(residual="rezero", n_layer=layers, n_embd=8))
    x = model.wte(IDS).detach().requires_grad_()
    loss = model.head_loss(run_blocks(model, x), TARGETS)
    expected = model.head_loss(model.stack.open(x), TARGETS)
    assert loss.item() == expected.item()
    assert torch.equal(torch.autograd.grad(loss, x)[0], torch.autograd.grad(expected, x)[0])


def test_the_repaired_control_keeps_tokens_apart():
    """No skip, but attention starts as the identity: after 24 blocks the tokens are still apart."""

    def diversity(x):
        return ((x - x.mean(1, keepdim=True)).norm() / x.norm()).item()

    x = torch.randn(1, 32, 64)
    shape = {"n_layer": 24, "n_embd": 64, "block_size": 32}
    assert diversity(run_blocks(GPT(tiny_config(residual="identity_start", **shape)), x)) > 0.4
    assert diversity(run_blocks(GPT(tiny_config(residual="none", **shape)), x)) < 1e-4
    control = GPT(tiny_config(residual="identity_start", **shape)).blocks[5]
    v, out = control.attn.c_attn.weight[128:], control.attn.c_proj.weight
    for matrix in (v, out):
        assert torch.allclose(matrix @ matrix.T, torch.eye(64), atol=1e-5)
    assert (control.attn.c_attn.weight[:64] == 0).all()


def test_sublayers_that_carry_different_streams_are_refused():
    message = r"attn_residual=hyper, mlp_residual=pre: they carry different streams, .* tensor: pre, .*none,"
    with pytest.raises(ValueError, match=message):
        GPT(tiny_config(attn_residual="hyper"))


def test_one_kind_of_sublayer_can_lose_its_skip():
    model = tiny_model(residual="pre", mlp_residual="none")
    block, x = model.blocks[0], torch.randn(1, 8, 16, dtype=torch.float64)
    after = x + block.attn(block.attn_residual.norm(x))
    assert torch.equal(block(x), block.mlp(block.mlp_residual.norm(after)))


NORMS = {  # wiring -> what its equation calls its parts
    "pre": {"N": "norm"},
    "none": {"N": "norm"},
    "post": {"N": "norm"},
    "sandwich": {"N1": "norm", "N2": "norm_out"},
    "reordered_norm": {"N": "norm_out"},
    "rezero": {"a": "alpha"},
}


@pytest.mark.parametrize("name", NORMS)
def test_an_equation_is_what_forward_computes(name):
    config = tiny_config(residual=name)
    residual, x = WIRINGS[name](config, 1), torch.randn(2, 3, config.n_embd)
    with torch.no_grad():
        for parameter in residual.parameters():
            parameter.add_(torch.rand_like(parameter))
    known = {"x": x, "F": lambda x: 2 * x.sin() + 1}
    known |= {word: getattr(residual, own) for word, own in NORMS[name].items()}
    text = residual.equation.removeprefix("y = ").replace("a F", "a * F")
    torch.testing.assert_close(eval(text, known), residual(x, known["F"]))
