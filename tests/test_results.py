"""Nothing is typed in: tables, pictures and configs of the texts are what experiments/ and config/ say."""

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from conftest import ROOT, run_python

import experiments.__main__ as door
from experiments.__main__ import MARKER, drawn, fill, pages, pictures, tables
from experiments.drawing import THEMES, Picture
from reslab.report.kept import portable

RESULTS = sorted(ROOT.glob("experiments/*/*.json"))
FOLDERS = sorted(path.parent for path in ROOT.glob("experiments/*/README.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_what_the_results_say(page):
    assert fill(page) == page.read_text(encoding="utf-8"), "run: python -m experiments"


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_command_that_is_kept_names_no_folder_of_the_machine_that_ran_it(path):
    for command in re.findall(r'"command": "([^"]*)"', path.read_text(encoding="utf-8")):
        assert portable(command) == command


def test_what_is_stale_is_written_or_only_told(tmp_path, monkeypatch, capsys):
    old, right = tmp_path / "old.md", tmp_path / "right.md"
    old.write_text("typed in", encoding="utf-8")
    right.write_text("made", encoding="utf-8")
    monkeypatch.setattr(door, "ROOT", tmp_path)
    monkeypatch.setattr(door, "pages", lambda: [old, right])
    monkeypatch.setattr(door, "fill", lambda page: "made")
    monkeypatch.setattr(door, "drawn", lambda: {tmp_path / "new.svg": "drawn"})
    assert door.main(["--check"]) == 1
    assert capsys.readouterr().err.startswith("old.md, new.svg: not what the results say; run: python -m")
    assert old.read_text(encoding="utf-8") == "typed in" and not (tmp_path / "new.svg").exists()
    assert door.main([]) == 0
    assert [(tmp_path / n).read_text(encoding="utf-8") for n in ("old.md", "new.svg")] == ["made", "drawn"]


@pytest.mark.slow
def test_a_figure_that_was_typed_in_is_found(tmp_path):
    for name in ("experiments", "reslab", "config", "docs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "model.py"):
        shutil.copy(ROOT / name, tmp_path)
    page = tmp_path / "docs" / "manual.md"
    text = page.read_text(encoding="utf-8")
    page.write_text(text.replace("| with skips", "| with  skips", 1), encoding="utf-8")
    stderr = run_python("-m", "experiments", "--check", cwd=tmp_path, code=1).stderr
    assert stderr == f"{Path('docs/manual.md')}: not what the results say; run: python -m experiments\n"
    run_python("-m", "experiments", cwd=tmp_path)
    assert page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(("path", "svg"), drawn().items(), ids=lambda path: getattr(path, "name", ""))
def test_a_picture_is_what_the_results_say(path, svg):
    assert path.read_text(encoding="utf-8") == svg, "run: python -m experiments"
    assert path.stat().st_size < 150_000
    ElementTree.fromstring(svg)


@pytest.mark.parametrize("missing", ["result", "log"])
def test_of_what_is_not_measured_yet_there_is_a_line_and_no_picture(missing, tmp_path, monkeypatch):
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    entries = {
        "both": Picture(None, None, ("other", missing)),
        "whole": Picture(lambda *_: "", str, ("other",)),
    }
    monkeypatch.setattr(
        door, "pictures", lambda: {name: (tmp_path, entry) for name, entry in entries.items()}
    )
    page = tmp_path / "README.md"
    page.write_text("<!-- picture both -->\n<!-- end -->", encoding="utf-8")
    file = "log" if missing == "log" else "result.json"
    line = f"Not measured yet; `experiments/{tmp_path.name}/README.md` has the command of {file}."
    assert fill(page) == f"<!-- picture both -->\n{line}\n<!-- end -->"
    assert {path.name for path in drawn()} == {f"whole-{theme}.svg" for theme in THEMES}


def test_every_picture_of_a_text_is_there_and_none_is_left_over():
    shown = set()
    for page in [*pages(), *ROOT.glob("data/README.md"), ROOT / "CONTRIBUTING.md"]:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r'(?:src|srcset)="([^"]+)"|!\[[^\]]*\]\(([^)]+)\)', text):
            path = (page.parent / "".join(target)).resolve()
            assert path.is_file(), f"{page}: {path}"
            shown.add(path)
        assert all(len(words) > 60 for words in re.findall(r'<img [^>]*alt="([^"]*)"', text))
    assert (
        shown
        == set(drawn())
        == {path for kind in ("svg", "png") for path in ROOT.glob(f"experiments/*/*.{kind}")}
    )


def test_every_table_is_shown_and_every_result_is_in_a_table():
    shown = {name for page in pages() for _, kind, name, _ in MARKER.findall(page.read_text("utf-8"))}
    assert set(tables()) <= shown
    used = {folder / f"{result}.json" for folder, table in tables().values() for result in table.results}
    assert set(ROOT.glob("experiments/*/*.json")) <= used
    assert set(pictures()) <= shown


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_experiment_is_one_page_with_its_question_commands_and_config(folder):
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert (
        text.startswith("# ")
        and "? " in text.partition("## ")[0].replace("\n", " ")
        and "## Commands" in text
    )
    if (ROOT / "config" / f"{folder.name}.py").is_file():
        assert {"question", "config", "table"} <= {kind for _, kind, _, _ in MARKER.findall(text)}
    for name, (owner, table) in tables().items():
        if owner == folder:
            assert f"<!-- table {name} -->" in text
            results = [] if folder.name in ("speed", "scale") else table.results
            results = [name for name in results if not name.startswith("../")]  # another page's
            assert all(f"experiments/{folder.name}/{result}.json" in text for result in results)


def test_the_list_of_experiments_is_complete():
    text = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert all(f"({folder.name}/README.md)" in text for folder in FOLDERS)
