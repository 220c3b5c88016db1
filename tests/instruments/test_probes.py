"""The probes: true to their formulas, and without a trace."""

import math
from pathlib import Path

import pytest
import torch
from conftest import tiny_config, tiny_model

from model import GPT
from reslab.instruments.probes import PROBES, due, early_warning, measure
from reslab.instruments.snapshot import snapshot
from reslab.residual import WIRINGS
from reslab.run.log import read_run
from reslab.training.loop import train

IDS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (4, 8), generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_probe_measures_every_wiring(wiring):
    model = tiny_model(residual=wiring)
    row = measure(snapshot(model, IDS, TARGETS))
    lengths = {name: len(row[f"probe/{name}"]) for name in PROBES}
    assert set(lengths.values()) == {3, 4, 6, 7}  # blocks, streams, sublayers, streams around sublayers
    for name in PROBES:
        assert all(value is None or math.isfinite(value) for value in row[f"probe/{name}"]), name
    unsplit = WIRINGS[wiring].stream != "x" or wiring in ("post", "deepnorm", "highway")
    unknown = {"skip_gradient", "branch_gradient"} if unsplit else set()
    unknown |= {"output_gradient", "input_gradient"} if WIRINGS[wiring].stream != "x" else set()
    assert {name for name in PROBES if None in row[f"probe/{name}"]} == unknown
    assert row["probe/gradient_norm"][0] > 0


@pytest.mark.parametrize("wiring", ["pre", "hyper", "x0"])
def test_the_reach_is_the_gradient_by_finite_differences(wiring):
    """dL/dh at the stream before block 1: moving h along it changes the loss by its norm."""
    model = tiny_model(residual=wiring)
    seen = snapshot(model, IDS, TARGETS)
    gradient = seen.stream_gradients[1]
    step = 1e-6 * gradient / gradient.norm()

    def loss(sign):
        def move(module, args):
            stream = args[0]
            if isinstance(stream, tuple):
                return ((stream[0] + sign * step, *stream[1:]),)
            return (stream + sign * step,)

        handle = model.blocks[1].register_forward_pre_hook(move)
        _, value = model(IDS, TARGETS)
        handle.remove()
        return value.item()

    slope = (loss(1) - loss(-1)) / 2e-6
    assert slope == pytest.approx(gradient.norm().item(), rel=1e-5)


def test_diversity_entropy_and_shares_have_their_known_values():
    model = GPT(tiny_config()).double()
    with torch.no_grad():
        model.wpe.weight.zero_()
    same = torch.full((2, 8), 3)
    row = measure(snapshot(model, same, TARGETS[:2]))
    assert max(row["probe/token_diversity"]) < 1e-7  # all tokens alike
    assert row["probe/attention_entropy"] == pytest.approx([1.0] * 3)  # so attention is uniform
    row = measure(snapshot(GPT(tiny_config()).double(), IDS, TARGETS))
    assert row["probe/token_diversity"][0] > 0.5
    assert row["probe/layers_that_learn"] == 3 and early_warning(row) is None


@pytest.mark.parametrize("wiring", ["pre", "none", "scaled", "rezero", "sandwich", "completep"])
def test_a_gradient_is_what_came_by_the_skip_and_what_came_by_the_branch(wiring):
    model = tiny_model(residual=wiring)
    seen = snapshot(model, IDS, TARGETS)
    for crossing in seen.crossings:
        assert (crossing.through_skip + crossing.through_branch - crossing.left).abs().max() < 1e-10
    # The branch's part against autograd on that sublayer alone: J^T g without the skip.
    x, block = seen.streams[1].clone().requires_grad_(), model.blocks[1]
    branch_part = block.attn_residual(x, block.attn) - seen.crossings[2].skip * x
    (expected,) = torch.autograd.grad(branch_part, x, seen.crossings[2].arrived)
    assert (seen.crossings[2].through_branch - expected).abs().max() < 1e-10
    row = measure(seen)
    assert row["probe/input_gradient"][::2] == row["probe/gradient_norm"][:-1]
    assert row["probe/output_gradient"][:-1] == row["probe/input_gradient"][1:]
    assert (max(row["probe/skip_gradient"]) == 0) == (wiring == "none")
    assert row["probe/sublayer_rms"][::2] == row["probe/stream_rms"]


def test_a_skip_of_one_kind_of_sublayer_is_measured_alone():
    row = measure(snapshot(tiny_model(residual="pre", mlp_residual="post"), IDS, TARGETS))
    assert [value is None for value in row["probe/skip_gradient"]] == [False, True] * 3


def test_a_probe_leaves_nothing_behind():
    model = tiny_model(dropout=0.5).train()
    state = torch.random.get_rng_state()
    measure(snapshot(model, IDS, TARGETS))
    assert model.training and torch.equal(state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())
    for module in model.modules():
        assert not module._forward_hooks and not module._forward_pre_hooks and not module._backward_hooks


def test_losses_do_not_feel_the_probes(train_config, tmp_path):
    seen, unseen = (
        train_config(dropout=0.1),
        train_config(dropout=0.1, out_dir=str(tmp_path / "b"), probes=False),
    )
    train(seen), train(unseen)
    runs = [read_run(Path(config.out_dir)) for config in (seen, unseen)]
    for key in ("batch/loss", "batch/grad_norm", "val/loss"):
        assert runs[0].series(key) == runs[1].series(key)
    assert runs[0].series("probe/qk_gradient")[0] == [0, 1, 3, 5, 10, 12]
    assert runs[0].series("probe/update_ratio")[0] == [0, 1, 3, 5, 10]
    assert not runs[1].series("probe/qk_gradient")[0]


def test_probes_come_early_and_at_evaluations():
    assert [step for step in range(131) if due(step, 50, step == 130)] == [0, 1, 3, 10, 30, 50, 100, 130]


def test_a_dead_stack_is_told_early_and_a_living_one_is_not(train_config, tmp_path):
    shape = {"n_layer": 12, "n_embd": 32, "max_iters": 31, "eval_interval": 31}
    dead = train_config(residual="none", **shape)
    alive = train_config(residual="pre", out_dir=str(tmp_path / "b"), **shape)
    train(dead), train(alive)
    dead, alive = (read_run(Path(config.out_dir)) for config in (dead, alive))
    steps, lines = dead.series("early_warning")
    assert len(steps) == 1 and steps[0] <= 50
    assert lines[0].startswith("this stack will not train: behind")
    assert "of 12 layers all tokens look alike" in lines[0]
    assert alive.series("early_warning") == ([], [])
    assert alive.last("probe/layers_that_learn") == 12
    assert dead.last("probe/layers_that_learn") < 3
