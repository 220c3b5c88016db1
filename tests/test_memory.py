"""Logits that are not held whole, activations that are computed again: the same numbers, less memory."""

import pytest
import torch
from conftest import tiny_model

from reslab import memory

IDS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(2))


def gradients(model) -> list[torch.Tensor]:
    model.zero_grad()
    logits, loss = model(IDS, TARGETS)
    (3 * loss).backward()
    return [torch.tensor(logits is None), loss.detach(), *(p.grad for p in model.parameters())]


@pytest.mark.parametrize("torchs_own", [True, False])
@pytest.mark.parametrize("tied", [True, False])
def test_a_chunked_loss_has_the_gradients_of_the_whole_one(monkeypatch, torchs_own, tied):
    model = tiny_model(tie_weights=tied)
    whole = gradients(model)
    monkeypatch.setattr(memory, "LARGE", {"cpu": 100})
    monkeypatch.setattr(memory, "CHUNK", 5 * 4 * 19)  # 24 tokens in chunks of 5
    if not torchs_own:
        monkeypatch.delattr(torch.nn.functional, "linear_cross_entropy", raising=False)
    chunked = gradients(model)
    assert not whole[0] and chunked[0]
    for a, b in zip(whole[1:], chunked[1:], strict=True):
        assert (a - b).abs().max() < 1e-13 * (1 + a.abs().max())


def test_a_chunked_loss_in_bfloat16_is_near(monkeypatch):
    model = tiny_model().float()
    with torch.autocast("cpu", torch.bfloat16):
        whole = gradients(model)
        monkeypatch.setattr(memory, "LARGE", {"cpu": 100})
        chunked = gradients(model)
    for a, b in zip(whole[1:], chunked[1:], strict=True):
        assert a.dtype == b.dtype == torch.float32
        assert (a - b).norm() <= 0.02 * a.norm()


def test_the_loss_of_each_token_is_that_of_the_logits(monkeypatch):
    model = tiny_model()
    expected = torch.nn.functional.cross_entropy(model(IDS)[0].transpose(1, 2), TARGETS, reduction="none")
    monkeypatch.setattr(memory, "CHUNK", 5 * 4 * 19)
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
            loss = model(IDS, TARGETS)[1]
        assert loss.requires_grad
        return sum(seen.values())

    slopes = [(held(40, again) - held(20, again)) / 20 for again in (False, True)]
    assert slopes[1] < slopes[0] / 4
