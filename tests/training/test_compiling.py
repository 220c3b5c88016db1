"""What compiling gains is measured before a run that is long enough, and then known."""

import pytest
import torch

from reslab.run.fields import from_flat
from reslab.run.log import read_run
from reslab.run.settings import TrainConfig
from reslab.system import device, machine
from reslab.training import compiling, rundir
from reslab.training.loop import train

KNOWN = {what: dict.fromkeys(sizes, 1.0) for what, sizes in machine.SIZES.items()}


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """A machine of which nothing is known; the widths that were measured since."""
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    machine.fastest.cache_clear()
    monkeypatch.setattr(machine, "measure", lambda: KNOWN)
    widths = []
    monkeypatch.setattr(compiling, "ratio", lambda width: widths.append(width) or 0.5)
    yield widths
    machine.fastest.cache_clear()


def run_of(hours: float, **changes) -> TrainConfig:
    """A config whose updates are so many hours of work for two cores."""
    shape = {"dataset": "stdlib", "n_layer": 6, "n_embd": 384, "n_head": 6, "block_size": 256}
    return from_flat(TrainConfig, shape | {"batch_size": 16, "max_iters": int(8000 * hours)} | changes)


def test_the_first_long_run_measures_and_later_ones_know(measured, capsys):
    assert not rundir.compiles(run_of(0.1), "cpu") and not measured  # short
    assert not rundir.compiles(run_of(10, n_embd=64, n_head=2, n_layer=48), "cpu") and not measured  # narrow
    assert rundir.compiles(run_of(1), "cpu") and measured == list(machine.WIDTHS)
    told = " ".join(capsys.readouterr().err.split())
    assert "measuring what compiling gains on this CPU: half a minute, once" in told
    assert "n_embd 384 take 0.5 of the time" in told and "compiling, as it was measured to be faster" in told
    for config in (run_of(0.1), run_of(2), run_of(0.1, n_embd=128, n_head=2)):
        assert rundir.compiles(config, "cpu")
    assert len(measured) == len(machine.WIDTHS)


@pytest.mark.parametrize("changes", [{"compile": "False"}, {"compile": "True"}])
def test_who_has_chosen_waits_for_no_measurement(measured, changes):
    assert rundir.compiles(run_of(1, **changes), "cpu") == (changes["compile"] == "True")
    assert rundir.compiles(run_of(1), "cuda") and not measured


def test_a_resumed_run_measures_nothing(measured, train_config, monkeypatch):
    assert train(train_config(max_iters=1, warmup_iters=0)) == 0
    monkeypatch.setattr(compiling, "LONG", 0)
    monkeypatch.setattr(compiling, "WIDTHS", (8,))
    assert train(train_config(max_iters=2, warmup_iters=0, resume=True)) == 0 and not measured
    assert train(train_config(max_iters=2, warmup_iters=0, overwrite=True)) == 0 and measured
    assert read_run(train_config().out_dir).facts["compile"] is False  # 16 wide, whatever was measured


def test_compiled_and_eager_steps_are_timed_and_the_run_is_left_as_it_was(monkeypatch):
    compiled, seed, threads = [], torch.initial_seed(), torch.get_num_threads()
    monkeypatch.setattr(device, "compile_model", lambda model, *how: compiled.append((model, *how)))
    monkeypatch.setattr(compiling, "faster", lambda way, usual: (way(), usual(), 0.25)[2])
    state = torch.get_rng_state()
    assert compiling.ratio(128) == 0.25
    (model, setting, place), *others = compiled
    assert not others and (setting, place, model.config.n_embd) == ("True", "cpu", 128)
    assert torch.equal(torch.get_rng_state(), state) and torch.initial_seed() == seed
    assert torch.get_num_threads() == threads
