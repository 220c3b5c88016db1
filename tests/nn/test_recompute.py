"""Logits that are not held whole, activations that are computed again: the same numbers, less memory."""

import pytest
import torch
from conftest import tiny_model

from reslab.nn import loss as loss_module
from reslab.nn import recompute

IDS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(2))


def gradients(model) -> list[torch.Tensor]:
    model.zero_grad()
    loss = model.loss(IDS, TARGETS)
    (3 * loss).backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("torchs_own", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_chunked_loss_has_the_gradients_of_the_whole_one(monkeypatch, torchs_own, tied):
    model = tiny_model(tie_weights=tied)
    expected = gradients(model)
    monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)  # 24 tokens in chunks of 5
    if not torchs_own:
        monkeypatch.delattr(torch.nn.functional, "linear_cross_entropy", raising=False)
    model.whole_loss = None  # is not called
    chunked = gradients(model)
    for a, b in zip(expected, chunked, strict=True):
        assert (a - b).abs().max() < 1e-13 * (1 + a.abs().max())


def test_a_chunked_loss_in_bfloat16_is_near(monkeypatch):
    model = tiny_model().float()
    with torch.autocast("cpu", torch.bfloat16):
        expected = gradients(model)
        monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
        chunked = gradients(model)
    for a, b in zip(expected, chunked, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert (a - b).norm() <= 0.02 * a.norm()


def test_the_loss_of_each_token_is_that_of_the_logits(monkeypatch):
    model = tiny_model()
    expected = torch.nn.functional.cross_entropy(model(IDS).transpose(1, 2), TARGETS, reduction="none")
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
    assert torch.allclose(model.token_losses(IDS, TARGETS), expected, rtol=1e-13)


def test_only_every_kth_stream_is_kept():
    """Tensors that wait for the backward pass, counted as autograd asks for them."""

    def held(layers, checkpointing):
        model = tiny_model(n_layer=layers).train()
        model.activation_checkpointing = checkpointing
        weights = {p.data_ptr() for p in model.parameters()}
        seen = {}

        def keep(tensor):
            if tensor.data_ptr() not in weights:
                seen[tensor.data_ptr()] = tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = model.loss(IDS, TARGETS)
        assert loss.requires_grad
        return sum(seen.values())

    slopes = [(held(40, again) - held(20, again)) / 20 for again in (False, True)]
    assert slopes[1] < slopes[0] / 4


@pytest.mark.parametrize(
    ("blocks", "size"), [(1, 1), (16, 1), (35, 1), (64, 2), (65, 2), (144, 3), (400, 5), (1022, 8), (1024, 8)]
)
def test_segments_balance_what_is_kept_with_what_is_computed_again(blocks, size):
    """Of all k, L / k streams and k blocks of HEAVY streams are near the fewest; each block runs once."""
    cost = {k: blocks / k + recompute.HEAVY * k for k in range(1, blocks + 1)}
    assert recompute.segment_size(blocks) == size and cost[size] <= 1.05 * min(cost.values())
    seen = []
    stack = [lambda x, k=k: seen.append(k) or x + k for k in range(blocks)]
    out = recompute.run_checkpointed(stack, torch.zeros(1))
    assert seen == list(range(blocks)) and out.item() == sum(range(blocks))


def test_logits_are_large_from_their_bytes_on(monkeypatch):
    monkeypatch.setattr(loss_module, "LARGE", {"cpu": 3 * 8 * 19 * 4})
    x, weight = torch.zeros(3, 8, 16), torch.zeros(19, 16)
    assert not loss_module.is_large(x, weight) and loss_module.is_large(x, torch.zeros(20, 16))
    assert loss_module.is_large(torch.zeros(4, 8, 16), weight)
    elsewhere = torch.zeros(4, 8, 16, device="meta")  # a device without an entry is taken for a CPU
    assert loss_module.is_large(elsewhere, weight)


@pytest.mark.parametrize("room", [1, 4 * 19, 4 * 19 * 5, 4 * 19 * 100])
@pytest.mark.parametrize("torchs_own", [True, False])
def test_a_chunk_is_as_large_as_its_room_and_at_least_one_token(monkeypatch, room, torchs_own):
    monkeypatch.setattr(loss_module, "CHUNK", room)
    if not torchs_own:
        monkeypatch.delattr(torch.nn.functional, "linear_cross_entropy", raising=False)
    sizes, real = [], torch.nn.functional.linear

    def watched(x, weight):
        sizes.append(len(x))
        return real(x, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", watched)
    x, weight = torch.randn(3, 8, 4), torch.randn(19, 4)
    expected = torch.nn.functional.cross_entropy((x @ weight.T).flatten(0, 1), TARGETS.flatten())
    assert loss_module.linear_cross_entropy(x, weight, TARGETS).item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    assert loss_module.token_losses(x, weight, TARGETS).mean().item() == pytest.approx(
        expected.item(), rel=1e-5
    )
    largest = max(1, min(24, room // 76))
    assert max(sizes) == largest and sum(sizes) == (24 if torchs_own else 48)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_of_half_precision_logits_has_the_digits_of_float32(dtype):
    logits = (3 * torch.randn(3, 8, 19)).to(dtype)
    for reduction in ("mean", "sum", "none"):
        loss = loss_module.cross_entropy(logits, TARGETS, reduction)
        expected = torch.nn.functional.cross_entropy(
            logits.double().transpose(1, 2), TARGETS, reduction=reduction
        )
        assert loss.dtype == torch.float32 and torch.allclose(loss.double(), expected, rtol=1e-5)
