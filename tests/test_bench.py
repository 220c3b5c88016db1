"""bench.py as it is run: its faults, its cases, and a case with real processes."""

import json
from pathlib import Path

import pytest
from conftest import OURS

import bench
from benchmarks import cases, turns
from benchmarks.cases import CASES
from reslab.run.configfile import UsageError
from reslab.system import machine

NANOGPT = Path(__file__).resolve().parents[2] / "nanoGPT"  # a checkout beside ours


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("--only=speed", "--only=speed: no such case; there are step-4L128, "),
        ("--peer=nanogpt=nowhere", "no model.py in nowhere"),
        ("--peer=litgpt=.", "must be nanogpt=PATH or transformers"),
    ],
)
def test_a_fault_is_one_line_and_nothing_is_measured(word, message, tmp_path):
    with pytest.raises(UsageError) as told:
        bench.main([word, f"--out={tmp_path / 'kept.json'}"])
    assert message in str(told.value) and len(str(told.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["[1]", "{", '{"cases": [1]}', '{"data": 1}'])
def test_a_file_that_is_no_result_is_refused(tmp_path, text):
    path = tmp_path / "b.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"b\.json: "):
        bench.main(["--only=data", f"--out={path}"])
    assert path.read_text(encoding="utf-8") == text


def test_the_figures_of_the_documentation_are_replaced_only_where_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def case(bench):
        """One that is made up."""
        return {"answer": 42}

    monkeypatch.setitem(CASES, "data", case)
    assert bench.main(["--only=data"]) == 0
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent == tmp_path / "runs"


@pytest.mark.parametrize(
    ("name", "noisy", "word", "kept"),
    [
        ("step-4L128", False, "", {128: 0.75}),
        ("step-6L384", False, "", {384: 0.75}),
        ("step-4L128", True, "", {}),
        ("step-4L128", False, "--quick", {}),
        ("step-48L128", False, "", {}),
        ("sample-1", None, "", {}),
        ("step-4L128", None, "", {}),
    ],
)
def test_what_compiling_gains_is_kept_where_the_turns_agree(
    tmp_path, monkeypatch, capsys, name, noisy, word, kept
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RESLAB_CACHE", f"{tmp_path / 'cache'}")
    machine.fastest.cache_clear()
    machine.keep(machine.place(), OURS)
    pair = {"median": 0.75, "least": 0.5, "most": 1.5, "noisy": noisy}
    shape = {"step-4L128": cases.SMALL, "step-6L384": cases.MIDDLE}.get(name, cases.DEEP)
    ratios = {} if noisy is None else {"ours against ours compiled": pair}
    monkeypatch.setitem(CASES, name, lambda bench: {"shape": shape, "ratios": ratios})
    CASES[name].__doc__ = "One that is made up."
    assert bench.main([f"--only={name}", *word.split()]) == 0
    assert machine.read(machine.place()).ratios.get(machine.COMPILED, {}) == kept
    told = capsys.readouterr().out
    assert (f"kept in {machine.place()}" in told) == bool(kept)
    assert ("too noisy to be kept" in told) == (noisy is True)
    machine.fastest.cache_clear()


def test_the_cases_that_are_kept_have_the_widths_that_choices_are_made_of():
    assert (cases.SMALL["n_embd"], cases.MIDDLE["n_embd"]) == machine.WIDTHS and set(bench.KEPT) <= set(CASES)


@pytest.mark.slow
def test_a_case_measures_both_sides():
    peer = NANOGPT if (NANOGPT / "model.py").is_file() else None
    tiny = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 2}
    sides = turns.Bench(peer, quick=True, gpu=False)
    case = cases.train_step(tiny)(sides)
    measured = {"ours", "ours float32"} | ({"nanogpt float32"} if peer else set())
    assert measured <= set(case["sides"]), case.get("failed")
    assert case["sides"]["ours"]["tokens_per_s"] == pytest.approx(
        32 / case["sides"]["ours"]["median_s"], abs=1
    )
    assert "tok/s" in sides.table(case) and json.dumps(case)


def test_every_case_says_what_it_is():
    assert all(case.__doc__ for case in CASES.values())
