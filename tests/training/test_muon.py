"""Muon, many matrices at a time: the same steps as one at a time."""

from pathlib import Path

import pytest
import torch
from conftest import tiny_config, update
from torch import nn

from reslab.data.dataset import open_dataset
from reslab.model import GPT
from reslab.run.settings import OptimConfig
from reslab.training.loop import train
from reslab.training.muon import Muon, orthogonal
from reslab.training.optimizer import make_optimizer, set_learning_rate
from reslab.training.state import restore
from reslab.training.step import make_state


@pytest.mark.parametrize(("adjust", "match"), [("original", False), ("match_rms_adamw", True)])
def test_the_steps_are_those_of_torch(adjust, match):
    """Steps of the length that they should have, and a decay large enough to be seen beside them."""
    shapes = [(24, 8), (8, 24), (8, 8), (24, 8)]
    ours, theirs = ([torch.nn.Parameter(torch.ones(s)) for s in shapes] for _ in range(2))
    options = {"lr": 0.1, "weight_decay": 1.5}
    muon = Muon(ours, match_adamw=match, **options)
    torchs = torch.optim.Muon(theirs, adjust_lr_fn=adjust, **options)
    for step in range(4):
        generator = torch.Generator().manual_seed(step)
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        muon.step(), torchs.step()
    for a, b in zip(ours, theirs, strict=True):
        assert (a - b).norm() < 0.03 * (b - 0.85**4).norm()  # both round to bfloat16


def test_a_rate_that_is_a_tensor_is_that_rate():
    """As a recorded step has it; shapes and decay as above."""
    stepped = []
    for rate in (0.1, torch.tensor(0.1)):
        matrices = [torch.nn.Parameter(torch.ones(s)) for s in [(24, 8), (8, 24), (24, 8)]]
        muon = Muon(matrices, lr=0.1, weight_decay=1.5)
        muon.param_groups[0]["lr"] = rate
        for step in range(3):
            for number, matrix in enumerate(matrices):
                generator = torch.Generator().manual_seed(10 * step + number)
                matrix.grad = torch.randn(matrix.shape, generator=generator)
            muon.step()
        stepped.append([matrix.detach() for matrix in matrices])
    torch.testing.assert_close(*stepped, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(16, 40), (40, 16), (16, 16)])
def test_singular_values_come_near_one_and_directions_stay(shape):
    """U S V^T becomes U f(S) V^T, f five rounds of the quintic: each matrix by itself, tall or wide."""
    matrices = torch.stack([torch.randn(shape), 1e3 * torch.randn(shape), 1e-3 * torch.randn(shape)])
    product = orthogonal(matrices)
    assert product.shape == matrices.shape and product.dtype == matrices.dtype
    for matrix, one in zip(matrices, product, strict=True):
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


def test_q_k_and_v_are_made_orthogonal_apart():
    """Each part moves as far as a matrix of its shape, however small its gradient is beside the others'."""
    model = GPT(tiny_config(mlp="swiglu", n_head=4, n_kv_head=2))
    optimizer = make_optimizer(model, OptimConfig(optimizer="muon", weight_decay=0.0, muon_lr=0.02))
    before = {name: p.clone() for name, p in model.named_parameters()}
    for name, p in model.named_parameters():
        p.grad = torch.randn_like(p)
        if "c_attn" in name and p.dim() == 2:
            p.grad[:16] *= 1e-3  # Q
    optimizer.step()
    for number, block in enumerate(model.blocks):
        for branch, name in ((block.attn, "attn.c_attn"), (block.mlp, "mlp.c_fc")):
            old = before[f"blocks.{number}.{name}.weight"].split(
                [len(part) for part in branch.input_matrices()]
            )
            for part, was in zip(branch.input_matrices(), old, strict=True):
                rows, columns = part.shape
                norm = ((part - was) / optimizer.muon.param_groups[0]["lr"]).norm().item()
                expected = max(1, rows / columns) ** 0.5 * min(rows, columns) ** 0.5
                assert norm == pytest.approx(expected, rel=0.25), (name, rows)


@pytest.mark.parametrize("match", [True, False])
def test_parts_move_as_far_together_as_one_matrix(match):
    together, apart = (nn.Parameter(torch.zeros(96, 32)) for _ in range(2))
    gradient = torch.randn(96, 32)
    for parameter, rows in ((together, None), (apart, {apart: [32, 32, 32]})):
        parameter.grad = gradient.clone()
        Muon([parameter], lr=1.0, weight_decay=0.0, match_adamw=match, rows=rows).step()
    assert apart.norm().item() == pytest.approx(together.norm().item(), rel=0.1)
    assert (apart - together).norm() > 0.1 * together.norm()


def test_a_rate_of_its_own_for_the_matrices_of_the_blocks():
    model = GPT(tiny_config())
    config = OptimConfig(optimizer="muon", learning_rate=0.01, muon_lr=0.05)
    optimizer = make_optimizer(model, config)
    set_learning_rate(optimizer, config, 0.004)  # as the schedule goes down
    rates = {id(p): g["lr"] for g in optimizer.param_groups for p in g["params"]}
    for name, p in model.named_parameters():
        inside = name.startswith("blocks") and p.dim() == 2
        assert rates[id(p)] == pytest.approx(0.02 if inside else 0.004)
    config = OptimConfig(optimizer="muon", learning_rate=0.01)
    again = make_optimizer(GPT(tiny_config()), config)
    set_learning_rate(again, config, 0.004)
    assert {g["lr"] for g in again.param_groups} == {0.004}


def test_another_learning_rate_on_resume_leaves_muons_own_alone(train_config):
    """The rate comes from the settings of now, not from what the checkpoint's optimizer had."""
    train(train_config(optimizer="muon", learning_rate=4e-3, muon_lr=0.02, max_iters=3, schedule="constant"))
    config = train_config(
        optimizer="muon", learning_rate=1e-3, muon_lr=0.02, max_iters=4, schedule="constant", resume=True
    )
    dataset = open_dataset(config.dataset, 16, config.seed)
    state = make_state(config, dataset.vocab_size)
    restore(state, Path(config.out_dir) / "checkpoint" / "last", dataset)
    update(state, config, dataset)
    muon, *others = state.optimizer.param_groups
    assert muon["lr"] == pytest.approx(0.02) and {g["lr"] for g in others} == {1e-3}


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_blocks_have_a_rate_of_their_own(train_config, optimizer):
    """One step by hand: what is inside the blocks moves at block_lr, the rest at learning_rate."""
    changes = {"optimizer": optimizer, "learning_rate": 1e-2, "weight_decay": 0.0, "grad_clip": 0.0}
    config = train_config(
        **changes, dtype="float64", block_lr=1e-3, schedule="linear", warmup_iters=0, max_iters=4
    )
    dataset = open_dataset(config.dataset, 16, config.seed)
    state = make_state(config, dataset.vocab_size)
    state.step = 2  # half of the linear schedule is left
    before = {name: p.clone() for name, p in state.model.named_parameters()}
    x, y = dataset.batch("train", 2, config.batch_size)
    state.model.loss(x, y).backward()
    gradients = {name: p.grad.clone() for name, p in state.model.named_parameters()}
    state.optimizer.zero_grad()
    assert update(state, config, dataset)["learning_rate"] == pytest.approx(5e-3)
    for name, p in state.model.named_parameters():
        rate, g = (5e-4 if name.startswith("blocks") else 5e-3), gradients[name]
        # The first step of Adam is g / (|g| + eps), that of momentum is g.
        step = g / (g.abs() + 1e-8) if optimizer == "adamw" else g
        assert torch.allclose(p, before[name] - rate * step, rtol=1e-4, atol=1e-7), name


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"block_lr": -1.0}, "block_lr=-1.0: must be finite and not negative"),
        ({"block_lr": 1e-3, "optimizer": "muon"}, "block_lr=0.001: is not for muon, whose matrices"),
        ({"block_lr": 1e-3, "learning_rate": 0.0}, "block_lr=0.001: follows the schedule of learning_rate"),
    ],
)
def test_rates_that_can_not_be_are_named(changes, fault):
    (line,) = OptimConfig(**changes).faults()
    assert line.startswith(fault)
