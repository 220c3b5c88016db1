"""Dissection of models of transformers, one of each family, against edits of their weights."""

import copy

import pytest
import torch
from foreign_models import (
    IDS,
    PARALLEL,
    PRE,
    SETTINGS,
    TARGETS,
    blocks_of,
    by_hand,
    close,
    make_foreign,
    modules_of,
)

from reslab.instruments import dissection
from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.snapshot import snapshot

pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def no_float32(monkeypatch):
    """transformers computes norms and softmax in float32 whatever the model's precision: in float64 here."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


def sequence_losses(model):
    with torch.no_grad():
        scores = model(input_ids=IDS).logits.log_softmax(-1)
    return -scores.gather(2, TARGETS[..., None])[..., 0].mean(1)


def silence(module):
    """What a module gives is 0, by its weights."""
    for parameter in module.parameters():
        parameter.data.zero_()


def without(name, model, layer, kind):
    """A copy of the model whose block is left out of the list, or whose output matrix is 0."""
    other = copy.deepcopy(model)
    blocks = blocks_of(other)
    if kind == "block":
        blocks[layer].forward = lambda x, *args, **kwargs: x
        return other
    _, attn, out1, _, mlp, out2 = modules_of(name, blocks[layer])
    branch, out = (attn, out1) if kind == "attn" else (mlp, out2)
    if out is None:
        last = {"gpt2": "c_proj", "gpt_neox": "dense", "opt": "out_proj"}.get(name.split()[0], "o_proj")
        mlps = {"gpt2": "c_proj", "gpt_neox": "dense_4h_to_h", "opt": ""}.get(name.split()[0], "down_proj")
        silence(branch.get_submodule(last if kind == "attn" else mlps))
    else:
        out.weight.data.fill_(-1)  # Gemma's norms multiply by 1 + weight
    return other


@pytest.mark.parametrize("name", PRE)
def test_lesions_are_those_of_weights_set_to_0(name):
    model = make_foreign(name)
    base_losses = sequence_losses(model)
    report = dissection.lesions(model, IDS, TARGETS, draws=1)
    assert report["loss"]["delta"] == pytest.approx(base_losses.mean().item(), rel=1e-12)
    for kind in ("block", "attn", "mlp"):
        for layer in range(3):
            expected = (sequence_losses(without(name, model, layer, kind)) - base_losses).mean().item()
            assert abs(expected) > 1e-6
            assert report[kind][layer]["delta"] == pytest.approx(expected, rel=1e-9)
    assert torch.equal(sequence_losses(model), base_losses)


def test_a_post_norm_sublayer_is_left_out_with_its_norm():
    model = make_foreign("opt post-norm")
    base_losses = sequence_losses(model)
    report = dissection.lesions(model, IDS, TARGETS, draws=1)
    assert report["skips"] is None
    for layer in range(3):
        for kind, norm, last in (
            ("attn", "self_attn_layer_norm", "self_attn.out_proj"),
            ("mlp", "final_layer_norm", "fc2"),
        ):
            other = copy.deepcopy(model)
            block = blocks_of(other)[layer]
            silence(block.get_submodule(last))
            setattr(block, norm, torch.nn.Identity())
            expected = (sequence_losses(other) - base_losses).mean().item()
            assert report[kind][layer]["delta"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", PRE)
def test_paths_sum_to_the_gradient(name):
    model = make_foreign(name)
    report = dissection.path_lengths(model, IDS, TARGETS)
    assert len(report["norms"]) == (4 if name in PARALLEL else 7)
    assert min(report["norms"]) > 1e-6 and report["error"] < 1e-11 * max(1, report["total"])
    true = by_hand(name, model)["gradients"][0]
    assert report["total"] == pytest.approx(true.norm().item(), rel=1e-9)


@pytest.mark.parametrize("name", PRE)
def test_as_downloaded_paths_sum_to_the_gradient_within_float32(name, monkeypatch):
    """With the float32 inside the models of transformers."""
    monkeypatch.undo()
    report = dissection.path_lengths(make_foreign(name), IDS, TARGETS)
    assert report["error"] < 3e-7 * report["total"]


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "gemma2", "opt"])
def test_without_skips_a_block_gives_what_it_adds(name):
    model = make_foreign(name)
    report = dissection.lesions(model, IDS, TARGETS, draws=1)
    blocks = blocks_of(model)
    with anatomy_of(model).stripped(), torch.no_grad():
        stripped = sequence_losses(model)
    calls = []

    def strip(block, forward):
        def call(x, *args, **kwargs):
            calls.append(block)
            if name in PARALLEL:
                return forward(x, *args, **kwargs) - x
            return plain_block(name, block, x, args, kwargs)

        return call

    for block in blocks:
        block.forward = strip(block, block.forward)
    assert torch.allclose(sequence_losses(model), stripped, rtol=1e-9)
    assert len(calls) == 3
    assert report["skips"]["delta"] == pytest.approx((stripped - report["loss"]["delta"]).mean().item())


def plain_block(name, block, x, args, kwargs):
    """F_mlp(N(F_attn(N(x))))."""
    norm1, attn, out1, norm2, mlp, out2 = modules_of(name, block)
    a, _ = attn(norm1(x), *args, **kwargs)
    a = norm2(a if out1 is None else out1(a))
    if name == "opt":
        return mlp(block.activation_fn(block.fc1(a)))
    return mlp(a) if out2 is None else out2(mlp(a))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_lens_runs_the_models_own_end(name):
    """Softcapped logits, projections and all: what is behind the last block is the model."""
    model = make_foreign(name)
    losses, tokens = dissection.logit_lens(model, IDS, TARGETS)
    for layer in range(4):
        other = copy.deepcopy(model)
        for block in blocks_of(other)[layer:]:
            block.forward = lambda x, *args, **kwargs: x
        logits = other(input_ids=IDS).logits
        assert losses[layer] == pytest.approx(sequence_losses(other).mean().item(), rel=1e-9)
        assert torch.equal(tokens[layer], logits.argmax(-1))


@pytest.mark.parametrize("name", SETTINGS)
def test_jacobians_and_perturbations_are_those_of_the_model(name):
    model = make_foreign(name)
    ids = IDS[:1, :2]
    report = dissection.jacobians(model, ids)
    streams = snapshot(model, ids, ids).streams
    h = 1e-5 * torch.randn(1, 2, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    (block, x), *_ = anatomy_of(model).block_calls(ids)
    assert torch.equal(x, streams[0]) and close(block(x), streams[1])
    J = dissection.block_jacobian(block, x)
    slope = (block(x + h) - block(x - h)).flatten() / 2
    assert torch.allclose(J @ h.flatten(), slope, rtol=1e-5, atol=1e-9)
    assert report[0]["largest"] == pytest.approx(torch.linalg.svdvals(J)[0].item())
    moved = torch.tensor(dissection.perturbation(model, IDS))
    assert moved.shape == (8, 8) and moved.tril(-1).max() == 0 and moved.diagonal().min() > 0
