"""The run directory: rows that stay, what may use it, and how its end is told."""

import errno
import json
import os
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from conftest import ROOT
from runs_by_hand import write_run

from reslab.run.config import MachineError
from reslab.run.files import write_atomically
from reslab.run.lock import exclusive_lock
from reslab.run.log import RunLog, changes, check_run_dir, read_run, write_config
from reslab.training import outcome

ROWS = [{"step": k, "val/loss": 5.0 - k, "status": "on its way"} for k in range(4)]


def test_rows_come_back_in_their_order_and_size_is_what_is_on_the_disk(tmp_path):
    log = RunLog(tmp_path)
    sizes = []
    for row in ROWS:
        log.write(row)
        sizes.append(log.size())
        assert log.size() == (tmp_path / "metrics.jsonl").stat().st_size
    log.close()
    assert sizes == sorted(set(sizes))
    again = RunLog(tmp_path, sizes[1])  # the checkpoint knows two rows
    again.write({"step": 9})
    again.close()
    lines = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [*ROWS[:2], {"step": 9}]
    with pytest.raises(ValueError, match=r"bytes, the checkpoint knows 10000; rows are lost"):
        RunLog(tmp_path, 10_000)
    assert (tmp_path / "metrics.jsonl").read_text(encoding="utf-8").splitlines() == lines


class Disk:
    """A file that takes some bytes at a time, and is full after `room` of them."""

    def __init__(self, room: int):
        self.room, self.content = room, b""

    def write(self, data: bytes) -> int:
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = bytes(data[: min(7, self.room)])
        self.room -= len(taken)
        self.content += taken
        return len(taken)


def test_a_row_is_written_whole_or_the_machine_is_named(tmp_path):
    log = RunLog(tmp_path)
    for room in (10_000, 20):
        (name,) = (key for key, value in vars(log).items() if hasattr(value, "write"))
        disk = Disk(room)
        setattr(log, name, disk)
        if room > 100:
            log.write(ROWS[0])
            assert json.loads(disk.content) == ROWS[0]
        else:
            with pytest.raises(MachineError, match=r"metrics\.jsonl: can't be written \(No space left"):
                log.write(ROWS[0])


def test_the_newest_value_is_the_last_that_is_there(tmp_path):
    rows = [{"step": 0, "a": 1.0, "b": 5}, {"step": 1, "a": 2.0}, {"step": 2, "a": None}, {"step": 3, "c": 0}]
    run = read_run(write_run(tmp_path, rows=rows))
    assert (run.last("a"), run.last("b"), run.last("c"), run.last("d")) == (2.0, 5, 0, None)
    assert run.series("a") == ([0, 1], [1.0, 2.0]) and run.series("d") == ([], [])
    assert run.status == "unfinished"


def test_a_status_is_that_of_the_last_row(tmp_path):
    diverged = {"step": 5, "status": "diverged"}
    later = [diverged, {"step": 5, "changed": {"learning_rate": [1, 2]}}]
    states = [
        read_run(write_run(tmp_path, f"r{k}", rows=rows)).status
        for k, rows in enumerate(([diverged], later, []))
    ]
    assert states == ["diverged", "unfinished", "unfinished"]


def test_only_the_last_line_may_be_cut_short(tmp_path):
    folder = write_run(tmp_path)
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines)[:-5], encoding="utf-8")
    assert len(read_run(folder).rows) == len(lines) - 1
    lines[3] = lines[3][:-5]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 4: not JSON"):
        read_run(folder)
    for damaged in ("{", "[]", '{"no config": 1}'):
        (folder / "config.json").write_text(damaged, encoding="utf-8")
        with pytest.raises((ValueError, TypeError)):
            read_run(folder)


def test_the_origin_of_a_run_is_written_and_what_is_given_wins(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--n_layer=2"])
    write_config(tmp_path, {"n_layer": 2}, {"torch": "9", "device": "cuda"})
    run = read_run(tmp_path)
    assert run.config == {"n_layer": 2} and (run.facts["torch"], run.facts["device"]) == ("9", "cuda")
    assert run.facts["command"] == "train.py --n_layer=2"
    started = datetime.fromisoformat(run.facts["started"])
    assert timedelta(0) <= datetime.now(UTC) - started < timedelta(minutes=5)
    assert f"{os.cpu_count()} cores" in run.facts["machine"]


def test_a_file_is_the_old_one_or_the_new_one(tmp_path, monkeypatch):
    path = tmp_path / "new folder" / "file"
    write_atomically(path, "old")
    contents = []
    real = type(path).write_text

    def write_text(self, text, **options):
        contents.append(path.read_text(encoding="utf-8"))
        real(self, text[:1], **options)
        contents.append(path.read_text(encoding="utf-8"))
        return real(self, text, **options)

    monkeypatch.setattr(type(path), "write_text", write_text)
    write_atomically(path, "new")
    assert contents == ["old", "old"] and path.read_text(encoding="utf-8") == "new"
    assert list(path.parent.iterdir()) == [path]


def test_what_changed_is_told_as_before_and_now():
    before, now = {"a": 1, "b": 2, "gone": 3}, {"a": 1, "b": 5, "new": 4}
    assert changes(before, now) == {"b": [2, 5]}


def test_a_folder_is_used_only_when_nothing_in_it_would_be_lost(tmp_path):
    folder = write_run(tmp_path)  # two sequences a batch, three batches an update
    saved = read_run(folder).config

    def told(resume, overwrite, place=folder, **config):
        try:
            check_run_dir(place, saved | config, resume, overwrite, {"learning_rate"})
        except ValueError as error:
            return str(error)
        return None

    assert "choose one of --resume" in told(False, False) and "choose one of --resume" in told(True, True)
    assert told(True, False) is None and told(False, True, n_layer=99) is None
    assert told(True, False, learning_rate=9.0) is None
    assert told(True, False, n_layer=9).startswith("n_layer=9: the run in ")
    assert told(True, False, n_layer=9).endswith("was started with n_layer=4")
    assert told(True, False, batch_size=3, gradient_accumulation_steps=2) is None  # the same update
    for parts in ({"batch_size": 4}, {"gradient_accumulation_steps": 1}, {"batch_size": 6}):
        assert "was started with" in told(True, False, **parts)
    empty = tmp_path / "empty"
    for place in (tmp_path / "none", empty):
        assert told(False, False, place) is None and told(False, True, place) is None
        assert "no run to resume" in told(True, False, place)
        empty.mkdir(exist_ok=True)
        (empty / "lock").touch()  # somebody may hold it, and has not begun
    (empty / "thesis.txt").touch()
    assert all("is not a run directory" in told(r, o, empty) for r in (True, False) for o in (True, False))


@pytest.mark.parametrize(
    ("status", "length", "restarts", "code"),
    [
        ("finished", 20, 0, 0),
        ("finished", 15, 0, 0),
        ("finished", 21, 0, None),  # asked to be longer
        ("", 20, 0, None),
        ("diverged", 20, 0, 0),
        ("diverged", 30, 0, None),  # a person may try again
        ("diverged", 30, 1, 3),  # torchrun would come back for ever
        ("finished", 30, 1, None),
    ],
)
def test_a_run_that_has_nothing_left_to_do_ends_as_before(tmp_path, capsys, status, length, restarts, code):
    folder = write_run(tmp_path, status=status)
    assert outcome.exit_code(folder, length, restarts) == code
    assert capsys.readouterr().out == (f"{folder}: {status} already. a diagnosis\n" if code == 0 else "")


def test_the_last_lines_are_the_diagnosis_or_how_to_go_on(tmp_path, monkeypatch, capsys):
    folder = write_run(tmp_path)
    monkeypatch.setattr(
        outcome, "checkpoint", SimpleNamespace(find=lambda place: place, load_state=lambda _: {"step": 7})
    )
    diagnosis = f"{folder}: a diagnosis\n"
    stopped = "stopped after step 12, saved; go on with: AGAIN\n"
    diverged = diagnosis + "step 7 is saved; try from there with: AGAIN --learning_rate=...\n"
    for code, status in {0: diagnosis, 3: diverged, 130: stopped, 143: stopped}.items():
        outcome.print_summary(code, folder, 12, "AGAIN")
        assert capsys.readouterr().out == status
    for code, shown in {0: "all is well\n", 3: diverged}.items():
        outcome.print_summary(code, folder, 12, "AGAIN", note="all is well")
        assert capsys.readouterr().out == shown
    first = write_run(tmp_path, "first", rows=[{"step": 0, "status": "diverged", "diagnosis": "why"}])
    outcome.print_summary(3, first, 12, "AGAIN")
    told = capsys.readouterr().out
    assert told.startswith(f"{first}: why\nno update was made") and "AGAIN" not in told  # no rate can help


HOLD = "import sys; from pathlib import Path; from reslab.run.lock import exclusive_lock\n"
HOLD += "with exclusive_lock(Path(sys.argv[1]), 'training here'): print('held', flush=True); input()"


def test_a_lock_is_one_process_s_and_leaves_nothing(tmp_path):
    folder = tmp_path / "a" / "b"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, folder],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(
                ValueError, match=rf"another process is writing \(pid {other.pid} on .*wait or stop it"
            ),
            exclusive_lock(folder, "writing"),
        ):
            raise AssertionError("both hold it")
        other.communicate("\n", timeout=30)
    finally:
        other.kill()
        other.wait()
    assert not (tmp_path / "a").exists()  # its folders were made for it and stayed empty
    folder.mkdir(parents=True)
    with exclusive_lock(folder, "writing"):
        (folder / "file").touch()
        held = (folder / "lock").read_text(encoding="utf-8")
    assert held.startswith(f"pid {os.getpid()} on ") and list(folder.iterdir()) == [folder / "file"]


def test_a_lock_that_is_waited_for_is_had_once_it_is_free(tmp_path):
    events, waiting = [], threading.Event()

    def second():
        waiting.set()
        with exclusive_lock(tmp_path, "second", wait=float("inf")):
            events.append("second")
            assert (tmp_path / "lock").exists()  # the new file, and not the one removed

    with exclusive_lock(tmp_path, "first"):
        (tmp_path / "kept").touch()
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        events.append("first")
    thread.join(30)
    assert events == ["first", "second"] and not (tmp_path / "lock").exists()


def test_a_lock_of_a_killed_process_is_free(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", HOLD, tmp_path], cwd=ROOT, stdin=-1, stdout=-1)
    assert other.stdout.readline() == b"held\n"
    other.kill()
    other.wait()
    assert (tmp_path / "lock").exists()
    with exclusive_lock(tmp_path, "writing"):
        assert (tmp_path / "lock").read_text(encoding="utf-8").startswith(f"pid {os.getpid()} on ")


def test_a_lock_file_that_its_holder_removes_meanwhile_is_not_held(tmp_path, monkeypatch):
    """Between the opening of the file and the lock on it: whoever comes next would open another one."""
    fcntl = pytest.importorskip("fcntl")
    real, calls = fcntl.flock, []

    def flock(file, how):
        if how & fcntl.LOCK_EX:
            calls.append(file)
            if len(calls) == 1:
                (tmp_path / "lock").unlink()
        return real(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    with exclusive_lock(tmp_path, "writing", wait=float("inf")):
        assert (tmp_path / "lock").read_text(encoding="utf-8").startswith(f"pid {os.getpid()} ")
    assert len(calls) == 2 and not (tmp_path / "lock").exists()


def test_a_run_that_diverged_after_an_update_is_told_to_try_another_rate(tmp_path, capsys, monkeypatch):
    run = write_run(tmp_path, "one", rows=[{"step": 1, "status": "diverged", "diagnosis": "why"}])
    monkeypatch.setattr(outcome.checkpoint, "find", lambda place: place)
    monkeypatch.setattr(outcome.checkpoint, "load_state", lambda good: {"step": 1})
    outcome.print_summary(3, run, 1, "AGAIN")
    out = capsys.readouterr().out
    assert "step 1 is saved; try from there with: AGAIN" in out and "no update was made" not in out
