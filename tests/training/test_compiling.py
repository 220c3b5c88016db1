"""What compiling gains is measured before a run that is long enough, and then known."""

import pytest
import torch

from reslab.model import Block
from reslab.run.fields import from_flat
from reslab.run.settings import TrainConfig
from reslab.system import device, machine
from reslab.training import compiling, rundir

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


def compiles(config: TrainConfig, place: str = "cpu", vocab_size: int = 96) -> bool:
    return rundir.compiles(config, place, vocab_size)


def test_the_first_long_run_measures_and_later_ones_know(measured, capsys):
    assert not compiles(run_of(0.1)) and not measured  # short
    assert not compiles(run_of(10, n_embd=64, n_head=2, n_layer=48)) and not measured  # narrow
    assert compiles(run_of(0.1), vocab_size=50_304) and measured == list(
        machine.WIDTHS
    )  # the head is work too
    told = " ".join(capsys.readouterr().err.split())
    assert "measuring what compiling gains on this CPU: half a minute, once" in told
    assert "0.50 at n_embd 384 of the time" in told and "compiling, as it was measured to be faster" in told
    assert compiles(run_of(2)) and compiles(run_of(8, n_embd=128, n_head=2))
    assert not compiles(run_of(0.1)) and len(measured) == len(machine.WIDTHS)  # a short one is over too soon


@pytest.mark.parametrize("changes", [{"compile": "False"}, {"compile": "True"}])
def test_who_has_chosen_waits_for_no_measurement(measured, changes):
    assert compiles(run_of(1, **changes)) == (changes["compile"] == "True")
    assert compiles(run_of(1), "cuda") and not measured


def test_compiled_and_eager_passes_are_timed_and_the_run_is_left_as_it_was(monkeypatch):
    compiled, threads, state = [], torch.get_num_threads(), torch.get_rng_state()
    monkeypatch.setattr(device, "compile_model", lambda model, *how: compiled.append((model, *how)) or True)
    monkeypatch.setattr(compiling, "faster", lambda way, usual: (way(), usual(), 0.25)[2])
    assert compiling.ratio(128) == 0.25
    ((model, setting, place),) = compiled
    assert (setting, place, model.config.n_embd) == ("True", "cpu", 128)
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


@pytest.mark.parametrize("faulty", ["no compiler", "a block that fails"])
def test_what_can_not_be_compiled_is_not_and_hinders_no_run(monkeypatch, faulty):
    def fails(self, stream):
        raise RuntimeError("a compiler's story")

    compiled = faulty != "no compiler"
    monkeypatch.setattr(device, "compile_model", lambda *how: compiled)
    if compiled:
        monkeypatch.setattr(Block, "forward", fails)
    assert compiling.ratio(128) is None
