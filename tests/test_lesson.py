"""The notebook runs from its first cell to its last, and shows what it says."""

import pytest
from conftest import ROOT

pytestmark = pytest.mark.slow
NOTEBOOK = ROOT / "docs" / "lesson.ipynb"


def test_the_lesson_runs_and_holds(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="needs the notebook tools of the dev requirements")
    client = pytest.importorskip("nbclient", reason="needs the notebook tools of the dev requirements")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(book)
    assert not any(cell.get("outputs") for cell in book.cells)  # what it prints is measured where it runs
    client.NotebookClient(book, timeout=180, kernel_name="python3").execute(cwd=str(NOTEBOOK.parent))
    printed = "".join(output.get("text", "") for cell in book.cells for output in cell.get("outputs", ()))
    assert "the same logits, bit for bit: True" in printed
    assert "the unigram baseline; this stack learned token frequencies and nothing more" in printed
