"""A model that is cut over two processes: it learns, saves and goes on as a whole one does."""
# ruff: noqa: F811  (fixtures are imported)

import errno
import os
import signal
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import rows
from pair import NEED_GLOO, alone, near, overflowing, pair, stopped  # noqa: F401

from reslab.residual import WIRINGS
from reslab.run import checkpoint
from reslab.system import distributed, fsdp
from reslab.system.parallel import FSDP
from reslab.training.load import load
from reslab.training.loop import train
from reslab.training.step import make_state

pytestmark = NEED_GLOO


def test_a_model_cut_over_two_ranks_learns_as_on_one(train_config, tmp_path, pair):
    parts = {"batch_size": 4, "gradient_accumulation_steps": 2, "eval_sequences": 7, "dtype": "float64"}
    one = train_config(**parts, max_iters=6)
    two = replace(one, out_dir=str(tmp_path / "two"), shard="fsdp", activation_checkpointing=True)
    assert train(one) == 0
    assert pair(train, two) == [0, 0]
    near(one, two, within=1e-10)
    for kind in ("last", "best"):  # rank 0 gathers what other programs read
        model, other = (load(Path(config.out_dir) / "checkpoint" / kind)[0] for config in (one, two))
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-6


def test_a_cut_run_is_resumed_by_any_number_of_ranks(train_config, tmp_path, pair, alone):
    one_process = train_config(shard="fsdp", dtype="float64")
    assert pair(train, one_process) == [0, 0]
    parts = replace(one_process, out_dir=str(tmp_path / "parts"))
    assert pair(stopped, parts, 1, 4) == [128 + signal.SIGTERM] * 2
    assert stopped(replace(parts, resume=True), 0, 8) == 128 + signal.SIGTERM
    assert pair(train, replace(parts, resume=True)) == [0, 0]
    near(one_process, parts, within=1e-10)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_cut_run_goes_on_bitwise_with_as_many_ranks(train_config, tmp_path, pair, damaged):
    """Where one rank's part has a wrong bit, from the checkpoint before."""
    uninterrupted = train_config(shard="fsdp", dropout=0.2)
    assert pair(train, uninterrupted) == [0, 0]
    parts = replace(uninterrupted, out_dir=str(tmp_path / "parts"))
    assert pair(stopped, parts, 0, 7) == [128 + signal.SIGTERM] * 2
    last = Path(parts.out_dir) / "checkpoint" / "last"
    if damaged:
        part = sorted((last / "shards").glob("*.safetensors"))[-1]
        content = bytearray(part.read_bytes())
        content[-5] ^= 1
        part.write_bytes(content)
        assert checkpoint.damage(last).startswith(f"{part}: damaged")
    assert pair(train, replace(parts, resume=True)) == [0, 0]
    assert last.with_name("last.damaged").exists() == damaged
    assert rows(parts) == rows(uninterrupted)


def full(config, rank: int) -> int:
    """Train, and let one rank's disk be full at its second save."""
    real, saves = fsdp.HuggingFaceStorageWriter.write_data, []

    def write_data(*args):
        saves.append(1)
        if len(saves) == 2 and int(os.environ["RANK"]) == rank:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args)

    try:
        with mock.patch.object(fsdp.HuggingFaceStorageWriter, "write_data", write_data):
            return train(config)
    finally:  # these processes live on
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_of_one_rank_ends_all_and_leaves_the_checkpoint(train_config, pair, rank):
    config = train_config(shard="fsdp")
    for message in pair(full, config, rank):
        assert "can't be saved (No space left on device)" in str(message)
    last = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.damage(last) is None and not checkpoint.unfinished(last).exists()


def cut(config) -> dict:
    """Wiring -> why it can't be cut, or the share of the numbers that this rank holds."""
    offsets = {}
    with distributed.process_group(distributed.from_torchrun_env(), "cpu") as dist:
        for name in WIRINGS:
            shape = replace(config.model, residual=name, vocab_size=19)
            try:
                strategy = FSDP("cpu", dist)
                state = make_state(replace(config, model=shape), 19, strategy)
            except ValueError as error:
                offsets[name] = str(error)
                continue
            ids = torch.arange(32).view(2, 16) % 19
            state.model.eval()  # no draws of stochastic depth
            with strategy.full_model(state.model) as model:
                loss = state.model.loss(ids, ids)
                loss.backward()
                if dist.is_main:
                    assert torch.equal(model.loss(ids, ids), loss)
            held = sum(p.grad.to_local().numel() for p in state.model.parameters())
            offsets[name] = held / state.model.count_parameters()
    return offsets


def test_every_wiring_is_cut_or_refused(train_config, pair):
    one, other = pair(cut, train_config(shard="fsdp"))
    assert isinstance(one, dict), one
    for name, share in one.items():
        if name in ("rezero", "x0"):
            assert share.startswith("shard=fsdp: ") and other[name] == share
        else:
            assert share + other[name] == pytest.approx(1) and share < 0.52, name
