"""How each wiring starts, and what is left of its stream when every branch is silent."""

import pytest
import torch
from conftest import tiny_config, tiny_model
from stacks_by_hand import run_blocks

from reslab.model import GPT
from reslab.residual import WIRINGS, Residual, Sandwich

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))


def silence(model):
    """Branches of 0 in every sublayer, whatever the wiring does with them."""
    with torch.no_grad():
        for block in model.blocks:
            for residual, branch in block.sublayers():
                Residual.silence(residual, branch)
                if isinstance(residual, Sandwich):  # where a norm follows a branch, its bias is part of F
                    residual.norm_out.bias.zero_()
    return model


def opened(model, x):
    """What the stream is before the first block, as the head would read it."""
    return model.stack.close(model.stack.open(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_silent_stack_is_what_its_equation_says_in_every_precision(wiring, dtype):
    """Products of matrices may be rounded inside a branch; the stream, its gates and its mixing may not."""
    model = silence(tiny_model(residual=wiring, n_layer=6))  # gates, scales and mixing are anything
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    expected = run_blocks(model, x)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = run_blocks(model.float(), x.float())
    assert (out - expected).abs().max() <= 2e-5 * expected.abs().max()
    if WIRINGS[wiring].has_identity:
        fresh = silence(GPT(tiny_config(residual=wiring)))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            assert torch.equal(run_blocks(fresh, x.float()), opened(fresh, x.float()))


def test_what_silence_leaves_of_the_stream():
    """The equations with F = 0, written out: a highway closes by degrees, a mean over depth dilutes."""
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    highway = silence(GPT(tiny_config(residual="highway")).double())
    expected = x
    for block in highway.blocks:
        for residual in (block.attn_residual, block.mlp_residual):
            expected = (1 - torch.sigmoid(residual.gate(expected))) * expected
    assert torch.allclose(run_blocks(highway, x), expected, atol=1e-14)
    over_depth = silence(GPT(tiny_config(residual="attention_residual")).double())
    assert torch.allclose(run_blocks(over_depth, x), x / 7, atol=1e-14)  # of x and six zeros
    scaled = silence(GPT(tiny_config(residual="scaled", residual_scale=0.5)).double())
    assert torch.equal(run_blocks(scaled, x), x / 64)
    assert (run_blocks(silence(GPT(tiny_config(residual="none")).double()), x) == 0).all()


@pytest.mark.parametrize(("layers", "start"), [(2, 0.1), (18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6)])
def test_layerscale_starts_as_the_paper_says(layers, start):
    gain = GPT(tiny_config(residual="layerscale", n_layer=layers)).blocks[-1].mlp_residual.gain
    assert torch.equal(gain, torch.full((16,), start))


@pytest.mark.parametrize("wiring", ["post", "deepnorm", "keel", "sandwich", "reordered_norm", "depth_mup"])
def test_embeddings_enter_at_rms_one(wiring):
    """Whatever their scale; positions learned or not. The others take them as they are."""
    model = GPT(tiny_config(residual=wiring))
    for x in (model.embed(IDS), 50 * model.embed(IDS)):
        rms = model.stack.open(x).square().mean(-1).sqrt()
        assert torch.allclose(rms, torch.ones(()), atol=0.02)
    x = model.embed(IDS)
    assert GPT(tiny_config()).stack.open(x) is x


def test_the_queries_of_a_post_norm_stack_hear_the_loss_in_every_layer():
    """Embeddings of std 0.02 beside branches of rms 1 would leave layer 0 a thousandth of the others'."""
    model = GPT(tiny_config(residual="post", n_embd=64, n_layer=6))
    model.loss(IDS, TARGETS).backward()
    norms = [block.attn.c_attn.weight.grad[:128].norm() for block in model.blocks]
    assert norms[0] > 0.1 * max(norms)


@pytest.mark.parametrize("layers", [1, 4, 24])
def test_depth_mup_starts_as_the_model_without_blocks(layers):
    model = GPT(tiny_config(residual="depth_mup", n_layer=layers))
    x = torch.randn(2, 8, 16)
    assert torch.equal(run_blocks(model, x), opened(model, x))
    model.loss(IDS, TARGETS).backward()
    assert all(block.mlp.c_proj.weight.grad.norm() > 0 for block in model.blocks)  # one zero, so all wake


def test_a_silent_stack_is_one_model_at_every_depth():
    losses = [GPT(tiny_config(residual="silent", n_layer=n)).loss(IDS, TARGETS).item() for n in (1, 7)]
    assert losses[0] == losses[1]
