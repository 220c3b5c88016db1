"""What fits: the least that a run needs against what the machine has, and what to lower."""

import os
import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from reslab.run import capacity
from reslab.run.settings import GPTConfig
from reslab.system.memory import Shape, state_bytes
from reslab.training.optimizer import OPTIMIZERS


def needs(
    shape: Shape | GPTConfig, has: int, monkeypatch, optimizer: str | None = "adamw", **sequences: int
) -> list[str]:
    monkeypatch.setattr(capacity, "machine_bytes", lambda: has)
    if isinstance(shape, Shape):
        keys = ("n_layer", "n_embd", "n_head", "vocab_size", "block_size")
        shape = GPTConfig(**{key: getattr(shape, key) for key in keys})
    return capacity.faults(shape, sequences, optimizer)


@pytest.mark.parametrize("shape", [Shape(12, 768, 12), Shape(48, 1600, 25), Shape(2, 512, 8, 10**7, 64)])
def test_a_run_is_refused_only_where_it_can_not_fit(shape, monkeypatch):
    state = state_bytes(shape, 1, False)  # weights, gradients and AdamW's averages
    assert needs(shape, int(state), monkeypatch, batch_size=1) == []
    (line,) = needs(shape, int(0.75 * state), monkeypatch, batch_size=1)
    assert line.startswith(f"n_layer={shape.n_layer}, n_embd={shape.n_embd}, vocab_size={shape.vocab_size}, ")
    assert f"block_size={shape.block_size}: needs at least " in line
    needed, has = (float(number.replace(",", "")) for number in re.findall(r"([\d,.]+) GB", line))
    assert has == pytest.approx(0.75 * state / 1e9, abs=0.06) and has < needed
    assert needed <= state / 1e9 + 0.05  # as it is printed, to one digit


def test_what_an_optimizer_keeps_of_each_parameter_counts(monkeypatch):
    """Bytes of each parameter, by the least memory that is not refused: never more than is kept."""
    shape = GPTConfig(n_layer=1, n_embd=8, n_head=1, vocab_size=10**6, block_size=8, bias=False)
    needed = {}
    for name in (*OPTIMIZERS, None):
        counts = (
            n for n in range(10**7, 10**9, 10**6) if not needs(shape, n, monkeypatch, name, batch_size=1)
        )
        needed[name] = next(counts) / (8 * (10**6 + 8))
    assert needed[None] == pytest.approx(4, abs=0.3)
    for name, kept in (("adamw", 2), ("muon", 2), ("adagrad", 1), ("sgd", 0)):
        assert 8 <= needed[name] <= 8 + 4 * kept + 0.3, name
    assert needed["adamw"] == pytest.approx(16, abs=0.3)
    deep = GPTConfig(n_layer=8, n_embd=1024, n_head=1, vocab_size=2, block_size=8, bias=False)
    assert not needs(deep, 13 * 8 * 12 * 2**20, monkeypatch, "muon", batch_size=1)
    assert needs(deep, 13 * 8 * 12 * 2**20, monkeypatch, "adamw", batch_size=1)


def test_what_takes_most_is_named_and_all_parts_count(monkeypatch):
    shape = Shape(1, 8, 1, 10, block_size=1000)
    # a sequence is two ids of eight bytes per place: 16 MB for a thousand
    for count, key in ((10**6, "eval_sequences"), (10**6, "batch_size")):
        (line,) = needs(shape, 15 * 10**9, monkeypatch, **{"probe_sequences": 3, key: count})
        assert line.startswith(f"{key}={count}, block_size=1000: needs at least 16.0 GB of memory")
    assert needs(shape, 17 * 10**9, monkeypatch, batch_size=10**6) == []
    assert needs(shape, 17 * 10**9, monkeypatch, batch_size=10**6, eval_sequences=10**6)  # together too many
    assert needs(shape, None, monkeypatch, batch_size=10**9) == []  # a machine that can't be asked


@pytest.mark.parametrize("key", ["head_dim", "n_inner"])
def test_widths_of_their_own_count(key, monkeypatch):
    shape = GPTConfig(n_layer=2, n_head=2, n_embd=32, vocab_size=10, block_size=8)
    assert needs(shape, 10**9, monkeypatch) == []
    (line,) = needs(replace(shape, **{key: 2**62}), 10**9, monkeypatch)
    assert f"{key}={2**62}, block_size=8: needs at least " in line
    # in float32: Q, K, V and the output projection of two heads, or two matrices of an MLP
    matrices = {"head_dim": 4 * 2, "n_inner": 2}[key]
    least = 2 * 32 * matrices * 10**6 * 4
    assert needs(replace(shape, **{key: 10**6}), least, monkeypatch)


@pytest.mark.parametrize(("limit", "least"), [("max\n", 8 * 4096), ("5000\n", 5000), ("999999999", 8 * 4096)])
def test_a_container_s_limit_counts_where_it_is_lower(monkeypatch, limit, least):
    sizes = {"SC_PHYS_PAGES": 8, "SC_PAGE_SIZE": 4096}
    monkeypatch.setattr(os, "sysconf", sizes.__getitem__, raising=False)
    file = SimpleNamespace(exists=lambda: True, read_text=lambda encoding: limit)
    monkeypatch.setattr(capacity, "Path", lambda name: file)
    assert capacity.machine_bytes() == least


def test_the_advice_keeps_the_update_and_halves_the_batch():
    for size in range(2, 25):
        for accumulation in range(1, 6):
            advice = capacity.advice(MemoryError(), size, accumulation)
            smaller, batches = map(int, re.findall(r"=(\d+)", advice))
            assert smaller * batches == size * accumulation and smaller <= size / 2
            between = range(smaller + 1, size // 2 + 1)  # as large as it can be
            assert not any(size * accumulation % other == 0 for other in between)
    assert "a batch is one sequence already" in capacity.advice(MemoryError(), 1, 8)


def test_what_says_that_the_memory_is_full():
    full = [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried"),
        RuntimeError("not enough memory: x"),
    ]
    full += [RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried")]
    assert all(map(capacity.ran_out, full))
    assert not any(
        map(capacity.ran_out, (RuntimeError("shapes differ"), ValueError("memory"), KeyError("a")))
    )
