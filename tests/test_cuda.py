"""What only a GPU can show; elsewhere these tests are skipped."""

import math
from dataclasses import replace

import pytest
import torch
from conftest import tiny_model, update

from reslab.data.dataset import TokenDataset, find_folder
from reslab.instruments import probes, snapshot
from reslab.instruments.anatomy import anatomy_of
from reslab.residual import WIRINGS
from reslab.system.distributed import DistContext, process_group
from reslab.system.parallel import Single
from reslab.training.captured import WARM, CapturedUpdate
from reslab.training.step import Diverged, make_state

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
GPU = Single("cuda")


@pytest.fixture
def begun(train_config):
    """Makes the config, a fresh state on the GPU and the dataset of a run."""

    def begin(**changes):
        config = train_config(**{"device": "cuda", "compile": "False", "max_iters": 20} | changes)
        dataset = TokenDataset(find_folder(config.dataset), config.model.block_size, config.seed)
        return config, make_state(config, dataset.vocab_size, GPU), dataset

    return begin


def listed(value) -> list[float]:
    """The numbers of a probe, NaN for one that there is not."""
    values = value if isinstance(value, list) else [value]
    return [math.nan if x is None else x for x in values]


def updates(config, state, dataset, count: int) -> list[list[float]]:
    rows = [update(state, config, dataset, GPU) for _ in range(count)]
    return [[row["batch/loss"], row["batch/grad_norm"]] for row in rows]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("residual", ["pre", "stochastic_depth", "dynamic_hyper"])
def test_a_recorded_update_is_the_same_update(begun, residual, optimizer):
    """Dropout, accumulation, clipping and a rate that changes included."""
    settings = {"residual": residual, "optimizer": optimizer, "dropout": 0.2, "dtype": "float32"}
    settings |= {"gradient_accumulation_steps": 2, "grad_clip": 0.5, "muon_lr": 0.01, "learning_rate": 0.01}
    plain, recorded = (begun(**settings, cuda_graph=on) for on in (False, True))
    torch.testing.assert_close(updates(*recorded, 12), updates(*plain, 12), rtol=1e-4, atol=1e-4)
    assert recorded[1].captured and not plain[1].captured
    assert all(p.grad is None for p in recorded[1].model.parameters())


@pytest.mark.parametrize(
    "changes",
    [
        {"cuda_graph": False},
        {"dtype": "float16"},
        {"optimizer": "sgd"},
        {"profile": True},
        {"activation_checkpointing": True},
    ],
)
def test_an_update_that_is_not_to_be_recorded_is_not(begun, changes):
    config, state, dataset = begun(**changes)
    updates(config, state, dataset, WARM + 2)
    assert state.captured is None


def test_a_recorded_update_that_diverges_changes_nothing(begun):
    config, state, dataset = begun()
    updates(config, state, dataset, WARM + 2)
    with torch.no_grad():
        state.model.wte.weight[:, 0] = math.inf
    before = [p.clone() for p in state.model.parameters()]
    with pytest.raises(Diverged):
        update(state, config, dataset, GPU)
    pairs = zip(state.model.parameters(), before, strict=True)
    assert all(torch.equal(now.nan_to_num(), was.nan_to_num()) for now, was in pairs)


def test_an_update_that_waits_for_the_gpu_is_refused_and_says_so(begun):
    """Like a forward with .item() in it; nothing was updated, and the model can be saved."""
    config, state, dataset = begun()
    updates(config, state, dataset, 1)
    before = [p.clone() for p in state.model.parameters()]
    batch = torch.zeros(2, 4, 16, dtype=torch.long, device="cuda")
    asks = lambda batch: torch.ones(2, device="cuda") * batch.float().sum().item()  # noqa: E731
    with pytest.raises(ValueError, match=r"can't be recorded \(.*; --cuda_graph=False trains without"):
        CapturedUpdate(state.optimizer, batch, asks)
    pairs = zip(state.model.parameters(), before, strict=True)
    assert all(torch.equal(now, was) for now, was in pairs)


@pytest.mark.parametrize("residual", WIRINGS)
def test_probes_measure_on_a_gpu_what_they_measure_on_a_cpu(residual):
    model, rows = tiny_model(residual=residual), {}
    idx = torch.arange(18).view(2, 9) % 19
    for device in ("cpu", "cuda"):
        x, y = (t.to(device) for t in (idx[:, :-1], idx[:, 1:]))
        rows[device] = probes.measure_batch(model.to(device), x, y)
    assert rows["cuda"].keys() == rows["cpu"].keys()
    for key, value in rows["cpu"].items():
        numbers = pytest.approx(listed(value), rel=1e-3, abs=1e-6, nan_ok=True)
        assert listed(rows["cuda"][key]) == numbers, key


def test_sequences_that_are_looked_at_together_give_the_numbers_of_each_alone(monkeypatch):
    model, idx = tiny_model().cuda(), (torch.arange(72).view(8, 9) % 19).cuda()
    rows = []
    for room, together in ((0, 1), (1 << 30, 8)):
        monkeypatch.setitem(snapshot.ROOM, "cuda", room)
        assert snapshot.at_once(anatomy_of(model), idx) == together
        rows.append(probes.measure_batch(model, idx[:, :-1], idx[:, 1:]))
    for key, value in rows[0].items():
        numbers = pytest.approx(listed(value), rel=1e-4, abs=1e-7, nan_ok=True)
        assert listed(rows[1][key]) == numbers, key


def test_one_rank_is_connected(monkeypatch):
    """torchrun with one process has `cuda` without a number."""
    names = {
        "RANK": "0",
        "WORLD_SIZE": "1",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29517",
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with process_group(DistContext(), "cuda") as dist:
        assert dist.initialized and dist.all_reduce_sum(torch.ones(1, device="cuda")).item() == 1
    assert replace(dist, initialized=False) == DistContext()
