"""Gradients too large for their precision: float16's scale, and squares that float32 can't hold."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import update
from test_step import begun


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_the_scale_of_float16_changes_no_update(train_config, clip):
    """Clipping and logging see the gradient itself, whatever it was multiplied by on its way."""
    config = train_config(dtype="float16", optimizer="sgd", grad_clip=clip, weight_decay=0.0)
    config = replace(config, optim=replace(config.optim, learning_rate=0.5, warmup_iters=0))
    moves, norms = [], []
    for scale in (2.0**8, 2.0**12):
        state, dataset = begun(config)
        before = torch.nn.utils.parameters_to_vector(state.model.parameters()).clone()
        state.scaler = torch.amp.GradScaler("cpu", init_scale=scale)
        norms.append(update(state, config, dataset)["batch/grad_norm"])
        moved = torch.nn.utils.parameters_to_vector(state.model.parameters()) - before
        moves.append(moved.norm().item())
    exact, dataset = begun(replace(config, dtype="float32"))
    assert norms == pytest.approx([update(exact, config, dataset)["batch/grad_norm"]] * 2, rel=0.01)
    assert moves == pytest.approx([0.5 * (clip or norms[0])] * 2, rel=0.02)


@pytest.mark.parametrize("clip", [0.0, 0.05])
def test_a_gradient_whose_squares_overflow_is_clipped_and_learned_from(train_config, monkeypatch, clip):
    """All of it is finite, so the clipped update is that of the same gradient a power of two smaller."""
    config = train_config(optimizer="sgd", grad_clip=clip, dropout=0.1)
    (large, dataset), (small, _) = begun(config), begun(config)
    good = large.model.loss

    def steep(*args):
        loss = good(*args)
        loss.register_hook(lambda gradient: gradient * 2.0**90)
        return loss

    monkeypatch.setattr(large.model, "loss", steep)
    told, expected = update(large, config, dataset), update(small, config, dataset)
    assert told["batch/grad_norm"] == pytest.approx(2.0**90 * expected["batch/grad_norm"], rel=1e-5)
    if not clip:
        assert all(parameter.isfinite().all() for parameter in large.model.parameters())
        return
    for ours, theirs in zip(large.model.parameters(), small.model.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-8)


def test_an_overflow_in_float16_is_retried_with_a_smaller_scale(train_config):
    config = train_config(dtype="float16")
    state, dataset = begun(config)
    assert state.scaler.is_enabled()
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = state.model.wte.weight.clone()
    metrics = update(state, config, dataset)
    assert math.isfinite(metrics["batch/grad_norm"])
    assert state.scaler.get_scale() < 2.0**40
    assert {int(s["step"]) for s in state.optimizer.state.values()} == {1}
    assert not torch.equal(before, state.model.wte.weight)


def test_the_scale_of_float16_grows_again(train_config):
    """Otherwise one overflow at the start would cost the small gradients for the rest of the run."""
    config = train_config(dtype="float16")
    state, dataset = begun(config)
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**8, growth_interval=2)
    for state.step in range(4):
        update(state, config, dataset)
    assert state.scaler.get_scale() == 2.0**10


def test_only_float16_has_a_scale(train_config):
    for dtype in ("float32", "bfloat16", "float64", "float16"):
        state, _ = begun(train_config(dtype=dtype))
        assert state.scaler.is_enabled() == (dtype == "float16")
        wide = torch.float64 if dtype == "float64" else torch.float32
        assert {p.dtype for p in state.model.parameters()} == {wide}
