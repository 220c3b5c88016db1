"""The mutants fit the code as it is: each hand-written one changes one place, into something that runs."""

import ast
from collections import Counter

import pytest
from conftest import ROOT
from mutants import operators
from mutants.__main__ import collect
from mutants.fitting import Tree
from mutants.mutant import Mutant, StaleError, span
from mutants.running import Copy, Store

SOURCE = 'def area(a, b):\n    """The area."""\n    return a * b\n\n\ndef twice(a):\n    return a * 2\n'


@pytest.fixture(scope="module")
def tree() -> Tree:
    names = [path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    return Tree(ROOT, names)


def test_every_mutant_changes_what_the_code_does(tree):
    mutants, stale = collect(tree, per_file=1, seed=0)
    assert not stale, "their places are not there exactly once"
    assert sum(mutant.start < 0 for mutant in mutants) >= 600, "hand-written ones"
    before = {path: ast.dump(ast.parse(tree.text(path))) for path in {mutant.path for mutant in mutants}}
    made = Counter()
    for mutant in mutants:
        changed = mutant.apply(tree.text(mutant.path))
        assert ast.dump(ast.parse(changed)) != before[mutant.path], mutant
        made[mutant.path, changed] += 1
    assert set(made.values()) == {1}, "a mutant is there twice"


def test_the_draw_is_that_of_its_seed(tree):
    text = tree.text("train.py")
    drawn = [operators.drawn("train.py", text, 5, seed, set()) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    others = operators.drawn("train.py", text, 5, 0, {drawn[0][0].apply(text)})
    assert others[:4] == drawn[0][1:], "the one that is written by hand makes room for the next"


def test_rules_change_what_is_computed_and_nothing_else():
    texts = [mutant.apply(SOURCE) for mutant in operators.candidates("a.py", SOURCE)]
    assert any("return (a / b)" in text for text in texts) and any("a * 3" in text for text in texts)
    assert all('"""The area."""' in text for text in texts)


def test_a_place_is_looked_for_in_its_function():
    mutant = Mutant("a.py", "", "return a *", "return a +", scope="twice")
    assert mutant.apply(SOURCE).splitlines()[2:] == [
        "    return a * b",
        "",
        "",
        "def twice(a):",
        "    return a + 2",
    ]
    assert SOURCE[slice(*span(SOURCE, "area"))].endswith("return a * b\n")
    for scope, old in (("", "return a *"), ("area", "return c"), ("volume", "return a *")):
        with pytest.raises(StaleError):
            Mutant("a.py", "", old, "return", scope=scope).apply(SOURCE)


def test_the_nearest_tests_come_first(tree):
    assert tree.fitting("reslab/training/muon.py", 1) == ["tests/training/test_muon.py"]
    assert tree.fitting("reslab/system/parallel.py", 1) == ["tests/system/test_parallel.py"]
    outcome = tree.fitting("reslab/training/outcome.py", 4)
    assert sum(test.startswith("tests/training/") for test in outcome) >= 2, "no test is named after it"
    assert set(tree.fitting("reslab/training/muon.py", 3)) < set(tree.fitting("reslab/training/muon.py", 0))
    assert "tests/data/test_documents.py" not in tree.fitting("reslab/report/serve.py", 0)
    assert "tests/nn/test_model.py" in tree.fitting("model.py", 3), "they import it as reslab.model"
    assert "tests/test_mutants.py" not in tree.tests, "it fails whatever a listed mutant changes"


@pytest.mark.slow
def test_killed_and_survived_are_told_apart(tmp_path):
    root, copy = tmp_path / "root", tmp_path / "copy"
    root.mkdir()
    (root / "shape.py").write_text(SOURCE, encoding="utf-8")
    test = "from shape import area\n\n\ndef test_area():\n    assert area(2, 3) == 6\n"
    (root / "test_shape.py").write_text(test, encoding="utf-8")
    (root / "pytest.ini").write_text("[pytest]\npythonpath = .\n", encoding="utf-8")
    names = ["shape.py", "test_shape.py", "pytest.ini"]
    place = Copy(root, names, copy)
    place.put(Mutant("shape.py", "", "a * b", "a + b"))
    assert place.test("test_shape.py", 60)["test"] == "test_shape.py::test_area"
    place.put(Mutant("shape.py", "", "a * 2", "a * 3"))
    assert place.test("test_shape.py", 60)["status"] == "passed"
    place.put(Mutant("shape.py", "", "return a * b", "import time; time.sleep(60)"))
    assert place.test("test_shape.py", 3)["status"] == "timeout"
    (copy / "left").mkdir()
    (copy / "left" / "behind.txt").touch()
    place.restore()
    assert sorted(p.name for p in copy.rglob("*") if p.is_file() and ".git" not in p.parts) == sorted(names)
    assert (root / "shape.py").read_text(encoding="utf-8") == SOURCE


def test_results_outlive_a_line_that_was_cut(tmp_path):
    path = tmp_path / "kept" / "results.jsonl"
    Store(path).add("one", {"status": "killed"})
    with path.open("a", encoding="utf-8") as file:
        file.write('{"key": "two", "sta')
    assert Store(path).rows == {"one": {"key": "one", "status": "killed"}}
