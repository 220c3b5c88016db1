"""Arithmetic counted and timed: FLOPs, peaks, and where the time of an update goes."""

import json
from pathlib import Path

import pytest
import torch
from conftest import tiny_config
from torch.utils.flop_counter import FlopCounterMode

from reslab.model import GPT
from reslab.run.log import read_run
from reslab.system import flops
from reslab.training.loop import train
from reslab.training.throughput import percent


def test_flops_are_those_that_torch_counts():
    model = GPT(tiny_config(n_embd=32, block_size=16, bias=False))
    ids = torch.randint(19, (2, 16))
    with FlopCounterMode(display=False) as counter:
        model.loss(ids, ids).backward()
    attention = 12 * 3 * 32 * 16  # torch does not count its attention kernel on a CPU
    assert counter.get_total_flops() / ids.numel() + attention == flops.flops_per_token(model.config)


def test_an_unknown_device_has_no_number():
    assert flops.utilization(10**9, 1000, "Potato 9000") is None and percent(None) == "n/a"
    assert flops.peak("NVIDIA GeForce RTX 4090 Laptop GPU") is None
    assert flops.peak("NVIDIA H100 80GB HBM3 MIG 1g.10gb") is None
    assert flops.utilization(10**9, 494_500, "NVIDIA H200") == 0.5 and percent(0.5) == "50.0%"


@pytest.mark.slow
def test_a_profile_names_every_kind_and_changes_no_loss(train_config, tmp_path, capsys):
    plain, traced = train_config(), train_config(profile=True, out_dir=str(tmp_path / "b"))
    train(plain)
    capsys.readouterr()
    train(traced)
    table = {
        line[:26].strip(): line[26:].split() for line in capsys.readouterr().out.splitlines() if "%" in line
    }
    assert list(table) == ["attention", "MLP", "norm", "embedding", "head and loss", "optimizer", "rest"]
    for kind in ("attention", "MLP", "norm", "embedding", "head and loss"):
        assert float(table[kind][0]) > 0 and float(table[kind][1]) > 0, kind
    assert float(table["optimizer"][0]) > 0
    assert sum(float(row[2][:-1]) for row in table.values()) == pytest.approx(100, abs=0.5)
    assert json.loads((tmp_path / "b" / "trace.json").read_text(encoding="utf-8"))["traceEvents"]
    losses = [
        [row.get("batch/loss", row.get("val/loss")) for row in read_run(Path(config.out_dir)).rows]
        for config in (plain, traced)
    ]
    assert losses[0] == losses[1]


def test_every_rank_is_measured_against_its_own_peak(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    model = GPT(tiny_config())
    work = flops.flops_per_token(model.config)
    most = 989e12 / work  # tokens per second at the peak
    assert flops.meter(model, "cuda:0", ranks=4)(most) == 0.25
    assert flops.meter(model, "cuda", ranks=1)(most / 2) == 0.5
    assert flops.meter(model, "cpu") is None
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Potato 9000")
    assert flops.meter(model, "cuda")(most) is None
