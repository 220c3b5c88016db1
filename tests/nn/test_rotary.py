"""Rotary positions: the rows that are shifted give what the formula says, forwards and backwards."""

import copy

import pytest
import torch
from conftest import tiny_model
from torch.autograd import gradcheck, gradgradcheck

from reslab.nn.rotary import Rotary, rotate

SIZE, D = 7, 6


def heads(count: int, T: int, dtype=torch.float64, seed=1) -> torch.Tensor:
    """(2, count, T, D), laid out as a projection's output is."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, T, count, D, dtype=torch.float64, generator=generator).to(dtype).transpose(1, 2)


@pytest.mark.parametrize(("H", "K"), [(4, 4), (4, 1), (1, 1), (6, 2)])
@pytest.mark.parametrize(("start", "T"), [(0, SIZE), (0, 3), (2, 4), (5, 1)])
@pytest.mark.parametrize("contiguous", [False, True])
def test_rows_turn_as_the_formula_says(H, K, start, T, contiguous):
    """In double precision to rounding, in single to its last digit, in half to the nearest bfloat16; values
    are handed on as they are, forwards and back."""
    for dtype, digits in ((torch.float64, 1e-15), (torch.float32, 5e-7), (torch.bfloat16, 2**-8)):
        rotary = Rotary(SIZE, D).to(torch.promote_types(dtype, torch.float32))
        given = heads(H + 2 * K, T, dtype)
        given = (given.contiguous() if contiguous else given).requires_grad_()
        turned = rotary(given, [H, K, K], start)
        slopes = [heads(n, T, dtype, seed=2 + n) for n in (H, K, K)]
        slopes[0] = slopes[0].contiguous()  # as attention gives some of them
        (gradient,) = torch.autograd.grad(turned, given, slopes)
        exact = given.detach().double().requires_grad_()
        q, k, v = exact.split([H, K, K], dim=1)
        cos_sin = rotary.cos_sin[start : start + T].double()
        expected = rotate(q, cos_sin), rotate(k, cos_sin), v
        (expected_gradient,) = torch.autograd.grad(expected, exact, [s.double() for s in slopes])
        for got, want in zip((*turned, gradient), (*expected, expected_gradient), strict=True):
            assert got.dtype == dtype and got.shape == want.shape
            assert (got.double() - want).abs().max() <= digits * want.abs().max()
        assert torch.equal(turned[2], given[:, H + K :]) and torch.equal(gradient[:, H + K :], slopes[2])


def test_what_was_asked_for_before_is_not_taken_for_other_places():
    given = heads(3, 2)
    for first, then in ((0, 3), (3, 0)):
        rotary, fresh = Rotary(SIZE, D).double(), Rotary(SIZE, D).double()
        rotary(given, [1, 1, 1], first)
        both = zip(rotary(given, [1, 1, 1], then), fresh(given, [1, 1, 1], then), strict=True)
        assert all(torch.equal(*pair) for pair in both)


def test_gradients_of_gradients_are_right_too():
    rotary = Rotary(SIZE, D).double()
    given = heads(8, 3).detach().requires_grad_()
    for check in (gradcheck, gradgradcheck):
        assert check(lambda heads: rotary(heads, [4, 2, 2], 2), given)


def test_a_score_depends_on_the_distance():
    rotary = Rotary(SIZE, D).double()
    q, k, _ = rotary(heads(9, 1).expand(-1, -1, SIZE, -1), [3, 3, 3])
    scores = q @ k.mT  # (B, H, T, T)
    for distance in range(-SIZE + 1, SIZE):
        diagonal = scores.diagonal(distance, 2, 3)
        assert (diagonal - diagonal[..., :1]).abs().max() < 1e-6  # angles are of single precision
    assert (scores.diagonal(0, 2, 3) - scores.diagonal(1, 2, 3).mean()).abs().max() > 1e-2


def test_a_model_has_one_table_and_keeps_it_right_when_it_is_moved_or_copied():
    model = tiny_model(pos="rope").float()
    ids = torch.arange(8)[None]
    with torch.inference_mode():
        before = model(ids)
    assert len({id(block.attn.rotary) for block in model.blocks}) == 1
    model.loss(ids, ids).backward()  # what inference has made serves training
    twin = copy.deepcopy(model)
    assert len({id(block.attn.rotary) for block in twin.blocks}) == 1
    assert twin.blocks[0].attn.rotary is not model.blocks[0].attn.rotary
    assert torch.equal(twin(ids), before)
    half = tiny_model(pos="rope").float()
    half.load_state_dict(model.state_dict())
    half.bfloat16()
    assert torch.equal(model.bfloat16()(ids), half(ids))  # whatever it had made in the precision of before
    assert twin.double()(ids).dtype == torch.float64
    assert (twin.double()(ids) - before).abs().max() < 1e-5


@pytest.mark.parametrize("half", [False, True])
def test_what_is_compiled_turns_alike(half):
    torch._dynamo.reset()
    model = tiny_model(pos="rope", n_kv_head=1, n_layer=1).float()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    ids = torch.arange(6)[None]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        assert (compiled(ids) - model(ids)).abs().max() < (2e-2 if half else 1e-5)
    torch._dynamo.reset()
