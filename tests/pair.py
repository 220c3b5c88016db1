"""Two ranks on this machine, and what the tests of many ranks share."""

import multiprocessing
import os
import signal
import socket
from functools import partial
from unittest import mock

import pytest
import torch
from conftest import rows

from reslab.training.loop import train
from reslab.training.step import train_step

NEED_GLOO = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
        reason="this build of torch has no gloo, which connects CPUs",
    ),
]


def serve(rank: int, pipe) -> None:
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
    ranks = [context.Process(target=serve, args=(rank, ends[rank][1]), daemon=True) for rank in range(2)]
    for process in ranks:
        process.start()

    def both(function, *arguments, **environment) -> list:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment |= {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        for end, _ in ends:
            end.send((function, arguments, environment))
        for end, _ in ends:
            assert end.poll(300), "a rank hangs"
        return [answer if error is None else error for answer, error in (end.recv() for end, _ in ends)]

    yield both
    for process in ranks:
        process.kill()


@pytest.fixture
def alone(monkeypatch):
    """As torchrun --nproc_per_node=1 starts a process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        settings = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
        for name, value in (settings | {"MASTER_PORT": str(free.getsockname()[1])}).items():
            monkeypatch.setenv(name, value)


def near(one, other, within=1e-6) -> None:
    """Two runs have the same rows, the numbers of which differ by less than `within`."""
    for a, b in zip(rows(one), rows(other), strict=True):
        assert set(a) == set(b)
        for key, value in a.items():
            same = value if isinstance(value, str) else pytest.approx(value, rel=within, abs=within)
            assert b[key] == same, (a["step"], key)


def stopped(config, rank: int, step: int) -> int:
    """Train, and let one rank get a SIGTERM in the middle of an update."""

    def signalled(state, *rest):
        if (int(os.environ["RANK"]), state.step) == (rank, step):
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(state, *rest)

    return train(config, signalled)


def overflowing(config) -> int:
    """Train, with a scale of float16's gradients that is far too large at the start."""
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**30)
    with mock.patch.object(torch.amp, "GradScaler", scaler):
        return train(config)
