"""No figure is typed in: the tables of the texts are what results/ says."""

import runpy

from conftest import ROOT, run_python

PAGES = runpy.run_path(str(ROOT / "results" / "tables.py"))["PAGES"]


def test_every_table_is_what_the_results_say():
    run_python("results/tables.py", "--check")


def test_a_figure_that_was_typed_in_is_found(tmp_path):
    for name in PAGES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        text = (ROOT / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("| with skips", "| with  skips", 1), encoding="utf-8")
    (tmp_path / "results").mkdir()
    for path in (ROOT / "results").glob("*"):
        (tmp_path / "results" / path.name).write_bytes(path.read_bytes())
    told = run_python(tmp_path / "results" / "tables.py", "--check", code=1).stderr
    assert "README.md" in told and "run: python results/tables.py" in told
