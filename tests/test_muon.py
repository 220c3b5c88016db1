"""Muon, many matrices at a time: the same steps as one at a time."""

import pytest
import torch

from reslab.muon import Muon, orthogonal


@pytest.mark.parametrize(("adjust", "match"), [("original", False), ("match_rms_adamw", True)])
def test_the_steps_are_those_of_torch(adjust, match):
    """Steps of the length that they should have, and a decay large enough to be seen beside them."""
    shapes = [(24, 8), (8, 24), (8, 8), (24, 8)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    words = {"lr": 0.1, "weight_decay": 1.5}
    mine = Muon(ours, match_adamw=match, **words)
    torchs = torch.optim.Muon(theirs, adjust_lr_fn=adjust, **words)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        mine.step(), torchs.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() < 0.03 * (b - 0.85**4).norm()  # both round to bfloat16


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (16, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    """U S V^T becomes U f(S) V^T, f five rounds of the quintic: each matrix by itself, tall or wide."""
    matrices = torch.stack([torch.randn(shape), 1e3 * torch.randn(shape), 1e-3 * torch.randn(shape)])
    found = orthogonal(matrices)
    assert found.shape == matrices.shape and found.dtype == matrices.dtype
    for matrix, one in zip(matrices, found, strict=True):
        u, s, v = torch.linalg.svd(matrix, full_matrices=False)
        s = s / s.norm()
        for _ in range(5):
            s = 3.4445 * s - 4.7750 * s**3 + 2.0315 * s**5
        assert (one - u @ s.diag() @ v).abs().max() < 0.05
        if shape[0] != shape[1]:
            assert 0.6 < torch.linalg.svdvals(one).min() < torch.linalg.svdvals(one).max() < 1.3


def test_no_gradient_gives_no_direction():
    assert orthogonal(torch.zeros(2, 4, 4)).isfinite().all()
    still, moving = torch.nn.Parameter(torch.ones(4, 4)), torch.nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([still, moving], lr=0.1, weight_decay=0.5)
    moving.grad = torch.randn(4, 4)
    optimizer.step()
    assert torch.equal(still, torch.ones(4, 4)) and not torch.equal(moving, torch.ones(4, 4))
