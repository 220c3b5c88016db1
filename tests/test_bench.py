"""bench.py: sides take turns and their ratios are those of their times."""

import json
from pathlib import Path

import pytest
from conftest import run_python

from benchmarks import cases, turns
from benchmarks.cases import CASES, line
from benchmarks.turns import ratios, summary

NANOGPT = Path(__file__).resolve().parents[2] / "nanoGPT"  # a checkout beside ours


def test_a_ratio_is_taken_turn_by_turn():
    found = ratios({"ours": [1.0, 2.0, 1.0], "nanogpt": [3.0, 6.0, 2.0], "ours float32": [2.0, 4.0, 2.0]})
    assert found["ours against nanogpt"] == {"median": 3.0, "least": 2.0, "most": 3.0}
    assert found["ours float32 against nanogpt"]["median"] == 1.5 and "ours against ours" not in found
    assert summary([1.0, 2.0, 3.0])["median_s"] == 2.0


def test_a_line_through_depths():
    fitted = line([1, 2, 4], [5.0, 7.0, 11.0])
    assert fitted["at_zero"] == pytest.approx(3) and fitted["per_layer"] == pytest.approx(2)
    assert fitted["largest_deviation"] == 0


def test_faults_are_one_line():
    for words, said in (
        (["--only=speed"], "no such case"),
        (["--peer=nanogpt=nowhere"], "no model.py in nowhere"),
        (["--peer=litgpt=."], "must be nanogpt=PATH"),
    ):
        done = run_python("bench.py", *words, code=2)
        assert said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_case_measures_both_sides(tmp_path, monkeypatch, capsys):
    peer = NANOGPT if (NANOGPT / "model.py").is_file() else None
    tiny = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 2}
    bench = turns.Bench(peer, quick=True, gpu=False)
    found = cases.train_step(tiny)(bench)
    assert {"ours", "ours float32"} <= set(found["sides"]) and (
        peer is None or "nanogpt float32" in found["sides"]
    )
    assert found["sides"]["ours"]["tokens_per_s"] == pytest.approx(
        32 / found["sides"]["ours"]["median_s"], abs=1
    )
    assert "tok/s" in bench.table(found) and json.dumps(found)


def test_every_case_says_what_it_is():
    assert all(case.__doc__ for case in CASES.values())
