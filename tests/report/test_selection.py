"""Which folders are runs, which of them a condition chooses, and in which order they come."""

from pathlib import Path

import pytest
from runs_by_hand import write_run

from reslab.report.selection import choose, find_runs, sort_runs
from reslab.run.log import Run


def test_what_lies_inside_a_run_is_no_run_and_a_folder_that_is_named_is_searched_whatever_its_name(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    run = write_run(tmp_path / "checkpoint", "run")
    for inside in ("checkpoint/best", "wandb/files", "tensorboard", "another"):
        (run / inside).mkdir(parents=True)
        (run / inside / "config.json").write_text("{}", encoding="utf-8")
    assert find_runs([str(run)]) == [run], "a run that is named is one, whatever is in it"
    assert find_runs([str(tmp_path / "checkpoint")]) == [run / "another", run]
    assert find_runs([str(tmp_path)]) == [tmp_path], "what begins above a checkpoint does not look into it"
    assert find_runs([str(run), str(run.parent), str(run)]) == [run, run / "another"]


def test_depths_come_in_the_order_of_their_numbers(tmp_path):
    for depth in (16, 1, 256, 2):
        write_run(tmp_path, f"pre-L{depth}-s1337")
    assert [run.name for run in find_runs([str(tmp_path)])] == [f"pre-L{k}-s1337" for k in (1, 2, 16, 256)]


def runs(key: str, values: list) -> list[Run]:
    return [Run(Path(str(k)), {key: value}, {}, []) for k, value in enumerate(values)]


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ("n_layer=4", {4}),
        ("n_layer=4.0", {4}),
        ("n_layer!=4", {2, 8, 10}),
        ("n_layer=2, 8", {2, 8}),
        ("n_layer!=2, 8", {4, 10}),
        ("n_layer<4", {2}),
        ("n_layer<=4", {2, 4}),
        ("n_layer>4", {8, 10}),
        ("n_layer>=4", {4, 8, 10}),
        (" n_layer >= 8 ", {8, 10}),
    ],
)
def test_every_operator_includes_its_bound_or_not(condition, holds):
    chosen, notes = choose(runs("n_layer", [2, 4, 8, 10]), [condition])
    assert {run.config["n_layer"] for run in chosen} == holds and notes == []


def test_text_is_compared_whole_and_true_is_no_number():
    chosen, _ = choose(runs("residual", ["pre", "none"]), ["residual=pre"])
    assert [run.config["residual"] for run in chosen] == ["pre"]
    assert len(choose(runs("bias", [True, False]), ["bias=True"])[0]) == 1
    ours = runs("own", [True, 1, "1.0", None, "x"])
    assert [run.config["own"] for run in choose(ours, ["own=1"])[0]] == [1, "1.0"]
    assert [run.config["own"] for run in choose(ours, ["own>=1"])[0]] == [1, "1.0"]


@pytest.mark.parametrize(
    ("values", "upwards"),
    [
        ([10, 9, 100, 9.5], [9, 9.5, 10, 100]),
        (["b", "a10", "a9"], ["a10", "a9", "b"]),
        ([10, "x", 9], [10, 9, "x"]),  # text among them: all are compared as text
    ],
)
def test_numbers_are_sorted_as_numbers_and_what_has_no_value_is_last(values, upwards):
    given = runs("own", [None, *values])
    for key, order in (("own", upwards), ("-own", upwards[::-1])):
        assert [run.config["own"] for run in sort_runs(given, key)] == [*order, None]


def test_runs_are_sorted_by_each_column(tmp_path):
    """Two runs of which each column but the folder puts the second first."""
    first = write_run(tmp_path, "a", (4.0, 3.0), residual="pre", status="finished")
    second = write_run(tmp_path, "b", (4.0, 2.0), residual="none", status="diverged")
    from reslab.report.facts import load

    ours = [load(first), load(second)]
    for key, order in {"val": "ba", "train": "ba", "run": "ab", "arm": "ba", "status": "ba"}.items():
        assert "".join(run.folder.name for run in sort_runs(ours, key)) == order, key
        assert "".join(run.folder.name for run in sort_runs(ours, f"-{key}")) == order[::-1], key
    rows = [
        [{"step": 0, "val/loss": 1.0, "train/loss": 2.0}],
        [{"step": 0, "val/loss": 2.0, "train/loss": 1.0}],
    ]
    ours = [Run(Path(str(k)), {}, {}, each) for k, each in enumerate(rows)]
    assert sort_runs(ours, "val") == ours and sort_runs(ours, "train") == ours[::-1]
