"""How train.py ends: the exit code that its first lines promise, and one line for a person."""

import io
import os
import re
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import rows

import train as door
from reslab.instruments import probes
from reslab.model import GPT
from reslab.nn import generate
from reslab.run import checkpoint
from reslab.run import config as configure
from reslab.run.config import MachineError
from reslab.run.fields import flat
from reslab.training import loop, optimizer
from reslab.training.step import train_step


@pytest.fixture
def ends(train_config, monkeypatch, capsys):
    """Runs the door with a config, and something that happens at an update; the code and stderr."""

    def run(at_step=lambda step: None, **changes) -> tuple[int, str]:
        def watched(state, *rest):
            at_step(state.step)
            return train_step(state, *rest)

        argv = [f"--{k}={v}" for k, v in flat(train_config(**changes)).items() if v != ""]
        monkeypatch.setattr(sys, "argv", ["train.py", *argv])
        with monkeypatch.context() as patched, pytest.raises(SystemExit) as end:
            patched.setattr(loop, "train", partial(loop.train, step=watched))
            configure.run_door(door.main)
        return end.value.code, capsys.readouterr().err

    return run


def at(step: int, job):
    return lambda now: job() if now == step else None


def fails(error):
    def job():
        raise error

    return job


def test_a_finished_run_ends_with_0_and_so_does_asking_for_more(ends):
    assert ends() == (0, "")
    assert ends(resume=True) == (0, "")


def test_a_diverged_run_ends_with_3_each_time_it_is_tried(ends):
    explosive = {"learning_rate": 1e38, "grad_clip": 0.0, "warmup_iters": 0, "schedule": "constant"}
    assert ends(**explosive) == (3, "")
    assert ends(**explosive, resume=True) == (3, "")
    assert ends(**explosive | {"learning_rate": 1e-3}, resume=True) == (0, "")  # a smaller rate is a way out


@pytest.mark.parametrize(
    "name",
    ["SIGINT", "SIGTERM", "SIGUSR1", "SIGUSR2", "SIGHUP", "SIGQUIT", "SIGXCPU", "SIGALRM", "SIGVTALRM"],
)
def test_a_stop_ends_with_128_and_the_signal(ends, train_config, name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    assert ends(at(3, lambda: os.kill(os.getpid(), number))) == (128 + number, "")
    assert signal.getsignal(number) == before and saved_step(train_config) == 4
    assert ends(resume=True) == (0, "")


def saved_step(train_config) -> int:
    return checkpoint.load_state(Path(train_config().out_dir) / "checkpoint" / "last")["step"]


# What happens between two updates, and what is done there again and again.
MEASURING = {
    "evaluation": (GPT, "token_losses", [1, 6, 8]),
    "sample": (generate, "sample_next_token", [1, 9]),
    "probe": (probes, "snapshot", [1, 12]),
    "save": (checkpoint, "save", [2]),
}


@pytest.mark.parametrize(
    ("where", "call"), [(where, call) for where, (*_, calls) in MEASURING.items() for call in calls]
)
def test_a_stop_is_heard_while_a_run_is_measured(ends, train_config, tmp_path, monkeypatch, where, call):
    config = {"max_iters": 4, "eval_interval": 2, "sample_tokens": 8, "dropout": 0.1}
    assert ends(**config, out_dir=str(tmp_path / "whole")) == (0, "")
    holder, name, _ = MEASURING[where]
    calls, real = [], getattr(holder, name)

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == call:
            signal.raise_signal(signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(holder, name, interrupted)
    assert ends(**config) == (143, "") and len(calls) == call
    monkeypatch.setattr(holder, name, real)
    assert ends(**config, resume=True) == (0, "")
    whole, resumed = (train_config(out_dir=str(tmp_path / folder)) for folder in ("whole", "run"))
    assert rows(resumed) == rows(whole)
    for kind in ("last", "best"):
        file = f"checkpoint/{kind}/model.safetensors"
        assert (tmp_path / "whole" / file).read_bytes() == (tmp_path / "run" / file).read_bytes()


def test_a_hang_up_that_is_ignored_as_under_nohup_stops_nothing(ends):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert ends(at(3, lambda: os.kill(os.getpid(), signal.SIGHUP))) == (0, "")
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    "error", [ValueError("train.bin: changed while a run reads it"), OSError(5, "Input/output error")]
)
def test_what_goes_wrong_between_updates_is_told_when_the_state_is_saved(ends, train_config, error):
    code, told = ends(at(3, fails(error)), eval_interval=5)
    assert (code, told) == (2, f"error: {error}\n") and saved_step(train_config) == 3
    assert ends(resume=True) == (0, "")


def test_an_update_that_breaks_off_is_not_saved(ends, train_config, monkeypatch):
    step = optimizer.AdamW.step

    def torn(self, *rest):
        step(self, *rest)
        if self.state and next(iter(self.state.values()))["step"] >= 4:
            raise RuntimeError("an update broke off")

    monkeypatch.setattr(optimizer.AdamW, "step", torn)
    with pytest.raises(RuntimeError, match="broke off"):
        ends(eval_interval=2)
    assert saved_step(train_config) == 2


class Full(io.StringIO):
    """stdout on a full disk."""

    def write(self, text):
        raise OSError(28, "No space left on device")

    def flush(self):
        raise OSError(28, "No space left on device")


def test_a_print_that_fails_ends_no_run(ends, train_config, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Full())
    code, told = ends()
    assert code == 0 and told.count("stdout can't be written") == 1
    assert saved_step(train_config) == train_config().optim.max_iters


def test_a_second_ctrl_c_ends_at_once_with_130(ends, train_config):
    def twice():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    code, message = ends(at(3, twice))
    assert (code, message) == (130, "stopped\n")
    assert not [row for row in rows(train_config()) if row.get("batch/loss") and row["step"] >= 3]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MachineError("run: can't be saved (No space left on device)"), "can't be saved"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB."), "out of memory"),
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
            "out of memory",
        ),
        (MemoryError(), "out of memory"),
    ],
)
def test_what_the_machine_lacks_ends_with_1_and_one_line(ends, error, message):
    code, told = ends(at(3, fails(error)))
    assert code == 1 and message in told and told.startswith("error: ") and told.count("\n") == 1


def test_a_full_disk_ends_with_1_whoever_finds_it(ends, monkeypatch):
    """The log, and a checkpoint."""
    from reslab.run import checkpoint

    def full(*args, **more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "save_file", full)
    code, told = ends()
    assert code == 1 and "can't be saved (No space left on device)" in told and told.count("\n") == 1


def test_what_can_not_be_done_ends_with_2_and_a_line_for_each_fault(ends):
    code, told = ends(batch_size=0, dataset="nowhere")
    assert code == 2 and told.startswith("error: --batch_size=0: must be at least 1\n")
    code, told = ends(dataset="nowhere", device="mps:9")
    assert code == 2
    assert [line.split("=")[0] for line in told.splitlines()] == ["error: device", "error: dataset"]
    assert ends()[0] == 0
    code, told = ends()
    assert code == 2 and "a run is there; choose one of --resume" in told and told.count("\n") == 1
    code, told = ends(at(0, fails(ValueError("train.bin: changed while a run reads it"))), overwrite=True)
    assert (code, told) == (2, "error: train.bin: changed while a run reads it\n")


@pytest.mark.parametrize(
    "key",
    [
        "batch_size",
        "gradient_accumulation_steps",
        "eval_interval",
        "eval_sequences",
        "log_interval",
        "probe_sequences",
    ],
)
def test_counts_start_at_1(train_config, key):
    assert train_config(**{key: 1}).faults() == []
    for value in (0, -1):
        assert f"{key}={value}: must be at least 1" in train_config(**{key: value}).faults()


def test_the_bounds_of_a_run(train_config):
    assert train_config(sample_tokens=0, seed=0).faults() == []
    assert train_config(seed=2**63 - 1).faults() == []
    wrong = [("sample_tokens", -1), ("seed", -1), ("seed", 2**63), ("dtype", "int8"), ("compile", "yes")]
    wrong += [("grow_at", "top"), ("shard", "ddp"), ("device", "gpu"), ("log", "excel")]
    for key, value in wrong:
        (fault,) = train_config(**{key: value}).faults()
        assert re.match(rf"{key}={value}: ", fault) or key == "log"
