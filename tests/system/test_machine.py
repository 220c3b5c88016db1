"""What is fastest is measured once on a machine, and then the same in every run."""

import json
import math

import pytest
import torch

from reslab.system import machine

SAME = {what: dict.fromkeys(sizes, 1.0) for what, sizes in machine.SIZES.items()}
OURS = {what: dict.fromkeys(sizes, 0.5) for what, sizes in machine.SIZES.items()}


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine on which nothing was measured; returns the folder of its choice."""
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    machine.fastest.cache_clear()
    yield tmp_path / "cache"
    machine.fastest.cache_clear()


def first_run(monkeypatch, ratios):
    """What a process that starts now takes for the fastest, and whether it measured."""
    machine.fastest.cache_clear()
    measured = []
    monkeypatch.setattr(machine, "measure", lambda: measured.append(1) or ratios)
    return machine.fastest(), bool(measured)


def test_the_first_run_measures_and_all_others_take_what_it_found(fresh, monkeypatch, capsys):
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    (path,) = fresh.iterdir()
    told = " ".join(capsys.readouterr().err.split())
    assert f"kept in {path}. --dtype and --kernels overrule it" in told and str(machine.Fastest(OURS)) in told
    assert first_run(monkeypatch, SAME) == (machine.Fastest(OURS), False)
    assert capsys.readouterr().err == ""
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["machine"] == machine.name() and kept["fastest"] == str(machine.Fastest(OURS))
    path.unlink()
    assert first_run(monkeypatch, SAME) == (machine.Fastest(SAME), True)


def test_another_cpu_or_torch_has_a_choice_of_its_own(fresh, monkeypatch):
    first_run(monkeypatch, OURS)
    for owner, name in ((torch, "__version__"), (torch.backends.cpu, "get_cpu_capability")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, "9.9" if owner is torch else lambda: "OTHER")
            assert first_run(patch, SAME) == (machine.Fastest(SAME), True)
    assert len(list(fresh.iterdir())) == 3


def test_of_runs_that_measure_at_once_all_take_what_the_first_has_kept(fresh):
    path = machine.place()
    assert machine.keep(path, machine.Fastest(OURS)) == machine.Fastest(OURS)
    assert machine.keep(path, machine.Fastest(SAME)) == machine.Fastest(OURS) == machine.read(path)
    assert list(fresh.iterdir()) == [path]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"ratios": {"bfloat16": 1}}', '{"ratios": []}'])
def test_a_damaged_choice_is_measured_again(fresh, monkeypatch, capsys, text):
    path = machine.place()
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    assert capsys.readouterr().err.startswith(f"{path}: damaged, or of another version; measuring again\n")
    assert machine.read(path) == machine.Fastest(OURS)


def test_where_nothing_can_be_kept_a_run_says_so_and_goes_on(fresh, monkeypatch, capsys):
    fresh.write_text("a file where the folder would be")
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    told = " ".join(capsys.readouterr().err.split())
    assert f"each run measures it again, since {machine.place()} can't be written (" in told


@pytest.mark.parametrize(
    ("ratios", "least"),
    [((0.5, 0.5), 128), ((1.0, 0.5), 384), ((0.5, 1.0), None), ((0.81, 0.8), 384), ((1.2, 0.9), None)],
)
def test_a_size_is_taken_from_where_on_all_are_clearly_faster(ratios, least):
    of_width = dict(zip(machine.WIDTHS, ratios, strict=True))
    fastest = machine.Fastest(SAME | {"bfloat16": of_width})
    assert [fastest.bfloat16_pays(n) for n in (64, 128, 383, 384, 999)] == [
        least is not None and n >= least for n in (64, 128, 383, 384, 999)
    ]
    assert not fastest.bfloat16_pays(999, token=True) and not fastest.onednn_pays
    onednn = machine.Fastest(SAME | {"float32 by oneDNN": of_width})
    assert onednn.onednn_pays == (least == 128)


def test_everything_is_measured_and_a_run_does_not_feel_it():
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    torch.set_num_threads(3)
    try:
        with torch.no_grad():
            ratios = machine.measure()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert {what: tuple(found) for what, found in ratios.items()} == machine.SIZES
    assert all(0 < ratio < math.inf for found in ratios.values() for ratio in found.values())
    assert torch.equal(torch.rand(3), expected)
    assert not torch.is_autocast_enabled("cpu")


def test_a_ratio_is_that_of_the_fastest_turns(monkeypatch):
    """A turn that another program slows down does not count, nor does the first; short turns are many."""
    seconds = iter([0.001, 0.001, 0.03, 0.009, 0.001, 0.008, 0.001, 0.009, 0.002, 0.004, 0.03, 0.03, 0, 0])
    now = [0.0]

    def work():
        now[0] += next(seconds)

    monkeypatch.setattr(machine.time, "thread_time", lambda: now[0])
    assert machine._ratio(lambda: work(), lambda: work()) == 0.25
    assert list(seconds) == [0, 0]
