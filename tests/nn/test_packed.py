"""Packed weights give the bits of the layers that they stand in for, and leave the model as it was."""

from contextlib import nullcontext

import pytest
import torch
from conftest import tiny_model

from reslab.nn import packed as module
from reslab.nn.packed import packed

IDS = torch.randint(19, (2, 5), generator=torch.Generator().manual_seed(1))
HALF = torch.autocast("cpu", torch.bfloat16)


def text(model, context) -> list[torch.Tensor]:
    """Greedy tokens and the logits of the prompt."""
    with torch.no_grad(), HALF, context:
        return [*model.generate(IDS, 6, temperature=0), model(IDS)]


@pytest.mark.parametrize("changes", [{}, {"bias": False, "tie_weights": False, "mlp": "swiglu"}], ids=str)
def test_packed_weights_write_the_same(changes):
    model = tiny_model(**changes).float()
    with HALF:
        if module._dtype(model.head_weight) is None:
            pytest.skip("this CPU or build of torch packs nothing in bfloat16")
    for got, expected in zip(text(model, packed(model)), text(model, nullcontext()), strict=True):
        assert torch.equal(got, expected)


@pytest.mark.parametrize("fails", [False, True])
def test_afterwards_the_model_is_as_it_was(fails):
    model = tiny_model().float()
    before = model(IDS)
    with pytest.raises(KeyboardInterrupt) if fails else nullcontext(), HALF, packed(model):
        inside = model(IDS)
        if fails:
            raise KeyboardInterrupt
    assert inside.dtype == torch.bfloat16
    assert torch.equal(model(IDS), before)
    model.loss(IDS, IDS).backward()
    assert model.blocks[0].mlp.c_fc.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("least", [0, 1 << 30])
def test_in_float32_large_matrices_are_packed_and_the_text_stays(monkeypatch, least):
    model = tiny_model().float()
    monkeypatch.setattr(module, "LARGE", least)
    with torch.no_grad():
        expected = [*model.generate(IDS, 6, temperature=0), model(IDS)]
        with packed(model):
            got = [*model.generate(IDS, 6, temperature=0), model(IDS)]
            replaced = "head" in model.__dict__
    assert replaced == (least == 0 and module._dtype(model.head_weight) is not None)
    assert all(torch.equal(a, b) for a, b in zip(got[:-1], expected[:-1], strict=True))
    assert torch.allclose(got[-1], expected[-1], atol=1e-5)


def test_double_precision_is_not_packed():
    model = tiny_model()
    with packed(model):
        assert model(IDS).dtype == torch.float64
