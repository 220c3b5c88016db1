"""Where arrows lead: the lines of data/khop, and how often a model answers them rightly."""

import runpy
from collections import Counter
from itertools import islice

import pytest
import torch
from conftest import ROOT
from test_tables import made

from experiments.khop.measure import accuracy, whole_lines

SCRIPT = runpy.run_path(str(ROOT / "data" / "khop" / "prepare.py"), run_name="looked at")
LETTERS, HOPS = SCRIPT["LETTERS"], SCRIPT["HOPS"]


def taken_apart(line: str) -> tuple[str, int, str, str]:
    """Arrows, hops, start and answer."""
    count = len(LETTERS)
    return line[:count], int(line[count]), line[count + 1], line[count + 2]


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_answer_is_where_the_arrows_of_its_line_lead(split):
    lines = list(islice(SCRIPT["lines"](split), 2000))
    for line in lines:
        arrows, hops, letter, answer = taken_apart(line)
        for _ in range(hops):
            letter = arrows[LETTERS.index(letter)]
        assert letter == answer and line.endswith(f"{answer}\n") and len(line) == len(LETTERS) + 4
    asked = Counter(taken_apart(line)[1] for line in lines)
    assert set(asked) == set(range(1, HOPS + 1)) and min(asked.values()) > 400
    starts = Counter(taken_apart(line)[2] for line in lines)
    assert set(starts) == set(LETTERS) and min(starts.values()) > 180
    assert lines == list(islice(SCRIPT["lines"](split), 2000))  # write_dataset reads them twice


def test_the_arrows_are_one_circle_and_those_of_validation_are_in_no_training_line():
    seen = {}
    for split in ("train", "val"):
        seen[split] = {line[: len(LETTERS)] for line in islice(SCRIPT["lines"](split), 5000)}
        for arrows in seen[split]:
            letter, passed = "a", set()
            while letter not in passed:
                passed.add(letter)
                letter = arrows[LETTERS.index(letter)]
            assert passed == set(LETTERS)
    assert not seen["train"] & seen["val"]
    assert len(seen["train"]) > 600 and len(seen["val"]) > 60  # of 648 and 72


def test_accuracy_is_the_share_of_right_answers_for_each_number_of_hops():
    """A model that knows one hop: of two lines a row, the answers at 3 and 8 are foretold at 2 and 7."""
    newline, one, two = 0, 1, 2
    lines = [[5, one, 6, 7], [5, two, 6, 7], [8, one, 6, 9], [5, two, 6, 8], [5, one, 6, 7], [5, two, 6, 8]]
    tokens = torch.tensor([[*line, newline] for line in lines] + [[5, one, 6, 7, newline]]).flatten()
    rows, length = whole_lines(tokens, newline, longest=12)
    assert rows.shape == (3, 10) and length == 5 and rows.flatten().tolist() == tokens[:30].tolist()

    def model(inputs):
        assert inputs.shape == (3, 9)  # without the last token, whose target is not in the row
        logits = torch.zeros(3, 9, 10)
        logits[:, [2, 7], 7] = 1.0  # the answer 7, whatever is asked
        logits[:, [1, 3, 6, 8], 9] = 1.0
        return logits

    assert accuracy(model, rows, length) == {one: pytest.approx(2 / 3), two: pytest.approx(1 / 3)}


def test_the_table_has_a_row_for_each_depth_at_the_rate_of_the_lowest_training_loss_of_the_first_seed():
    def run(depth, rate, shares, loss, **arm):
        one = {"residual": "pre", "init": "wiring", "n_layer": depth, "muon_lr": rate, "train/loss": loss}
        one["seed"] = 1
        return one | arm | ({"accuracy": dict(zip("12", shares, strict=True))} if shares else {})

    runs = [
        run(2, 0.02, (1.0, 0.5), 1.0),
        run(2, 0.02, (0.75, 0.25), 1.5, seed=2),
        run(2, 0.2, (0.1, 0.1), 1.2),
    ]
    runs += [run(1, 0.02, (0.9, 0.2), 1.1), run(4, 0.2, None, None, residual="none", init="self")]
    rows, note = made("khop", {"command": "python -m x", "date": "today", "machine": "this", "runs": runs})
    assert rows == [
        ["", "layers", "block rate", "1 hop", "2 hops"],
        ["with skips (`pre`)", "1", "0.02", "0.90", "0.20"],
        ["with skips (`pre`)", "2", "0.02", "0.88 (0.75 to 1.00)", "0.38 (0.25 to 0.50)"],
        ["without skips, init `self`", "4", "0.2", "diverged", "diverged"],
    ]
    assert "python -m x" in note
