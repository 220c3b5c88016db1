"""The notebook: what it keeps of its last execution, and that it runs from its first cell to its last."""

import base64
import json
import re

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "docs" / "lesson.ipynb"
NUMBER = re.compile(r"-?\d[\d.]*(e[+-]?\d+)?%?")


def cells(kind: str) -> list[dict]:
    book = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return [cell for cell in book["cells"] if cell["cell_type"] == kind]


def printed(book_cells) -> str:
    return "".join(
        "".join(output.get("text", "")) for cell in book_cells for output in cell.get("outputs", ())
    )


def depth_losses(text: str) -> dict[tuple[str, int], str]:
    """(arm, layers) -> what section 7 prints of it."""
    rows = re.findall(r"(with skips|without), +(\d+) layers?: [\d.]+, (.*)", text)
    return {(arm, int(layers)): told for arm, layers, told in rows}


def says_what_section_7_says(text: str) -> None:
    """What the answer of section 7 says, read from what its cell has printed."""
    told = depth_losses(text)
    learned = {key for key, words in told.items() if "below no blocks" in words}
    assert {key for key in told if key[0] == "with skips"} <= learned
    assert {layers for arm, layers in learned if arm == "without"} == {1, 2}
    assert {layers for arm, layers in set(told) - learned} == {6, 12}
    from_unigram = re.fullmatch(r"[\d.]+ above no blocks, ([\d.]+) from unigram", told["without", 12])
    assert float(from_unigram[1]) < 0.05
    assert {layers for arm, layers in told} == {1, 2, 6, 12}


def test_it_is_kept_as_it_ran_with_pictures_that_every_viewer_draws():
    code = cells("code")
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    pictures = [o["data"] for cell in code for o in cell["outputs"] if o["output_type"] == "display_data"]
    assert len(pictures) == 2
    for data in pictures:
        assert base64.b64decode(data["image/png"]).startswith(b"\x89PNG") and len(data["image/png"]) < 150_000
        assert len("".join(data["text/plain"])) > 60  # what one sees, for those who can't
    assert all(cell["outputs"] for cell in code[1:])
    says_what_section_7_says(printed(code))


def test_nothing_of_a_machine_or_of_a_clock_is_kept():
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert not re.search(r"/(home|root|tmp|Users|work)/|[A-Z]:\\\\|tokens/s|\d+ s\b|iopub|\"version\"", text)


def test_every_question_has_a_folded_answer():
    asked = [cell for cell in ("".join(c["source"]) for c in cells("markdown")) if "?**" in cell]
    assert len(asked) == 8
    for cell in asked:
        question, _, answer = cell.partition("<details>\n<summary>Answer</summary>\n\n")
        assert "?**" in question and answer.endswith("\n\n</details>") and len(answer) > 60


@pytest.mark.slow
def test_the_lesson_runs_and_prints_what_it_keeps(tmp_path, monkeypatch):
    for module in ("nbformat", "nbclient", "matplotlib"):
        pytest.importorskip(module, reason="needs the notebook tools of the dev requirements")
    from experiments.lesson import executed

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    text = printed(executed(NOTEBOOK).cells)
    assert text.count("the same logits, bit for bit: True") == 1
    says_what_section_7_says(text)
    # Numbers differ in their last digits from machine to machine; the words do not.
    assert NUMBER.sub("#", text) == NUMBER.sub("#", printed(cells("code")))
