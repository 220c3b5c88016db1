"""bench.py as it is run: its faults, its cases, and a case with real processes."""

import json
from pathlib import Path

import pytest

import bench
from benchmarks import cases, turns
from benchmarks.cases import CASES
from reslab.run.configfile import UsageError

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
