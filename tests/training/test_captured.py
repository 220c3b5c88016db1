"""Recorded updates, by graphs that run on a CPU (tests/recorded_ops.py); tests/test_cuda.py has a GPU's."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from conftest import update
from counted import WAITS, CountCalls
from recorded_ops import pretend

from reslab.data.dataset import TokenDataset, find_folder
from reslab.instruments import probes
from reslab.residual import WIRINGS, PreNorm
from reslab.training import step as stepping
from reslab.training.captured import WARM
from reslab.training.loop import train
from reslab.training.step import Diverged, make_state, next_batch


@pytest.fixture
def begun(train_config, monkeypatch):
    """Makes the config, a fresh state and the dataset of a run whose updates are recorded as on a GPU."""
    pretend(monkeypatch)
    monkeypatch.setattr(stepping, "on_gpu", lambda batch: True)

    def begin(**changes):
        config = train_config(**{"max_iters": 20, "learning_rate": 0.01, "muon_lr": 0.01} | changes)
        dataset = TokenDataset(find_folder(config.dataset), config.model.block_size, config.seed)
        return config, make_state(config, dataset.vocab_size), dataset

    return begin


def updates(config, state, dataset, count: int) -> list[dict]:
    return [update(state, config, dataset) for _ in range(count)]


def weights(state) -> torch.Tensor:
    """All of a model, in one row."""
    return torch.cat([p.detach().flatten() for p in state.model.parameters()])


def assert_near(one: torch.Tensor, other: torch.Tensor) -> None:
    """Where a gradient is 0 up to rounding, Adam makes a step of it; there are few."""
    assert (one - other).norm() < 1e-3 * one.norm()


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw", "dropout": 0.2, "gradient_accumulation_steps": 2, "grad_clip": 0.5},
        {"optimizer": "muon", "dropout": 0.2, "block_lr": 0.003},
        {"optimizer": "muon", "muon_lr": 0.0, "learning_rate": 0.003},
        {"pos": "rope", "dtype": "float32", "grad_clip": 0.0},
        {"pos": "rope", "dtype": "bfloat16", "residual": "stochastic_depth"},
        {"dtype": "float64", "residual": "dynamic_hyper", "tie_weights": False},
    ],
)
def test_a_recorded_update_is_the_same_update(begun, changes):
    """With probes between, as a run has them; they compute with the same layers."""
    rows, ends = [], []
    for on in (False, True):
        config, state, dataset = begun(**changes, cuda_graph=on)
        row = []
        for number in range(9):
            row += updates(config, state, dataset, 1)
            if number in (1, 4, 6):
                probes.measure_batch(state.model, *dataset.batch("train", 0, 2))
        assert bool(state.captured) is on and all(p.grad is None for p in state.model.parameters())
        rows.append([list(metrics.values()) for metrics in row])
        ends.append(weights(state))
    torch.testing.assert_close(rows[1], rows[0], rtol=1e-4, atol=1e-6)  # a recorded rate is a float32
    assert_near(*ends)


def test_a_recorded_update_copies_its_batch_to_where_it_is_read_and_waits_once(begun):
    """Its rates come without a copy from the CPU."""
    config, state, dataset = begun(optimizer="muon", gradient_accumulation_steps=2)
    updates(config, state, dataset, WARM + 1)
    with CountCalls() as seen:
        updates(config, state, dataset, 1)
    assert state.captured and seen.copies == seen.calls["tensor"] == 0
    assert sum(seen.calls[name] for name in WAITS) == 1
    assert torch.equal(state.captured.batch, next_batch(dataset, config, state.step - 1))


@pytest.mark.parametrize("residual", WIRINGS)
def test_an_update_of_each_wiring_can_be_recorded(begun, residual):
    config, state, dataset = begun(residual=residual)
    assert all(math.isfinite(row["batch/loss"]) for row in updates(config, state, dataset, WARM + 2))
    assert state.captured


def test_nothing_of_a_recording_gets_into_what_is_saved(begun):
    config, state, dataset = begun(optimizer="muon")
    updates(config, state, dataset, WARM + 2)
    groups = [group for kind in state.optimizer.state_dict().values() for group in kind["param_groups"]]
    assert {type(group["lr"]) for group in groups} == {float}
    assert not any(group.get("capturable") for group in groups)


def test_a_recorded_update_that_diverges_changes_nothing(begun):
    config, state, dataset = begun()
    updates(config, state, dataset, WARM + 2)
    with torch.no_grad():
        state.model.wte.weight[:, 0] = math.inf
    before = weights(state)
    with pytest.raises(Diverged):
        update(state, config, dataset)
    assert torch.equal(weights(state).nan_to_num(), before.nan_to_num())


def test_a_stack_whose_norm_overflows_goes_on_without_recordings(begun):
    """Gradients above 1e19 are finite, their squares are not: the update is that of an unrecorded run."""
    ends = []
    for on in (False, True):
        config, state, dataset = begun(dtype="float32", cuda_graph=on)
        updates(config, state, dataset, WARM + 2)
        whole = state.model.whole_loss
        scaled = lambda *args, whole=whole: whole(*args) * 1e25  # noqa: E731
        state.model.whole_loss, state.captured, state.warm = scaled, None, WARM  # recorded with the scale
        row = updates(config, state, dataset, 2)[0]
        assert 1e20 < row["batch/grad_norm"] < math.inf
        assert state.captured is None and not state.may_capture
        ends.append(weights(state))
    assert_near(*ends)


def test_a_recording_shares_no_tables_of_angles_with_the_rest(begun):
    """Both would read memory of the other, which is used again for something else."""
    config, state, dataset = begun(pos="rope", dtype="float32", compile="False")
    rotary, seen = state.model.blocks[0].attn.rotary, []
    updates(config, state, dataset, WARM)
    seen.append(rotary._tables)
    forward = rotary.forward
    rotary.forward = lambda *args: (seen.append(rotary._tables), forward(*args))[1]
    updates(config, state, dataset, 1)
    assert seen[0] is not None and seen[1] is None and rotary._tables is None and state.captured


class Counting(PreNorm):
    """One that a recording would freeze."""

    same_every_step = False


def test_a_wiring_that_counts_its_calls_is_not_recorded(begun, monkeypatch):
    monkeypatch.setitem(WIRINGS, "pre", Counting)
    config, state, dataset = begun()
    updates(config, state, dataset, WARM + 2)
    assert state.captured is None


def test_another_thread_records_nothing(begun):
    """While one records, the random numbers of all are its own."""
    with ThreadPoolExecutor(1) as pool:
        assert not pool.submit(lambda: begun()[1]).result().may_capture
    assert begun()[1].may_capture


class Asking(PreNorm):
    """One that waits for the GPU."""

    def forward(self, x, branch):
        return super().forward(x, branch) + 0 * x.sum().item()


def test_what_can_not_be_recorded_ends_the_run_with_its_updates_saved(begun, monkeypatch, tmp_path):
    monkeypatch.setitem(WIRINGS, "pre", Asking)
    config, _, _ = begun()
    with pytest.raises(
        ValueError, match=r"can't be recorded \(.*not permitted .*; --cuda_graph=False trains without"
    ):
        train(config)
    assert f'"step": {WARM}' in (tmp_path / "run/checkpoint/last/state.json").read_text(encoding="utf-8")
