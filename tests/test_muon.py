"""Muon, many matrices at a time: the same steps as one at a time."""

import pytest
import torch
from conftest import tiny_config

from model import GPT
from reslab.muon import Muon, orthogonal
from reslab.optimizer import OptimConfig, make_optimizer, set_learning_rate


@pytest.mark.parametrize(("adjust", "match"), [("original", False), ("match_rms_adamw", True)])
def test_the_steps_are_those_of_torch(adjust, match):
    shapes = [(24, 8), (8, 24), (8, 8), (24, 8)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    words = {"lr": 0.1, "weight_decay": 0.1}
    mine = Muon(ours, match_adamw=match, **words)
    torchs = torch.optim.Muon(theirs, adjust_lr_fn=adjust, **words)
    for step in range(3):
        generator = torch.Generator().manual_seed(step)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step(), torchs.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).abs().max() < 0.02 * (b - 1).abs().max()  # both round to bfloat16


def test_singular_values_come_near_one():
    values = torch.linalg.svdvals(orthogonal(torch.randn(3, 16, 40)))
    assert values.min() > 0.6 and values.max() < 1.3
    assert orthogonal(torch.zeros(2, 4, 4)).isfinite().all()


def test_a_rate_of_its_own_for_the_matrices_of_the_blocks():
    model = GPT(tiny_config())
    optimizer = make_optimizer(model, OptimConfig(optimizer="muon", learning_rate=0.01, muon_lr=0.05))
    set_learning_rate(optimizer, 0.004)  # as the schedule goes down
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    for name, p in model.named_parameters():
        inside = name.startswith("blocks") and p.dim() == 2
        assert rates[id(p)] == pytest.approx(0.02 if inside else 0.004)
    again = make_optimizer(GPT(tiny_config()), OptimConfig(optimizer="muon", learning_rate=0.01))
    set_learning_rate(again, 0.004)
    assert {g["lr"] for g in again.param_groups} == {0.004}
