"""One model on two processes: the same numbers as on one, and one voice."""

import contextlib
import errno
import io
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest import mock

import pytest
import torch
from conftest import ROOT, rows

import train as door
from reslab import checkpoint, device, distributed, shard
from reslab.configure import flat
from reslab.residual import WIRINGS
from reslab.runlog import read_run
from sample import load
from train import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
        reason="this build of torch has no gloo, which connects CPUs",
    ),
]


def _serve(rank: int, pipe) -> None:
    """A rank that waits for jobs, so that torch is imported once for all tests."""
    torch.set_num_threads(1)
    while job := pipe.recv():
        function, arguments, environment = job
        os.environ.update(environment, RANK=str(rank), LOCAL_RANK=str(rank))
        torch.manual_seed(0)
        try:
            pipe.send((function(*arguments), None))
        except Exception as error:
            pipe.send((None, error))


@pytest.fixture(scope="module")
def pair():
    """Runs a function on two ranks; gives back what each returned, or the error that it raised."""
    context = multiprocessing.get_context("spawn")
    ends = [context.Pipe() for _ in range(2)]
    ranks = [context.Process(target=_serve, args=(rank, ends[rank][1]), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()

    def both(function, *arguments, **environment) -> list:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for mine, _ in ends:
            mine.send((function, arguments, environment))
        for mine, _ in ends:
            assert mine.poll(300), "a rank hangs"
        return [answer if error is None else error for answer, error in (mine.recv() for mine, _ in ends)]

    yield both
    for process in ranks:
        process.kill()


def near(one, other, within=1e-6) -> None:
    """Two runs have the same rows, the numbers of which differ by less than `within`."""
    for a, b in zip(rows(one), rows(other), strict=True):
        assert set(a) == set(b)
        for key, value in a.items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=within, abs=within)
            assert b[key] == same, (a["step"], key)


@pytest.mark.parametrize("accumulation", [1, 2, 3])
def test_two_ranks_are_one_process_with_the_doubled_batch(train_config, tmp_path, pair, accumulation):
    """Losses, gradient norms, evaluations and probes, by fp64 to its last digits."""
    one = train_config(
        batch_size=8 // accumulation, gradient_accumulation_steps=accumulation, dtype="float64"
    )
    two = replace(one, out_dir=str(tmp_path / "two"))
    if accumulation == 3:
        one, two = (replace(config, batch_size=2, eval_windows=7) for config in (one, two))
    assert train(one) == 0
    assert pair(train, two) == [0, 0]
    near(one, two, within=1e-10)


def stopped(config, rank: int, step: int) -> int:
    """Train, and let one rank get a SIGTERM in the middle of an update."""
    real = door.train_step

    def signalled(state, *rest):
        if (state.ranks.rank, state.step) == (rank, step):
            os.kill(os.getpid(), signal.SIGTERM)
        return real(state, *rest)

    with mock.patch.object(door, "train_step", signalled):
        return train(config)


def test_a_signal_on_any_rank_stops_all_and_the_run_goes_on_bitwise(train_config, tmp_path, pair):
    whole = train_config(dropout=0.2)
    assert pair(train, whole) == [0, 0]
    parts = replace(whole, out_dir=str(tmp_path / "parts"))
    codes = pair(stopped, parts, 1, 7)
    assert codes == [128 + signal.SIGTERM] * 2
    assert read_run(tmp_path / "parts").last("step") == 7
    assert pair(train, replace(parts, resume=True)) == [0, 0]
    assert rows(parts) == rows(whole)


def dropped() -> torch.Tensor:
    torch.manual_seed(device.step_seed(1, 5, distributed.launched().rank))
    return torch.rand(4)


def test_dropout_is_a_function_of_seed_step_and_rank(pair):
    one, other = pair(dropped)
    assert torch.equal(dropped(), one) and not torch.equal(one, other)


def test_all_ranks_agree_on_a_divergence(train_config, pair):
    config = train_config(learning_rate=1e38, grad_clip=0.0, warmup_iters=0, schedule="constant")
    assert pair(train, config) == [3, 3]
    assert rows(config)[-1]["status"] == "diverged"


def heard(words: list[str]) -> tuple[int, str]:
    """What main() returns and prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = door.main(words)
        except ValueError as error:
            code = f"error: {error}"
    return code, said.getvalue()


def test_one_rank_speaks(train_config, tmp_path, pair):
    """What is printed, and each fault, is heard once: from the rank where it is, by way of the first."""
    config = train_config(max_iters=2)
    words = [f"--{key}={value}" for key, value in flat(config).items()]
    (code, said), (other_code, other_said) = pair(heard, words)
    assert code == other_code == 0 and "val" in said and other_said == ""
    (fault, _), silent = pair(heard, words)
    assert "a run is there" in fault and silent == (2, "")
    (fault, _), silent = pair(heard, ["--n_layers=3"])
    assert "--n_layers=3: no such setting" in fault and silent == (2, "")
    (fault, _), silent = pair(heard, [*words, "--batch_size=3"])
    assert "batch_size=3: 2 ranks can't take equal parts" in fault and silent == (2, "")


def fault_on_rank_1() -> None:
    with distributed.joined(distributed.launched(), "cpu") as ranks:
        ranks.together(lambda: int("x" * ranks.rank or "1"))


def test_a_fault_on_another_rank_is_told_by_the_first(pair):
    first, other = pair(fault_on_rank_1)
    assert str(first).startswith("rank 1: invalid literal") and type(first) is ValueError
    assert isinstance(other, distributed.ToldElsewhere)


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "world", "expected"),
    [(12, 1, 1, (12, 1)), (12, 40, 8, (12, 5)), (12, 2, 8, (3, 1)), (8, 3, 2, (4, 3)), (1, 6, 4, None)],
)
def test_ranks_take_equal_parts_of_an_update(batch_size, accumulation, world, expected):
    if expected is None:
        with pytest.raises(ValueError, match="4 ranks can't take equal parts"):
            distributed.share(batch_size, accumulation, world)
        return
    size, times = distributed.share(batch_size, accumulation, world)
    assert (size, times) == expected and size * times * world == batch_size * accumulation


def test_a_model_cut_over_two_ranks_learns_as_on_one(train_config, tmp_path, pair):
    parts = {"batch_size": 4, "gradient_accumulation_steps": 2, "eval_windows": 7, "dtype": "float64"}
    one = train_config(**parts, max_iters=6)
    two = replace(one, out_dir=str(tmp_path / "two"), shard="fsdp", activation_checkpointing=True)
    assert train(one) == 0
    assert pair(train, two) == [0, 0]
    near(one, two, within=1e-10)
    for kind in ("last", "best"):  # rank 0 gathers what other programs read
        model, other = (load(Path(config.out_dir) / "checkpoint" / kind)[0] for config in (one, two))
        for a, b in zip(model.parameters(), other.parameters(), strict=True):
            assert (a - b).abs().max() < 1e-6


def overflowing(config) -> int:
    """Train, with a scale of float16's gradients that is far too large at the start."""
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**30)
    with mock.patch.object(torch.amp, "GradScaler", scaler):
        return train(config)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_agreed_on(train_config, tmp_path, pair, dtype):
    """In float16 the first batch is tried again and again until all ranks have shrunk their scale."""
    one = train_config(dtype=dtype, max_iters=3, probes=False)
    assert overflowing(one) == 0
    for kind in ("none", "fsdp"):
        two = replace(one, out_dir=str(tmp_path / kind), shard=kind)
        assert pair(overflowing, two) == [0, 0]
        near(one, two, within=0.02)


@pytest.fixture
def alone(monkeypatch):
    """As torchrun --nproc_per_node=1 starts a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (settings | {"MASTER_PORT": str(free.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)


def test_a_cut_run_is_resumed_by_any_number_of_ranks(train_config, tmp_path, pair, alone):
    whole = train_config(shard="fsdp", dtype="float64")
    assert pair(train, whole) == [0, 0]
    parts = replace(whole, out_dir=str(tmp_path / "parts"))
    assert pair(stopped, parts, 1, 4) == [128 + signal.SIGTERM] * 2
    assert stopped(replace(parts, resume=True), 0, 8) == 128 + signal.SIGTERM
    assert pair(train, replace(parts, resume=True)) == [0, 0]
    near(whole, parts, within=1e-10)


@pytest.mark.parametrize("damaged", [False, True])
def test_a_cut_run_goes_on_bitwise_with_as_many_ranks(train_config, tmp_path, pair, damaged):
    """Where one rank's part has a wrong bit, from the checkpoint before."""
    whole = train_config(shard="fsdp", dropout=0.2)
    assert pair(train, whole) == [0, 0]
    parts = replace(whole, out_dir=str(tmp_path / "parts"))
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
    assert rows(parts) == rows(whole)


def full(config, rank: int) -> int:
    """Train, and let one rank's disk be full at its second save."""
    real, saves = shard.HuggingFaceStorageWriter.write_data, []

    def write_data(*words):
        saves.append(1)
        if len(saves) == 2 and int(os.environ["RANK"]) == rank:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*words)

    try:
        with mock.patch.object(shard.HuggingFaceStorageWriter, "write_data", write_data):
            return train(config)
    finally:  # these processes live on
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("rank", [0, 1])
def test_a_full_disk_of_one_rank_ends_all_and_leaves_the_checkpoint(train_config, pair, rank):
    config = train_config(shard="fsdp")
    for said in pair(full, config, rank):
        assert "can't be saved (No space left on device)" in str(said)
    last = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.damage(last) is None and not checkpoint.unfinished(last).exists()


def cut(config) -> dict:
    """Wiring -> why it can't be cut, or the share of the numbers that this rank holds."""
    found = {}
    with distributed.joined(distributed.launched(), "cpu") as ranks:
        for name in WIRINGS:
            shape = replace(config.model, residual=name, vocab_size=19)
            try:
                state = door.make_state(replace(config, model=shape), 19, "cpu", ranks)
            except ValueError as error:
                found[name] = str(error)
                continue
            ids = torch.arange(32).view(2, 16) % 19
            with state.whole() as model:
                loss = state.model(ids, ids)[1]
                loss.backward()
                if ranks.first:
                    assert torch.equal(model(ids, ids)[1], loss)
            held = sum(p.grad.to_local().numel() for p in state.model.parameters())
            found[name] = held / state.model.count_parameters()
    return found


def test_every_wiring_is_cut_or_refused(train_config, pair):
    one, other = pair(cut, train_config(shard="fsdp"))
    assert isinstance(one, dict), one
    for name, share in one.items():
        if name in ("rezero", "x0", "attention_residual"):
            assert share.startswith("shard=fsdp: this wiring") and other[name] == share
        else:
            assert share + other[name] == pytest.approx(1) and share < 0.52, name


def test_what_cant_be_cut_is_refused(train_config):
    with pytest.raises(ValueError, match="shard=fsdp: start it with torchrun"):
        train(train_config(shard="fsdp"))
    assert "muon needs whole matrices" in train_config(shard="fsdp", optimizer="muon").faults()[0]


DYING = """
import os, signal, sys
sys.path.insert(0, {root!r})
import train as door

real = door.train_step

def dying(state, *rest):
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], state.step) == ("1", "0", 8):
        os.kill(os.getpid(), signal.SIGKILL)
    return real(state, *rest)

door.train_step = dying
door.configure.run_door(door.main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun's restarts are tested on Linux")
def test_torchrun_starts_a_run_again_whose_rank_was_killed(train_config, tmp_path, pair):
    whole = train_config(dropout=0.2)
    assert pair(train, whole) == [0, 0]
    parts = replace(whole, out_dir=str(tmp_path / "parts"))
    (tmp_path / "dying.py").write_text(DYING.format(root=str(ROOT)), encoding="utf-8")
    words = [f"--{key}={value}" for key, value in flat(parts).items() if value != ""]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command += ["--max_restarts=1", "--monitor_interval=0.1", str(tmp_path / "dying.py"), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert rows(parts) == rows(whole)
