"""What the tests share: a tiny model, a small dataset of real text, and a way to run the doors."""

import argparse
import inspect
import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

# One thread: sums are the same on every machine, and tiny matrices run faster.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from page_driver import resize, unfold
from runs_by_hand import write_run

from reslab.data.corpus import write_dataset
from reslab.model import GPT
from reslab.run.fields import from_flat
from reslab.run.log import read_run
from reslab.run.settings import GPTConfig, TrainConfig
from reslab.system import machine
from reslab.system.parallel import SINGLE, Single
from reslab.training.step import next_batch, train_step

# Under nohup, or behind a shell's &, these are ignored, and so in every program that a test starts.
for name in ("SIGHUP", "SIGQUIT"):
    if hasattr(signal, name):  # Windows has neither
        signal.signal(getattr(signal, name), signal.SIG_DFL)

ROOT = Path(__file__).resolve().parents[1]

# What is fastest is measured at the first run on a machine; here it is the same on all: our own ways.
CACHE = tempfile.TemporaryDirectory()
os.environ["RESLAB_CACHE"] = CACHE.name
OURS = machine.Fastest({what: dict.fromkeys(sizes, 0.5) for what, sizes in machine.SIZES.items()})
machine.keep(machine.place(), OURS)


def tiny_config(**changes) -> GPTConfig:
    settings = {"block_size": 8, "vocab_size": 19, "n_layer": 3, "n_head": 2, "n_embd": 16}
    return GPTConfig(**settings | changes)


def tiny_model(seed: int = 0, **changes) -> GPT:
    """A tiny GPT in fp64 whose weights are far from zero, so that no branch is silent."""
    model = GPT(tiny_config(**changes), seed).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(parameter + 0.3 * noise)
    return model.eval()


@pytest.fixture
def make_run(tmp_path):
    """Writes a run by hand and reads it; its losses and settings are those that are given."""
    return lambda name="run", **settings: read_run(write_run(tmp_path, name, **settings))


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory) -> Path:
    """150 thousand characters of a Python module, as a char dataset."""
    folder = tmp_path_factory.mktemp("dataset")
    text = inspect.getsource(argparse) + inspect.getsource(inspect)
    write_dataset(folder, lambda: [text], "char", "argparse and inspect", quiet=True)
    return folder


@pytest.fixture
def train_config(dataset_folder, tmp_path):
    """Makes the config of a run of seconds."""

    def make(**changes) -> TrainConfig:
        settings = {
            "block_size": 16,
            "n_layer": 2,
            "n_head": 2,
            "n_embd": 16,
            "dataset": str(dataset_folder),
            "out_dir": str(tmp_path / "run"),
            "batch_size": 4,
            "max_iters": 12,
            "warmup_iters": 2,
            "eval_interval": 5,
            "eval_sequences": 8,
            "log_interval": 1,
            "sample_tokens": 0,
            "device": "cpu",
        }
        settings |= changes
        return from_flat(TrainConfig, settings)

    return make


def update(state, config, dataset, strategy: Single = SINGLE) -> dict:
    """One update on the batch of the state's step; returns its metrics."""
    return train_step(state, next_batch(dataset, config, state.step, strategy), config, strategy)


def power_cut_at(step: int):
    """A train_step that fails at a step, for train()."""

    def failing(state, *rest):
        if state.step == step:
            raise RuntimeError("power cut")
        return train_step(state, *rest)

    return failing


def rows(config) -> list[dict]:
    """A run's rows without the clock."""
    clock = ("elapsed_s", "tokens_per_s")
    result = read_run(Path(config.out_dir)).rows
    return [{key: value for key, value in row.items() if key not in clock} for row in result]


@pytest.fixture(autouse=True)
def same_draws():
    """Each test starts from the same random state."""
    torch.manual_seed(0)


def run_python(*args, cwd: Path = ROOT, code: int = 0, **options) -> subprocess.CompletedProcess:
    """Run a script; its exit code must be `code` and it must not die with a traceback."""
    command = [sys.executable, *map(str, args)]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, encoding="utf-8", **options)
    assert done.returncode == code, f"{command} gave {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def chrome():
    from reslab.report.pictures import browser

    with browser(1280, 1000) as driver:
        driver.execute_cdp_cmd("Network.enable", {})
        yield driver


@pytest.fixture
def page(chrome, tmp_path):
    """Opens the page of some runs at a width; afterwards nothing may have been fetched or complained of."""

    from reslab.report.facts import load
    from reslab.report.html import write_page
    from reslab.report.pictures import open_page

    def show(*folders, width=1280, query="", folded=False):
        write_page(tmp_path / "page.html", [load(folder) for folder in folders], "A title")
        resize(chrome, width)
        open_page(chrome, (tmp_path / "page.html").as_uri() + query)
        if not folded:
            unfold(chrome)
        return chrome

    yield show
    loaded = chrome.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
    assert not [name for name in loaded if re.match(r"(https?|wss?|ftp):", name)]
    assert chrome.get_log("browser") == []


def pytest_collection_modifyitems(items):
    """The README's commands take longest, one after the other: they begin first, beside everything else."""
    items.sort(key=lambda item: item.path.name != "test_readme.py")
