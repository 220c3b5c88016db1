"""The autopsy: every figure against a second way to get it."""

import math

import pytest
import torch
from conftest import tiny_model

from reslab import dissection
from reslab.residual import WIRINGS

IDS = torch.randint(19, (6, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (6, 8), generator=torch.Generator().manual_seed(2))
SINGLE = [name for name, wiring in WIRINGS.items() if wiring.stream == "x"]
SPLITTING = [name for name in SINGLE if WIRINGS[name].skip is not None]


KEPT_BY_PLACE = ("all outputs", "all branches")


@pytest.mark.parametrize("wiring", [name for name, w in WIRINGS.items() if w.stream not in KEPT_BY_PLACE])
def test_a_lesion_is_the_model_without_that_block_and_heals(wiring):
    model = tiny_model(residual=wiring)
    whole = dissection.window_losses(model, IDS, TARGETS)
    report = dissection.lesions(model, IDS, TARGETS)
    shorter = tiny_model(residual=wiring)
    del shorter.blocks[1]
    expected = dissection.window_losses(shorter, IDS, TARGETS) - whole
    assert report["block"][1]["delta"] == pytest.approx(expected.mean().item(), abs=1e-12)
    assert report["block"][1]["se"] == pytest.approx((expected.std() / math.sqrt(6)).item(), abs=1e-12)
    order = tiny_model(residual=wiring)
    order.blocks[0], order.blocks[1] = order.blocks[1], order.blocks[0]
    expected = (dissection.window_losses(order, IDS, TARGETS) - whole).mean().item()
    assert report["swap"][0]["delta"] == pytest.approx(expected, abs=1e-12)
    assert [c["removed"] for c in report["random"]] == [1, 2, 3]
    assert torch.equal(dissection.window_losses(model, IDS, TARGETS), whole)


def test_a_silent_sublayer_costs_nothing_to_lose():
    model = tiny_model()
    with torch.no_grad():
        model.blocks[1].mlp.c_proj.weight.zero_()
        model.blocks[1].mlp.c_proj.bias.zero_()
    report = dissection.lesions(model, IDS, TARGETS)
    assert report["mlp"][1]["delta"] == 0.0
    assert abs(report["mlp"][0]["delta"]) > 1e-3
    assert report["attn"][1] == report["block"][1]


@pytest.mark.parametrize("wiring", SPLITTING)
def test_the_paths_sum_to_the_gradient(wiring):
    report = dissection.path_lengths(tiny_model(residual=wiring), IDS[:1], TARGETS[:1])
    assert len(report["norms"]) == 7
    assert report["total"] > 1e-6
    assert report["error"] < 1e-10 * max(1.0, report["total"])


def test_without_skips_every_path_passes_all_branches():
    report = dissection.path_lengths(tiny_model(residual="none"), IDS[:1], TARGETS[:1])
    assert max(report["norms"][:-1]) == 0
    assert report["norms"][-1] == pytest.approx(report["total"])
    with_skips = dissection.path_lengths(tiny_model(residual="pre"), IDS[:1], TARGETS[:1])
    assert min(with_skips["norms"]) > 0


def test_the_jacobian_is_the_slope_and_multiplies_up():
    model = tiny_model()
    report = dissection.jacobians(model, IDS[:1, :3])
    x = (model.wte(IDS[:1, :3]) + model.wpe.weight[:3]).detach()
    products = torch.eye(48, dtype=torch.float64)
    for block, found in zip(model.blocks, report, strict=True):
        J = dissection.block_jacobian(block, x)
        h = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
        slope = (block(x + 1e-6 * h) - block(x - 1e-6 * h)).flatten() / 2e-6
        assert torch.allclose(J @ h.flatten(), slope, rtol=1e-5, atol=1e-7)
        products = J @ products
        assert found["product"]["largest"] == pytest.approx(torch.linalg.matrix_norm(products, 2).item())
        x = block(x).detach()


def test_the_skip_block_is_the_plain_block_plus_the_identity():
    """On the same weights, for one sublayer: J of x + F(N(x)) is I + J_F."""
    pre, none = tiny_model(residual="pre"), tiny_model(residual="none")
    none.load_state_dict(pre.state_dict())
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    for model in (pre, none):  # the MLP alone: attention hands on
        model.blocks[0].attn_residual.forward = lambda stream, branch: stream
    difference = dissection.block_jacobian(pre.blocks[0], x) - dissection.block_jacobian(none.blocks[0], x)
    assert (difference - torch.eye(48, dtype=torch.float64)).abs().max() < 1e-12


def test_the_lens_ends_with_the_models_own_loss():
    model = tiny_model()
    losses, tokens = dissection.logit_lens(model, IDS, TARGETS)
    assert losses[-1] == pytest.approx(model(IDS, TARGETS)[1].item(), abs=1e-12)
    assert torch.equal(tokens[-1], model(IDS)[0].argmax(-1))
    assert len(losses) == 4 and tokens.shape == (4, 6, 8)


def test_perturbations_move_only_what_comes_after():
    moved = torch.tensor(dissection.perturbation(tiny_model(), IDS))
    assert (moved.tril(-1) == 0).all() and (moved[torch.ones(8, 8).triu() > 0] > 0).all()


def test_block_influence_of_a_silent_block_is_zero():
    assert dissection.block_influence(tiny_model(residual="silent"), IDS, TARGETS) == pytest.approx([0, 0, 0])
    assert min(dissection.block_influence(tiny_model(), IDS, TARGETS)) > 1e-3


def test_wirings_without_a_split_say_so():
    with pytest.raises(ValueError, match="residual=post: its skip is not x times a constant"):
        dissection.path_lengths(tiny_model(residual="post"), IDS[:1], TARGETS[:1])
    with pytest.raises(ValueError, match="carries parallel streams has no single Jacobian"):
        dissection.jacobians(tiny_model(residual="hyper"), IDS[:1])
    assert not dissection.can_lesion(tiny_model(residual="dense"))
