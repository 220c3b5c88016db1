"""Logits that are not held whole, activations that are computed again: the same numbers, less memory."""

import copy

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


def compiled_chunk(*parts):
    """What stands where a compiled chunk_loss would: any other function."""
    return loss_module.chunk_loss(*parts)


@pytest.mark.parametrize("one_chunk", [loss_module.chunk_loss, compiled_chunk])
@pytest.mark.parametrize("tied", [True, False])
def test_a_chunked_loss_has_the_gradients_of_the_whole_one(monkeypatch, one_chunk, tied):
    model = tiny_model(tie_weights=tied)
    expected = gradients(model)
    monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)  # 24 tokens in chunks of 5
    model.whole_loss, model.chunk_loss = None, one_chunk  # the first is not called
    chunked = gradients(model)
    for a, b in zip(expected, chunked, strict=True):
        assert (a - b).abs().max() < 1e-13 * (1 + a.abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("one_chunk", [loss_module.chunk_loss, compiled_chunk])
def test_a_chunked_loss_in_half_precision_is_as_near_as_the_whole_one(monkeypatch, one_chunk, dtype):
    """To what float64 gives for the same weights, with room for one part in ten."""
    model = tiny_model().float()
    model.chunk_loss = one_chunk
    exact = gradients(copy.deepcopy(model).double())
    with torch.autocast("cpu", dtype):
        whole = gradients(model)
        monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
        monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
        chunked = gradients(model)
    for true, a, b in zip(exact, whole, chunked, strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert (b - true).norm() <= 1.1 * (a - true).norm() + 1e-6 * true.norm()


def test_gradients_of_a_chunked_loss_are_scaled_before_they_are_narrowed(monkeypatch):
    """A gradient of float16 that is as small as 1 / N of a tiny head would be 0."""
    x, weight = torch.randn(24, 16), torch.randn(19, 16)
    x, weight = ((1e-4 * tensor).requires_grad_() for tensor in (x, weight))
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
    with torch.autocast("cpu", torch.float16):
        loss = loss_module.linear_cross_entropy(x, weight, TARGETS.flatten()) / 1000
    exact = torch.nn.functional.cross_entropy(x.double() @ weight.double().T, TARGETS.flatten()) / 1000
    for near, true in zip(*(torch.autograd.grad(one, (x, weight)) for one in (loss, exact)), strict=True):
        assert (near - true).norm() <= 0.01 * true.norm()


def test_many_tokens_do_not_overflow_a_gradient_in_float16(monkeypatch):
    """Of one frequent token and large x the sum over a chunk is beyond 65504, and the mean is not."""
    x = torch.full((4096, 4), 100.0, requires_grad=True)
    weight, targets = torch.zeros(19, 4, requires_grad=True), torch.zeros(4096, dtype=torch.long)
    with torch.autocast("cpu", torch.float16):
        loss = loss_module.linear_cross_entropy(x, weight, targets)
    loss.backward()
    expected = torch.full((19,), 100 / 19)
    expected[0] -= 100
    assert torch.allclose(weight.grad, expected[:, None].expand(19, 4), rtol=2e-3)


def test_a_second_derivative_of_a_chunked_loss_is_refused(monkeypatch):
    x, weight = torch.randn(24, 16, requires_grad=True), torch.randn(19, 16)
    loss = loss_module.linear_cross_entropy(x, weight, TARGETS.flatten())
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(loss, x, create_graph=True)


def test_without_gradients_a_chunked_loss_is_one_product_a_chunk(monkeypatch):
    x, weight = torch.randn(24, 16, requires_grad=True), torch.randn(19, 16, requires_grad=True)
    expected = loss_module.linear_cross_entropy(x, weight, TARGETS.flatten()).item()
    monkeypatch.setattr(torch, "mm", None)
    with torch.no_grad():
        loss = loss_module.linear_cross_entropy(x, weight, TARGETS.flatten())
    assert loss.item() == pytest.approx(expected, rel=1e-6)


def test_a_head_that_is_frozen_has_no_gradient(monkeypatch):
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
    x, weight = torch.randn(24, 16, requires_grad=True), torch.randn(19, 16)
    seen, real = [], torch.mm
    monkeypatch.setattr(torch, "mm", lambda a, b, **out: seen.append(a.shape) or real(a, b, **out))
    loss_module.linear_cross_entropy(x, weight, TARGETS.flatten()).backward()
    assert weight.grad is None and seen == 2 * [(5, 16), (5, 19)] + seen[4:]


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


def test_a_cpu_cuts_smaller_logits_up_where_tokens_are_many_for_the_width(monkeypatch):
    monkeypatch.setattr(loss_module, "SLOW", 64 * 19 * 4 - 1)
    weight = torch.zeros(19, 16)
    assert loss_module.is_large(torch.zeros(4, 16, 16), weight)
    assert not loss_module.is_large(torch.zeros(4, 16, 16), torch.zeros(19, 17))  # 64 are not 4 x 17
    assert not loss_module.is_large(torch.zeros(4, 16, 16), torch.zeros(18, 16))
    assert not loss_module.is_large(torch.zeros(4, 16, 16, device="meta"), weight)


@pytest.mark.parametrize("room", [1, 4 * 19, 4 * 19 * 5, 4 * 19 * 100])
@pytest.mark.parametrize("one_chunk", [loss_module.chunk_loss, compiled_chunk])
def test_a_chunk_is_as_large_as_its_room_and_at_least_one_token(monkeypatch, room, one_chunk):
    monkeypatch.setattr(loss_module, "CHUNK", room)
    x, weight = torch.randn(3, 8, 4), torch.randn(19, 4)
    expected = torch.nn.functional.cross_entropy((x @ weight.T).flatten(0, 1), TARGETS.flatten())
    sizes = []

    def watched(real):
        def product(x, weight, **out):
            sizes.append(len(x))
            return real(x, weight, **out)

        return product

    monkeypatch.setattr(torch.nn.functional, "linear", watched(torch.nn.functional.linear))
    real_mm = watched(torch.mm)
    monkeypatch.setattr(torch, "mm", real_mm)
    for loss in (
        loss_module.linear_cross_entropy(x, weight, TARGETS, one_chunk),
        loss_module.token_losses(x, weight, TARGETS).mean(),
    ):
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    largest = max(1, min(24, room // 76))
    # A chunk is one product; without a compiled one a second gives the gradient of x.
    assert max(sizes) == largest and sum(sizes) == (72 if one_chunk is loss_module.chunk_loss else 48)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_loss_of_half_precision_logits_has_the_digits_of_float32(dtype):
    logits = (3 * torch.randn(3, 8, 19)).to(dtype)
    for reduction in ("mean", "sum", "none"):
        loss = loss_module.cross_entropy(logits, TARGETS, reduction)
        expected = torch.nn.functional.cross_entropy(
            logits.double().transpose(1, 2), TARGETS, reduction=reduction
        )
        assert loss.dtype == torch.float32 and torch.allclose(loss.double(), expected, rtol=1e-5)
