"""The programs of experiments: what can't be done is one line and exit code 2, before anything is trained."""

import importlib
import json
import sys

import pytest
from conftest import ROOT

from experiments import bisect
from reslab.run.config import run_door

MEASURE = [f"experiments.{name}.measure" for name in ("dial", "khop", "theory", "worth")]
MEASURE += ["experiments.rezero.first_updates"]
STUDIES = ["experiments.bisect", "experiments.best"]
DOSE = str(ROOT / "config" / "dose.py")


@pytest.fixture
def program(monkeypatch, capsys):
    """Calls a program's door; the exit code and what it says on stderr. Training would be a fault."""
    monkeypatch.setattr(bisect, "train_grid", lambda *_: pytest.fail("it trained"))

    def call(module: str, *argv) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", [module, *map(str, argv)])
        with pytest.raises(SystemExit) as end:
            run_door(importlib.import_module(module).main)
        return end.value.code or 0, capsys.readouterr().err

    return call


def one_line(told: tuple[int, str], *words: str) -> bool:
    code, error = told
    return code == 2 and error.count("\n") == 1 and all(word in error for word in ("error: ", *words))


@pytest.mark.parametrize("module", MEASURE + STUDIES)
def test_a_result_that_could_not_be_written_is_refused_before_the_work(module, program, tmp_path):
    given = [DOSE, "--setting=muon_lr"] if module in STUDIES else []
    assert one_line(program(module, *given, f"--json={tmp_path}/no/r.json"), "no folder")
    assert one_line(program(module, *given, f"--json={tmp_path}"), "must be a file")
    assert one_line(program(module, *given), "--json")


@pytest.mark.parametrize("module", [*MEASURE[:2], *MEASURE[3:], *STUDIES])
@pytest.mark.parametrize("jobs", ["0", "-1", "two", "1.5", "²"])
def test_at_least_one_run_is_trained_at_once(module, jobs, program, tmp_path):
    given = [DOSE, "--setting=muon_lr"] if module in STUDIES else []
    assert one_line(program(module, *given, f"--json={tmp_path}/r.json", f"--jobs={jobs}"), "--jobs", jobs)


@pytest.mark.parametrize("module", STUDIES)
@pytest.mark.parametrize("setting", ["typo", "residual", "seed", "learning_rate"])
def test_a_study_is_compared_by_a_number_that_it_has_several_of(module, setting, program, tmp_path):
    told = program(module, DOSE, f"--setting={setting}", f"--json={tmp_path}/r.json")
    assert one_line(told, setting, "allowed are muon_lr, n_layer, residual_scale\n")


@pytest.mark.parametrize("module", STUDIES)
def test_what_is_no_study_with_a_control_is_refused(module, program, tmp_path):
    given = ["--setting=muon_lr", f"--json={tmp_path}/r.json"]
    assert one_line(program(module, ROOT / "config" / "smoke.py", *given), "`silent`")
    assert one_line(program(module, tmp_path / "none.py", *given), "no such config file")
    assert one_line(program(module, DOSE, *given, "--typo=1"), "--typo")


def test_the_words_of_a_text_are_a_tokenizer_and_bad_places_are_told(program, tmp_path):
    words, text = "experiments.rezero.words", tmp_path / "wiki.train.tokens"
    text.write_text(" One two \n two <unk> \n", encoding="utf-8")
    assert program(words, tmp_path / "made", text) == (0, "")
    made = json.loads((tmp_path / "made" / "tokenizer.json").read_text(encoding="utf-8"))
    assert list(made["model"]["vocab"]) == ["\n", "<unk>", "one", "two"]
    assert one_line(program(words), "folder") and "PATH" not in program(words)[1]
    assert one_line(program(words, tmp_path / "other", tmp_path / "nowhere"), "nowhere")
    assert one_line(program(words, text), "must be a folder") and not (tmp_path / "other").exists()
