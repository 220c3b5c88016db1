"""What is special about a wiring's clean path, its draws or its mixing, beyond its equation."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import tiny_config, tiny_model
from stacks_by_hand import run_blocks, sublayers

from reslab.model import GPT
from reslab.residual import sinkhorn

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))


def share_of_the_clean_path(wiring: str, layers: int) -> float:
    """What is left of a gradient behind all sublayers, when every branch gives rms 1 and hands none back."""
    shape = {"n_layer": layers, "n_embd": 256, "norm": "rmsnorm", "bias": False}
    model = GPT(tiny_config(residual=wiring, **shape)).double()
    x = start = torch.randn(2, 8, 256, dtype=torch.float64).requires_grad_()
    for residual, _ in sublayers(model):
        x = residual(x, lambda _: torch.randn(2, 8, 256, dtype=torch.float64))
    gradient = torch.randn_like(x)
    (through,) = torch.autograd.grad(x, start, gradient)
    return (through.norm() / gradient.norm()).item()


@pytest.mark.parametrize("layers", [3, 24])
def test_the_skip_of_keel_is_whole_at_any_depth(layers):
    """exp(-1 / (4L)), where each norm of `post` halves the square of what passes."""
    assert share_of_the_clean_path("keel", layers) == pytest.approx(math.exp(-1 / (4 * layers)), rel=0.02)
    assert share_of_the_clean_path("post", layers) == pytest.approx(2.0**-layers, rel=0.2)


@pytest.mark.parametrize(
    ("skip_blocks", "expected"),
    [
        *[("every:1", [1, 2, 3, 4, 5]), ("every:2", [2, 4]), ("every:3", [3]), ("every:6", [])],
        *[("first:2", [1, 2]), ("last:2", [4, 5]), ("first:5", [1, 2, 3, 4, 5]), ("last:9", [1, 2, 3, 4, 5])],
    ],
)
def test_blocks_with_skips_are_those_of_pre_and_the_others_those_of_none(skip_blocks, expected):
    """Bit for bit, what they compute and how they start."""
    config = tiny_config(n_layer=5, residual="partial_skips", skip_blocks=skip_blocks)
    partial, pre, none = (GPT(replace(config, residual=r)) for r in ("partial_skips", "pre", "none"))
    x = torch.randn(2, 8, 16)
    for number, block in enumerate(partial.blocks, 1):
        like = (pre if number in expected else none).blocks[number - 1]
        assert torch.equal(block(x), like(x)), number
        assert {residual.skip for residual, _ in block.sublayers()} == {float(number in expected)}


def test_branches_are_left_out_for_each_sequence_and_only_while_training():
    model = GPT(tiny_config(residual="stochastic_depth", n_layer=4)).double()
    x, shares = torch.randn(500, 1, 16, dtype=torch.float64), []
    for residual, _ in sublayers(model):
        added = residual(x, lambda _: torch.ones_like(x)) - x
        heard = added.flatten(1).mean(dim=1)
        assert ((heard - heard.round()).abs() < 1e-12).all()  # a sequence hears all of a branch, or nothing
        shares.append(heard.mean().item())
    assert shares == pytest.approx([7 / 8] * 2 + [6 / 8] * 2 + [5 / 8] * 2 + [4 / 8] * 2, abs=0.07)
    assert torch.equal(model.eval().loss(IDS, TARGETS), model.loss(IDS, TARGETS))


def test_what_is_left_out_depends_on_the_seed_of_the_step_alone():
    model, losses = tiny_model(residual="stochastic_depth").train(), []
    for seed in (1, 2, 1):
        torch.manual_seed(seed)
        losses.append(model.loss(IDS, TARGETS).item())
    assert losses[0] == losses[2] != losses[1]


def test_mixing_matrices_are_doubly_stochastic_whatever_they_are_computed_from():
    mix = sinkhorn(torch.randn(7, 4, 4, dtype=torch.float64))
    assert (mix > 0).all()
    for dim in (-1, -2):
        assert torch.allclose(mix.sum(dim), torch.ones((), dtype=torch.float64), atol=1e-4)
    assert torch.isfinite(sinkhorn(torch.tensor([[0.0, -500.0], [0.0, -500.0]]))).all()  # a column of nothing


def test_streams_that_are_mixed_keep_their_mean():
    """With silent branches, through 24 sublayers whose parameters are anything: the clean path."""
    model = tiny_model(residual="mhc", n_layer=12)
    stream = start = torch.randn(4, 2, 8, 16, dtype=torch.float64)
    for residual, _ in sublayers(model):
        stream = residual(stream, torch.zeros_like)
    assert (stream - start).abs().max() > 1  # they have become alike
    assert (stream.mean(dim=0) - start.mean(dim=0)).abs().max() < 0.05


def test_mhc_starts_near_pre():
    x = torch.randn(2, 8, 16)
    start, pre = (run_blocks(GPT(tiny_config(residual=name)), x) for name in ("mhc", "pre"))
    assert torch.allclose(start, pre, rtol=1e-3, atol=1e-3) and not torch.equal(start, pre)


def test_attention_and_mlp_of_a_parallel_block_read_the_same():
    """So neither gets a gradient through the other, and a block of `block_skip` none past one of them."""
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    model = tiny_model(residual="parallel", n_layer=1)
    model.blocks[0].attn.c_proj.weight.data.zero_()
    without = run_blocks(model, x)
    by_mlp = model.blocks[0].mlp(model.blocks[0].mlp_residual.norm(x))
    assert torch.allclose(without, x + model.blocks[0].attn.c_proj.bias + by_mlp)
    skip = tiny_model(residual="block_skip", n_layer=1)
    skip.blocks[0].mlp.c_proj.weight.data.zero_()
    assert torch.equal(run_blocks(skip, x), x + skip.blocks[0].mlp.c_proj.bias)
