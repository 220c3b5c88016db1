"""One update as a device sees it: what is copied, what waits, what stays alive, what multiplies, and the rate
that is shown."""

import math
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_config, update
from counted import WAITS, CountCalls
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from reslab.data.dataset import TokenDataset
from reslab.instruments.probes import block_matrices, update_ratio
from reslab.model import GPT
from reslab.run.log import read_run
from reslab.system import device
from reslab.training import loop
from reslab.training.evaluate import evaluate
from reslab.training.loop import train
from reslab.training.progress import Progress
from reslab.training.step import make_state, train_step
from reslab.training.throughput import Throughput


class KeepTrack(TorchDispatchMode):
    """Knows which tensors of `size` numbers are still in memory."""

    def __init__(self, size: int):
        super().__init__()
        self.size, self.made = size, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **kwargs or {})
        if torch.is_tensor(result) and result.numel() == self.size:
            self.made.append(StorageWeakRef(result.untyped_storage()))
        return result

    def alive(self) -> int:
        return sum(not storage.expired() for storage in self.made)


def fresh(config):
    dataset = TokenDataset(Path(config.dataset), config.model.block_size, config.seed)
    return make_state(config, dataset.vocab_size), dataset


def test_an_update_copies_its_batch_once_and_waits_once(train_config):
    """On a GPU each copy from the host, and each number that comes back, stops the queue of kernels."""
    config = train_config(gradient_accumulation_steps=4)
    state, dataset = fresh(config)
    with CountCalls() as seen:
        update(state, config, dataset)
    assert seen.calls["backward"] == 4
    assert seen.copies == 1
    assert sum(seen.calls[name] for name in WAITS) == 1


def test_an_evaluation_copies_each_batch_once_and_reads_each_split_once(train_config):
    config = train_config(eval_sequences=10)  # at 4: two of 4 and one of 2
    state, dataset = fresh(config)
    with CountCalls() as seen:
        evaluate(state, config, dataset)
    assert seen.copies == 2 * 3 and seen.calls["cpu"] == 2


def test_the_size_of_an_update_is_waited_for_once():
    """And is to the bit what its matrices, read one by one, would give."""
    model = GPT(tiny_config())
    before, expected = block_matrices(model), []
    for block, was in zip(model.blocks, before, strict=True):
        now = [p.detach().add_(0.01 * torch.randn_like(p)) for p in block.parameters() if p.dim() == 2]
        moved = sum((n - w).double().square().sum().item() for n, w in zip(now, was, strict=True))
        expected.append(math.sqrt(moved) / math.sqrt(sum(w.double().square().sum().item() for w in was)))
    with CountCalls() as seen:
        assert update_ratio(model, before) == expected
    assert sum(seen.calls[name] for name in WAITS) == 1


def test_the_logits_of_a_batch_are_gone_before_the_next(train_config):
    config = train_config(gradient_accumulation_steps=3)
    state, dataset = fresh(config)
    alive = []
    with KeepTrack(config.batch_size * config.model.block_size * dataset.vocab_size) as logits:
        state.model.wte.register_forward_pre_hook(lambda *_: alive.append(logits.alive()))
        state.model.ln_f.register_forward_pre_hook(lambda *_: alive.append(logits.alive()))
        update(state, config, dataset)
    assert alive == [0] * 6 and len(logits.made) >= 3


def test_the_rate_is_that_of_the_updates_since_the_last_row(capsys):
    """The first update compiles for a minute, the others take a second."""
    throughput = Throughput(tokens_per_step=600, mfu_of=lambda rate: rate / 1000)
    throughput.add(seconds=60.0)
    assert throughput.row() == {"tokens_per_s": 10.0, "mfu": 0.01}
    for _ in range(3):
        throughput.add(seconds=1.0)
    assert throughput.row() == {"tokens_per_s": 600.0, "mfu": 0.6}
    row = {"train/loss": 1.0, "val/loss": 1.0, "val/loss_se": 0.1}
    Progress(total=10, done=0).evaluated(4, row, throughput)
    assert "600 tok/s   MFU 60.0%   00:06 left" in capsys.readouterr().out


def test_a_run_logs_such_rates(train_config, monkeypatch):
    config, clock = train_config(max_iters=4, probes=False, eval_interval=100), [0.0]

    def timed(state, *rest):
        clock[0] += 60.0 if state.step == 0 else 1.0
        return train_step(state, *rest)

    monkeypatch.setattr(loop.time, "perf_counter", lambda: clock[0])
    assert train(config, timed) == 0
    _, rates = read_run(Path(config.out_dir)).series("tokens_per_s")
    assert rates == [64 / 60, 64, 64, 64]


@pytest.mark.parametrize("dtypes", [("float32", "float16"), ("float16", "float32")])
def test_a_run_goes_on_in_another_precision(train_config, dtypes):
    """As from an A100 to a T4: float16 scales its gradients, and the others have no scale to hand over."""
    config = train_config(max_iters=2, dtype=dtypes[0])
    assert train(config) == 0
    longer = replace(config, dtype=dtypes[1], resume=True, optim=replace(config.optim, max_iters=4))
    assert train(longer) == 0
    run = read_run(Path(config.out_dir))
    assert run.series("changed")[1] == [{"max_iters": [2, 4], "dtype": list(dtypes)}]
    assert run.last("step") == 4


def test_a_fresh_state_has_the_weights_of_its_seed(train_config):
    for seed in (5, 6):
        config = train_config(seed=seed)
        ours = make_state(config, 65).model.state_dict()
        expected = GPT(replace(config.model, vocab_size=65), seed).state_dict()
        assert all(torch.equal(ours[name], weights) for name, weights in expected.items())


@pytest.mark.parametrize(
    ("changes", "dtype", "kernels"),
    [
        ({}, "float32", "float32 by oneDNN, attention by products up to 256 tokens"),
        ({"kernels": "torch"}, "float32", "torch"),
        ({"dtype": "bfloat16"}, "bfloat16", "bfloat16, attention by products up to 512 tokens"),
        ({"dtype": "float64"}, "float64", "torch"),
    ],
)
def test_a_run_records_what_its_arithmetic_is(train_config, changes, dtype, kernels):
    config = train_config(max_iters=0, warmup_iters=0, **changes)
    assert train(config) == 0
    facts = read_run(Path(config.out_dir)).facts
    assert (facts["dtype"], facts["kernels"]) == (dtype, kernels)


def test_both_passes_of_a_step_multiply_float32_the_fast_way(train_config, monkeypatch):
    """That of device.training_kernels with the run's setting; accumulated batches too."""
    config = train_config(dtype="float32", gradient_accumulation_steps=2, kernels="torch")
    dataset = TokenDataset(Path(config.dataset), config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size)
    opened, seen = [None], []

    @contextmanager
    def open_once(*told):
        opened.append(told)
        yield
        opened.append(None)

    monkeypatch.setattr(device, "training_kernels", open_once)
    layer = state.model.blocks[0].mlp.c_fc
    layer.register_forward_hook(lambda *_: seen.append(opened[-1]))
    layer.weight.register_hook(lambda _: seen.append(opened[-1]))
    update(state, config, dataset)
    assert seen == 4 * [("cpu", "float32", "torch")] and opened[-1] is None
