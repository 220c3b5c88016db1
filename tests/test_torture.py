"""A little of `python -m tests.torture`, in seconds."""

import os
import sys

import pytest
from torture import __main__ as program
from torture import commands, damage, ends, outputs, restarts, shapes

pytestmark = pytest.mark.slow
needs_fork = pytest.mark.skipif(
    not hasattr(os, "fork") or sys.platform == "darwin",
    reason="torch in a forked process is safe on Linux only",
)


@needs_fork
def test_killed_runs_equal_the_run_left_alone(dataset_folder, tmp_path):
    counts = restarts.kills(dataset_folder, tmp_path, 3, steps=12)
    assert counts["kills"] >= 3 and counts["inside a save"] >= 2
    assert counts["bitwise equal"] == counts["runs"] >= 1


@needs_fork
def test_signals_save_within_one_update(dataset_folder, tmp_path):
    assert restarts.signals(dataset_folder, tmp_path, 3)["updates begun after the signal, at most"] <= 1


@needs_fork
def test_no_way_of_ending_loses_an_update(dataset_folder, tmp_path):
    assert set(ends.lost_updates(dataset_folder, tmp_path, 1)["updates lost, at most"].values()) == {0}


@needs_fork
def test_a_parent_ends_with_its_children(dataset_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(ends, "PARENT_ENDS", ["SIGHUP"])
    counts = ends.ended_parents(dataset_folder, tmp_path, 1)
    assert counts["children left"] == 0 and counts["their updates lost, at most"] == {"SIGHUP": 0}


@needs_fork
@pytest.mark.cluster
def test_a_parent_ends_with_its_workers_of_ray(dataset_folder, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed")
    monkeypatch.setattr(ends, "PARENT_ENDS", ["SIGKILL", "SIGTERM"])
    counts = ends.ended_on_ray(dataset_folder, tmp_path, 1)
    assert counts["children left"] == 0
    assert counts["their updates lost, at most"] == {"SIGKILL": 0, "SIGTERM": 0}


def test_a_row_that_can_t_be_run_here_keeps_what_was_measured(tmp_path, monkeypatch, capsys):
    kept = tmp_path / "torture.json"
    kept.write_text('{"ended parents on Ray": {"instants of each": 5}}', encoding="utf-8")
    before = kept.read_bytes()
    monkeypatch.setattr(ends.cluster, "missing", lambda: "ray is not installed (run: pip)")
    monkeypatch.setattr(sys, "argv", ["torture", "--row=ended parents on Ray", f"--json={kept}"])
    monkeypatch.setattr(program, "hear_signals", lambda: None)
    assert program.main() == 0 and kept.read_bytes() == before
    assert capsys.readouterr().out == "ended parents on Ray not run: ray is not installed (run: pip)\n"


def test_outputs_change_nothing_that_is_not_ours(dataset_folder, tmp_path):
    assert outputs.all_targets(dataset_folder, tmp_path)["files"] == 42


def test_documents_and_texts_of_many_shapes(tmp_path):
    assert shapes.documents(tmp_path / "documents")["shapes"] >= 40
    (tmp_path / "texts").mkdir()
    assert shapes.texts(tmp_path / "texts")["shapes"] >= 30


@needs_fork
def test_full_disks_keep_the_checkpoint_before(dataset_folder, tmp_path):
    assert restarts.full_disks(dataset_folder, tmp_path, 2)["former checkpoint whole"] == 2


def test_damaged_checkpoints_are_found(tmp_path):
    counts = damage.checkpoint_bytes(tmp_path, 60)
    assert counts["found, named, and the one before taken"] == 60


@needs_fork
def test_killed_preparations_leave_whole_datasets(tmp_path):
    assert damage.killed_preparations(tmp_path, 3)["kills"] == 3


def test_bad_commands_are_told_in_words(tmp_path):
    assert commands.bad_commands(tmp_path, 100)["command lines"] >= 90


@needs_fork
def test_nothing_grows(dataset_folder, tmp_path):
    counts = restarts.soak(dataset_folder, tmp_path, 200, 20)
    files = counts["open files at 10% and 100%"]
    assert files[0] == files[1]
    assert (counts["evaluations"], counts["saves"]) == (21, 21)
