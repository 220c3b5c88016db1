"""What memory is held: by the probes, by an update that is watched; when a run is refused, and what helps."""

import shutil
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest
import torch
from conftest import tiny_config, tiny_model
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from reslab.instruments import probes
from reslab.instruments.snapshot import snapshot
from reslab.model import GPT
from reslab.run import capacity
from reslab.run.config import MachineError
from reslab.run.settings import GPTConfig, OptimConfig, TrainConfig
from reslab.training import measure
from reslab.training.load import load
from reslab.training.loop import train

IDS = torch.randint(19, (8, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (8, 8), generator=torch.Generator().manual_seed(2))


class PeakBytes(TorchDispatchMode):
    """The most memory that tensors made inside have held at once."""

    def __init__(self):
        super().__init__()
        self.held, self.total, self.peak = (
            {},
            0,
            0,
        )  # freed memory leaves the total at a new peak

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        inputs = {x.untyped_storage()._cdata for x in args if isinstance(x, torch.Tensor)}
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage()._cdata not in inputs:
                storage = tensor.untyped_storage()
                self.held[storage._cdata] = StorageWeakRef(storage), storage.nbytes()
                self.total += storage.nbytes()
        if self.total > self.peak:
            self.held = {key: entry for key, entry in self.held.items() if not entry[0].expired()}
            self.total = sum(size for _, size in self.held.values())
            self.peak = max(self.peak, self.total)
        return made


def peak(function, *arguments) -> int:
    with PeakBytes() as seen:
        function(*arguments)
    return seen.peak


def test_a_look_at_many_sequences_holds_no_more_than_at_two():
    """To the byte: what one part leaves behind, but for the gradients of weights, is gone at the next one."""
    model = tiny_model(n_layer=2, block_size=64)
    ids = torch.randint(19, (8, 64))
    two, eight = (peak(probes.measure_batch, model, ids[:count], ids[:count]) for count in (2, 8))
    at_once = peak(lambda: probes.measure(snapshot(model, ids, ids)))
    assert eight == two
    assert eight < 0.3 * at_once


def test_gradients_of_weights_are_held_once():
    """Where a model is large and its sequences are short: not those of a sequence beside those of all."""
    model = tiny_model(n_layer=6, n_embd=64, block_size=4)
    ids = IDS[:3, :4]
    assert peak(probes.measure_batch, model, ids, ids) < 1.5 * 8 * model.count_parameters()


@pytest.mark.parametrize("wiring", ["pre", "none", "post", "x0", "hyper", "dense", "attention_residual"])
def test_sequences_seen_one_at_a_time_give_the_numbers_of_the_batch(wiring):
    """A probe that gives numbers, and not sums, is a mean over the sequences instead."""
    model = tiny_model(residual=wiring)
    at_once, parts = probes.measure(snapshot(model, IDS, TARGETS)), probes.measure_batch(model, IDS, TARGETS)
    assert set(at_once) == set(parts)
    assert at_once["probe/layers_that_learn"] == parts["probe/layers_that_learn"]
    alone = [probes.measure(snapshot(model, IDS[k : k + 1], TARGETS[k : k + 1])) for k in range(8)]
    for name, probe in probes.PROBES.items():
        columns = zip(*(row[f"probe/{name}"] for row in alone), strict=True)
        expected = at_once[f"probe/{name}"] if probe.value else [sum(column) / 8 for column in columns]
        for a, b in zip(parts[f"probe/{name}"], expected, strict=True):
            assert (a is b is None) or a == pytest.approx(b, rel=1e-9), name
    assert all(parameter.grad is None and not parameter._backward_hooks for parameter in model.parameters())


def test_a_plain_function_is_a_probe_by_its_mean_over_sequences(monkeypatch):
    def stream_peak(seen) -> list[float]:
        return [stream.abs().max().item() for stream in seen.streams]

    probe = probes.Probe(stream_peak, "largest entry", sites=("resid_pre",))
    monkeypatch.setitem(probes.PROBES, "stream_peak", probe)
    model = tiny_model()
    each = [stream_peak(snapshot(model, IDS[k : k + 1], TARGETS[k : k + 1])) for k in range(8)]
    row = probes.measure_batch(model, IDS, TARGETS)
    assert row["probe/stream_peak"] == pytest.approx(torch.tensor(each).mean(dim=0).tolist())


def test_the_entropy_holds_two_matrices_of_scores():
    model = GPT(tiny_config(block_size=128, n_layer=1, n_embd=8)).double()
    ids = torch.zeros(1, 128, dtype=torch.long)
    seen = snapshot(model, ids, ids)
    scores = 2 * 128 * 128 * 8  # heads, T, T, bytes
    assert peak(probes.attention_entropy, seen) < 2.5 * scores


def test_an_update_is_watched_one_matrix_at_a_time():
    model = GPT(tiny_config(n_layer=8)).double()
    before = probes.block_matrices(model)
    largest = max(matrix.nbytes for block in before for matrix in block)
    assert peak(probes.update_ratio, model, before) < 3 * largest


def test_a_full_memory_is_put_down_to_what_filled_it(train_config, monkeypatch):
    def greedy(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    monkeypatch.setattr(measure.probes, "measure_batch", greedy)
    with pytest.raises(MachineError, match=r"--probe_sequences does not help: .* --probes=False"):
        train(train_config())


def test_weights_alone_are_counted_where_a_gpu_or_nobody_trains(monkeypatch):
    """GPT-2 XL, 1.6 billion parameters, on a host of 16 GB; config/eval_gpt2_xl.py only measures it."""
    monkeypatch.setattr(capacity, "machine_bytes", lambda: 16 * 10**9)
    xl = GPTConfig(block_size=1024, vocab_size=50257, n_layer=48, n_head=25, n_embd=1600)
    assert capacity.faults(xl, {"batch_size": 8}, None) == []
    assert "needs at least" in capacity.faults(xl, {"batch_size": 8}, "adamw")[0]
    assert capacity.faults(replace(xl, n_layer=480), {"batch_size": 8}, None)
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    for name, refused in {"auto": False, "cuda": False, "cpu": True}.items():
        assert bool(TrainConfig(model=xl, device=name).faults()) == refused
        assert not TrainConfig(model=xl, device=name, optim=OptimConfig(max_iters=0)).faults()


def test_a_model_that_was_trained_is_read_where_its_weights_fit(train_config, monkeypatch):
    """A GPU has trained it, or a larger machine."""
    config = train_config(max_iters=1, warmup_iters=0, probes=False, n_embd=128, n_layer=3)
    assert train(config) == 0
    weights = 4 * GPT(replace(config.model, vocab_size=100)).count_parameters()
    monkeypatch.setattr(capacity, "machine_bytes", lambda: 2 * weights)
    assert load(config.out_dir)[2]["step"] == 1
    monkeypatch.setattr(capacity, "machine_bytes", lambda: weights // 2)
    with pytest.raises(ValueError, match=r"state\.json: n_layer=3, .* needs at least"):
        load(config.out_dir)


def test_what_a_cut_run_resumes_from_is_where_its_parameters_are(tmp_path):
    """Fused AdamW on a GPU refuses a count of steps on the CPU; meta stands in for a GPU."""
    shard = pytest.importorskip("reslab.system.fsdp")
    model = torch.nn.Linear(3, 2, device="meta")
    optimizer = torch.optim.AdamW(model.parameters())
    kinds = {"exp_avg": (2, 3), "step": (), "weights": (2, 3)}
    saved = {f"{kind}/weight": SimpleNamespace(size=torch.Size(size)) for kind, size in kinds.items()}
    reader = SimpleNamespace(read_metadata=lambda: SimpleNamespace(state_dict_metadata=saved))
    with (
        mock.patch.object(shard, "HuggingFaceStorageReader", lambda folder: reader),
        mock.patch.object(shard.dcp, "load"),
    ):
        shard.load_shards(tmp_path, model, optimizer)
    state = optimizer.state[model.weight]
    assert {kind: (value.device.type, value.shape) for kind, value in state.items()} == {
        "exp_avg": ("meta", (2, 3)),
        "step": ("meta", ()),
    }
