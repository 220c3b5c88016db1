"""One model on two processes: the same numbers as on one, and one voice."""
# ruff: noqa: F811  (fixtures are imported)

import contextlib
import gc
import io
import os
import signal
import subprocess
import sys
from dataclasses import replace
from unittest import mock

import pytest
import torch.distributed as dist
from conftest import ROOT, rows
from pair import NEED_GLOO, alone, near, overflowing, pair, stopped  # noqa: F401
from torch.nn.parallel import DistributedDataParallel

from reslab.run.fields import flat
from reslab.run.launch import LAUNCHER
from reslab.run.log import read_run
from reslab.system import distributed
from reslab.training.loop import train
from train import main

pytestmark = NEED_GLOO


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_two_ranks_are_one_process_with_the_doubled_batch(train_config, tmp_path, pair, accumulation):
    """Losses, gradient norms, evaluations and probes, by fp64 to its last digits."""
    one = train_config(
        batch_size=8 // accumulation, gradient_accumulation_steps=accumulation, dtype="float64"
    )
    two = replace(one, out_dir=str(tmp_path / "two"))
    if accumulation == 3:
        one, two = (replace(config, batch_size=2, eval_sequences=7) for config in (one, two))
    assert train(one) == 0
    assert pair(train, two) == [0, 0]
    near(one, two, within=1e-10)


def test_what_torchrun_starts_takes_the_strategy_of_many_ranks(train_config, tmp_path, alone):
    """Also where it starts one, so that DDP is tried wherever there is one GPU."""
    plain = train_config(dtype="float64", gradient_accumulation_steps=2)
    runs = [replace(plain, shard=shard, out_dir=str(tmp_path / shard)) for shard in ("none", "fsdp")]
    assert [train(config) for config in runs] == [0, 0]
    assert [read_run(config.out_dir).facts["strategy"] for config in runs] == ["DDP", "FSDP"]
    for name in LAUNCHER:
        del os.environ[name]
    assert train(plain) == 0 and read_run(plain.out_dir).facts["strategy"] == "Single"
    for config in runs:
        near(plain, config, within=1e-10)


def test_a_signal_on_any_rank_stops_all_and_the_run_goes_on_bitwise(train_config, tmp_path, pair):
    uninterrupted = train_config(dropout=0.2)
    assert pair(train, uninterrupted) == [0, 0]
    parts = replace(uninterrupted, out_dir=str(tmp_path / "parts"))
    codes = pair(stopped, parts, 1, 7)
    assert codes == [128 + signal.SIGTERM] * 2
    assert read_run(tmp_path / "parts").last("step") == 7
    assert pair(train, replace(parts, resume=True)) == [0, 0]
    assert rows(parts) == rows(uninterrupted)


def test_all_ranks_agree_on_a_divergence(train_config, pair):
    config = train_config(learning_rate=1e38, grad_clip=0.0, warmup_iters=0, schedule="constant")
    assert pair(train, config) == [3, 3]
    assert rows(config)[-1]["status"] == "diverged"


def ddp_alive_at_the_end(config) -> list[int]:
    """Train; how many DDP modules are left when the ranks are disconnected."""
    real, alive = dist.destroy_process_group, []

    def counted():
        alive.append(sum(type(thing) is DistributedDataParallel for thing in gc.get_objects()))
        real()

    with mock.patch.object(dist, "destroy_process_group", counted):
        assert train(config) == 0
    return alive


def test_ddp_is_gone_before_its_process_group(train_config, pair):
    """Otherwise the group's last reference is DDP's own, and a rank sometimes hangs at its end."""
    assert pair(ddp_alive_at_the_end, train_config(max_iters=2)) == [[0], [0]]


def heard(argv: list[str]) -> tuple[int, str]:
    """What main() returns and prints."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            code = main(argv)
        except ValueError as error:
            code = f"error: {error}"
    return code, output.getvalue()


def test_rank_0_alone_prints(train_config, tmp_path, pair):
    """What is printed, and each fault, is heard once: from the rank where it is, by way of the first."""
    config = train_config(max_iters=2)
    argv = [f"--{key}={value}" for key, value in flat(config).items()]
    (code, output), (other_code, other_output) = pair(heard, argv)
    assert code == other_code == 0 and "val" in output and other_output == ""
    (fault, _), silent = pair(heard, argv)
    assert "a run is there" in fault and silent == (2, "")
    (fault, _), silent = pair(heard, ["--n_layers=3"])
    assert "--n_layers=3: no such setting" in fault and silent == (2, "")
    (fault, _), silent = pair(heard, [*argv, "--batch_size=3"])
    assert "batch_size=3: 2 ranks can't take equal parts" in fault and silent == (2, "")


def fault_on_rank_1() -> None:
    with distributed.process_group(distributed.from_torchrun_env(), "cpu") as dist:
        dist.raise_together(lambda: int("x" * dist.rank or "1"))


def test_a_fault_on_another_rank_is_told_by_the_first(pair):
    first, other = pair(fault_on_rank_1)
    assert str(first).startswith("rank 1: invalid literal") and type(first) is ValueError
    assert isinstance(other, distributed.ReportedByRank0)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_agreed_on(train_config, tmp_path, pair, dtype):
    """In float16 the first batch is tried again and again until all ranks have shrunk their scale."""
    one = train_config(dtype=dtype, max_iters=3, probes=False)
    assert overflowing(one) == 0
    for kind in ("none", "fsdp"):
        two = replace(one, out_dir=str(tmp_path / kind), shard=kind)
        assert pair(overflowing, two) == [0, 0]
        near(one, two, within=0.02)


DYING = """
import os, signal, sys
sys.path.insert(0, {root!r})
from reslab.run.config import run_door
from functools import partial
from reslab.training import loop
from reslab.training.step import train_step
from train import main

def dying(state, *rest):
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], state.step) == ("1", "0", 8):
        os.kill(os.getpid(), signal.SIGKILL)
    return train_step(state, *rest)

loop.train = partial(loop.train, step=dying)
run_door(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's restarts are tested on Linux")
def test_torchrun_starts_a_run_again_whose_rank_was_killed(train_config, tmp_path, pair):
    uninterrupted = train_config(dropout=0.2)
    assert pair(train, uninterrupted) == [0, 0]
    parts = replace(uninterrupted, out_dir=str(tmp_path / "parts"))
    (tmp_path / "dying.py").write_text(DYING.format(root=str(ROOT)), encoding="utf-8")
    argv = [f"--{key}={value}" for key, value in flat(parts).items() if value != ""]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["--max_restarts=1", "--monitor_interval=0.1", str(tmp_path / "dying.py"), *argv]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert rows(parts) == rows(uninterrupted)
