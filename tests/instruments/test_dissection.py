"""The autopsy: every figure against a second way to get it."""

import itertools
import math

import pytest
import torch
from conftest import tiny_model

from reslab.instruments import dissection
from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.parts import LESIONS
from reslab.nn import loss as loss_module
from reslab.residual import WIRINGS

IDS = torch.randint(19, (6, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (6, 8), generator=torch.Generator().manual_seed(2))
SINGLE = [name for name, wiring in WIRINGS.items() if wiring.single_tensor]
SPLITTING = [name for name in SINGLE if WIRINGS[name].skip is not None]


@pytest.mark.parametrize("wiring", [name for name, w in WIRINGS.items() if not w.stream_grows])
def test_a_lesion_is_the_model_without_that_block_and_heals(wiring):
    model = tiny_model(residual=wiring)
    losses = dissection.sequence_losses(model, IDS, TARGETS)
    report = dissection.lesions(model, IDS, TARGETS)
    shorter = tiny_model(residual=wiring)
    del shorter.blocks[1]
    expected = dissection.sequence_losses(shorter, IDS, TARGETS) - losses
    assert report["block"][1]["delta"] == pytest.approx(expected.mean().item(), abs=1e-12)
    assert report["block"][1]["se"] == pytest.approx((expected.std() / math.sqrt(6)).item(), abs=1e-12)
    assert [c["removed"] for c in report["random"]] == [1, 2, 3]
    assert torch.equal(dissection.sequence_losses(model, IDS, TARGETS), losses)


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


def test_the_skip_block_is_the_plain_block_plus_the_identity():
    """On the same weights, for one sublayer: J of x + F(N(x)) is I + J_F."""
    pre, none = tiny_model(residual="pre"), tiny_model(residual="none")
    none.load_state_dict(pre.state_dict())
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    for model in (pre, none):  # the MLP alone: attention hands on
        model.blocks[0].attn_residual.forward = lambda stream, branch: stream
    difference = dissection.block_jacobian(pre.blocks[0], x) - dissection.block_jacobian(none.blocks[0], x)
    assert (difference - torch.eye(48, dtype=torch.float64)).abs().max() < 1e-12


def singular_values(J) -> list[float]:
    """From the largest down, as roots of the eigenvalues of J^T J."""
    return torch.linalg.eigvalsh(J.T @ J).clamp(min=0).sqrt().flip(0).tolist()


def test_jacobians_are_those_of_the_blocks_and_of_the_stack_so_far():
    model = tiny_model()
    ids = IDS[:1, :2]
    report = dissection.jacobians(model, ids)
    first = model.embed(ids).detach()

    def slope(function, x):
        """dy/dx by differences, one column at a time."""
        steps = 1e-5 * torch.eye(x.numel(), dtype=torch.float64).view(-1, *x.shape)
        return torch.stack([(function(x + h) - function(x - h)).flatten() / 2e-5 for h in steps], dim=1)

    with torch.no_grad():
        x = first
        for layer, (block, measured) in enumerate(zip(model.blocks, report, strict=True)):
            stack = torch.nn.Sequential(*model.blocks[: layer + 1])
            for values, J in ((measured, slope(block, x)), (measured["product"], slope(stack, first))):
                expected = singular_values(J)
                wanted = [values[key] for key in ("largest", "median", "smallest")]
                near = [expected[0], expected[16], expected[-1]]  # of 32 the lower middle one
                assert wanted == pytest.approx(near, rel=1e-3, abs=1e-6)
            x = block(x)
        h = torch.randn_like(first)
        J = dissection.block_jacobian(model.blocks[0], first)
        slope = (model.blocks[0](first + 1e-6 * h) - model.blocks[0](first - 1e-6 * h)).flatten() / 2e-6
        assert torch.allclose(J @ h.flatten(), slope, rtol=1e-5, atol=1e-7)


class Times(torch.nn.Module):
    """A branch F(x) = factor x, whose paths are known."""

    def __init__(self, factor: float):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


@pytest.mark.parametrize(("wiring", "skip"), [("pre", 1.0), ("scaled", -0.5), ("none", 0.0)])
def test_paths_of_linear_branches_are_the_terms_of_the_product(wiring, skip):
    """(s + c_1) ... (s + c_2L), sorted by how many c a term holds."""
    model = tiny_model(residual=wiring, residual_scale=skip)
    factors = [0.3, -0.2, 0.7, 0.5, -1.1, 0.4]
    for k, block in enumerate(model.blocks):
        block.attn, block.mlp = Times(factors[2 * k]), Times(factors[2 * k + 1])
        block.attn_residual.norm, block.mlp_residual.norm = torch.nn.Identity(), torch.nn.Identity()
    report = dissection.path_lengths(model, IDS[:2], TARGETS[:2])
    terms = [
        skip ** (6 - k) * sum(math.prod(chosen) for chosen in itertools.combinations(factors, k))
        for k in range(7)
    ]
    product = math.prod(skip + c for c in factors)
    end = (model.embed(IDS[:2]) * product).detach().requires_grad_()
    (gradient,) = torch.autograd.grad(model.head_loss(end, TARGETS[:2]), end)
    size = gradient.norm().item()
    assert report["norms"] == pytest.approx([abs(term) * size for term in terms], rel=1e-6, abs=1e-15)
    assert report["total"] == pytest.approx(abs(product) * size)
    assert report["error"] < 1e-12


def test_an_error_of_the_paths_would_show():
    """Where a skip is not what it is said to be, the parts do not sum to the gradient."""
    model = tiny_model()
    model.blocks[1].mlp_residual.skip = 0.9
    assert dissection.path_lengths(model, IDS[:1], TARGETS[:1])["error"] > 1e-4


def streams_of(model):
    """Before each block and after the last, with no hook."""
    streams = [model.embed(IDS)]
    for block in model.blocks:
        streams.append(block(streams[-1]))
    return streams


def test_influence_and_lens_are_read_off_the_streams_token_by_token():
    model = tiny_model(tie_weights=False)
    with torch.no_grad():
        streams = streams_of(model)
        influence = []
        for a, b in itertools.pairwise(streams):
            pairs = zip(a.view(-1, 16), b.view(-1, 16), strict=True)
            cosines = [u @ v / (u.norm() * v.norm()) for u, v in pairs]
            influence.append(1 - sum(cosines).item() / 48)
        assert dissection.block_influence(model, IDS, TARGETS) == pytest.approx(influence)
        losses, tokens = dissection.logit_lens(model, IDS, TARGETS)
        for layer, stream in enumerate(streams):
            logits = model.ln_f(stream) @ model.lm_head.weight.T
            surprise = -logits.log_softmax(-1).gather(2, TARGETS[..., None]).mean()
            assert losses[layer] == pytest.approx(surprise.item())
            assert torch.equal(tokens[layer], logits.max(-1).indices)
        assert len(losses) == len(tokens) == 4
    assert dissection.block_influence(tiny_model(residual="silent"), IDS, TARGETS) == pytest.approx([0, 0, 0])


def test_a_perturbation_takes_the_next_token_of_the_vocabulary():
    model, moved = tiny_model(), dissection.perturbation(tiny_model(), IDS)
    assert IDS.max() == 18  # whose next is 0
    with torch.no_grad():
        logits = model(IDS)
        for p in range(8):
            other = IDS.clone()
            for sequence in range(6):
                other[sequence, p] = (IDS[sequence, p].item() + 1) % 19
            changed = model(other)
            for t in range(8):
                shares = [
                    ((changed[b, t] - logits[b, t]).norm() / logits[b, t].norm()).item() for b in range(6)
                ]
                assert moved[p][t] == pytest.approx(sum(shares) / 6, abs=1e-12)
                assert (moved[p][t] == 0) == (t < p)


def losses_by_hand(model, skipped=(), only=""):
    """Mean loss of each sequence, the blocks of `skipped` (or their `only` sublayer) left out."""
    x = model.embed(IDS)
    for layer, block in enumerate(model.blocks):
        if layer not in skipped or only == "mlp":
            x = block.attn_residual(x, block.attn)
        if layer not in skipped or only == "attn":
            x = block.mlp_residual(x, block.mlp)
    scores = model.head(x).log_softmax(-1)
    return -scores.gather(2, TARGETS[..., None])[..., 0].mean(1)


def test_lesions_of_every_kind_are_paired_sequence_by_sequence():
    model = tiny_model()
    report = dissection.lesions(model, IDS, TARGETS, draws=4)
    with torch.no_grad():
        base_losses = losses_by_hand(model)

        def expect(measured, losses):
            assert measured["delta"] == pytest.approx(losses.mean().item(), abs=1e-6)
            spread = losses.sub(losses.mean()).square().sum().div(5).sqrt().item()
            assert measured["se"] == pytest.approx(spread / math.sqrt(6), abs=1e-6)

        expect(report["loss"], base_losses)
        for layer in range(3):
            for kind in ("block", "attn", "mlp"):
                only = "" if kind == "block" else kind
                expect(report[kind][layer], losses_by_hand(model, [layer], only) - base_losses)
        expect(report["random"][-1], losses_by_hand(model, [0, 1, 2]) - base_losses)
        assert [one["removed"] for one in report["random"]] == [1, 2, 3]
        for count in (1, 2):  # four draws of sets of this size: which ones shows in mean and error
            costs = [
                (losses_by_hand(model, chosen) - base_losses).mean().item()
                for chosen in itertools.combinations(range(3), count)
            ]
            measured, fits = report["random"][count - 1], []
            for chosen in itertools.combinations_with_replacement(costs, 4):
                mean = sum(chosen) / 4
                spread = math.sqrt(sum((cost - mean) ** 2 for cost in chosen) / 3)
                fits.append((mean, spread / 2))
            assert any((measured["delta"], measured["se"]) == pytest.approx(fit, rel=1e-4) for fit in fits)
            assert measured["se"] > 0
    alike = dissection.lesions(model, IDS, TARGETS, draws=1)["random"]
    assert all(one["se"] > 0 for one in alike)  # of one set alone: over sequences


def test_wirings_without_a_split_say_so():
    with pytest.raises(ValueError, match="residual=post: its skip is not x times a constant"):
        dissection.path_lengths(tiny_model(residual="post"), IDS[:1], TARGETS[:1])
    with pytest.raises(ValueError, match="residual=hyper: a block carries more than x"):
        dissection.jacobians(tiny_model(residual="hyper"), IDS[:1])
    kept = {name for name in WIRINGS if not anatomy_of(tiny_model(residual=name)).cannot(LESIONS)}
    assert kept == set(WIRINGS) - {"dense", "attention_residual"}


def test_a_large_vocabulary_is_read_in_chunks(monkeypatch):
    """Where logits are not held whole, the lens and the lesions give what they give where they are."""
    model = tiny_model()
    expected = dissection.logit_lens(model, IDS, TARGETS), dissection.lesions(model, IDS, TARGETS, draws=1)
    monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)  # 48 tokens, 5 at a time
    rows, real = [], torch.nn.functional.linear

    def watched(x, weight, bias=None):
        if len(weight) == 19:
            rows.append(x.shape[:-1].numel())
        return real(x, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    losses, tokens = dissection.logit_lens(model, IDS, TARGETS)
    assert losses == pytest.approx(expected[0][0]) and torch.equal(tokens, expected[0][1])
    assert dissection.lesions(model, IDS, TARGETS, draws=1)["loss"] == pytest.approx(expected[1]["loss"])
    assert rows and max(rows) == 5
