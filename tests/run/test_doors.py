"""Every program ends in the same way: its exit code says what went wrong, and a line says it in words."""

import errno
import importlib
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from reslab.run import config as configure
from reslab.run.options import SampleConfig
from reslab.run.settings import TrainConfig

DOORS = sorted(path.relative_to(ROOT) for path in ROOT.glob("*.py") if "__main__" in path.read_text("utf-8"))
ENDS = {  # what a program's main does -> exit code, stderr
    "finished": (0, 0, ""),
    "diverged": (3, 3, ""),
    "stopped": (143, 143, ""),
    "disk full": (configure.MachineError("runs/a: can't be written"), 1, "error: runs/a: can't be written\n"),
    "two faults": (configure.UsageError("a=1: no\nb=2: no"), 2, "error: a=1: no\nerror: b=2: no\n"),
    "wrong": (ValueError("not a run"), 2, "error: not a run\n"),
    "no file": (FileNotFoundError(2, "No such file", "x"), 2, "error: x: No such file\n"),
    "what a terminal obeys": (ValueError("a\x1b[2J\rb: no\nc"), 2, "error: a\\x1b[2J\\rb: no\nerror: c\n"),
    "in a disk": (configure.MachineError("a\x07: full"), 1, "error: a\\x07: full\n"),
    "no name": (OSError(5, "Input/output error"), 2, "error: [Errno 5] Input/output error\n"),
    "rename": (OSError(18, "Other disk", "a", None, "b"), 2, "error: a -> b: Other disk\n"),
    "full": (OSError(errno.ENOSPC, "No space", "x"), 1, "error: x: No space\n"),
    "Ctrl-C": (KeyboardInterrupt(), 130, "stopped\n"),
}


@pytest.mark.parametrize("name", ENDS)
def test_the_kind_of_an_end_is_its_exit_code(name, monkeypatch, capsys):
    end, code, message = ENDS[name]
    calls = []

    def main(argv):
        calls.append(argv)
        if isinstance(end, BaseException):
            raise end
        return end

    monkeypatch.setattr(sys, "argv", ["door.py", "--a=1", "b"])
    with pytest.raises(SystemExit) as ended:
        configure.run_door(main)
    assert ended.value.code == code and calls == [["--a=1", "b"]]
    assert capsys.readouterr() == ("", message)


@pytest.mark.parametrize("made", [False, True])
def test_a_package_that_is_not_installed_is_one_line(made, tmp_path, monkeypatch, capsys):
    """Also where `make` has installed it, and another Python was started; what else is missing is a bug."""
    (tmp_path / "requirements.txt").write_text("# pins\ntorch==2\nnoted==1\n", "utf-8")
    if made:
        (tmp_path / ".venv").mkdir()
    monkeypatch.setattr("reslab.run.launch.TOP", tmp_path)

    with pytest.raises(SystemExit) as ended:
        configure.run_door(lambda argv: importlib.import_module("noted"))
    remedy = ". .venv/bin/activate" if made else "python -m pip install -r requirements.txt"
    told = f"error: noted: not installed for {sys.executable}; run: {remedy}\n"
    assert ended.value.code == 2 and capsys.readouterr() == ("", told)
    with pytest.raises(ModuleNotFoundError, match="not_noted"):
        configure.run_door(lambda argv: importlib.import_module("not_noted"))


def test_a_rank_of_torchrun_ends_before_anything_can_abort_it():
    """Threads of gloo that outlive Python's end did, after everything was saved."""
    code = "import atexit, os; from reslab.run.config import run_door; atexit.register(os.abort)\n"
    code += "run_door(lambda argv: print('saved', end='') or 7)"
    ranks = os.environ | dict.fromkeys(("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_PORT"), "1")
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=ranks | {"MASTER_ADDR": "a"}, cwd=ROOT, text=True, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "saved", "")


@pytest.mark.parametrize("argv", [["runs/a\nerror: b/x"], ["--out_dir=a\nerror: b"], ["--o", "a\nerror: b"]])
def test_a_newline_that_was_typed_is_no_end_of_a_line(argv, monkeypatch, capsys):
    def main(argv):
        raise ValueError("/home/a\nerror: b: no\nn_layer=1: no")

    monkeypatch.setattr(sys, "argv", ["door.py", *argv])
    with pytest.raises(SystemExit):
        configure.run_door(main)
    assert capsys.readouterr().err == "error: /home/a\\nerror: b: no\nerror: n_layer=1: no\n"


def test_a_reader_that_has_seen_enough_is_no_fault(monkeypatch, capfd):
    kept = os.dup(1)

    def main(argv):
        raise BrokenPipeError

    monkeypatch.setattr(sys, "argv", ["door.py"])
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    try:
        with pytest.raises(SystemExit) as ended:
            configure.run_door(main)
    finally:
        os.dup2(kept, 1)
        os.close(kept)
    assert ended.value.code == 141 and capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("words", [("reslab",), ("reslab", "prepare"), ("reslab.system.memory",)])
def test_an_output_that_can_not_be_written_is_one_line(words):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", *words]
        done = subprocess.run(command, cwd=ROOT, text=True, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (done.returncode, done.stderr) == (1, "error: [Errno 28] No space left on device\n")


def test_a_fault_of_the_program_itself_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        configure.run_door(lambda argv: 1 / 0)


@pytest.mark.parametrize("door", DOORS, ids=str)
def test_every_program_goes_through_it_and_refuses_what_it_does_not_know(door, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(ROOT), *sys.path])
    monkeypatch.setattr(sys, "argv", [str(door), "runs/none", "--no_such_setting=1"])
    handed = []
    real = configure.run_door
    monkeypatch.setattr(configure, "run_door", lambda main: handed.append(main) or real(main))
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / door), run_name="__main__")
    output = capsys.readouterr()
    assert ended.value.code == 2 and len(handed) == 1 and not output.out
    assert "error: " in output.err and "Traceback" not in output.err
    assert not list(tmp_path.iterdir())


def test_bytes_that_the_locale_has_no_characters_for_are_told():
    names = "😀".encode(), "é".encode("latin-1")
    emoji, latin = (name.decode("ascii", "surrogateescape") for name in names)
    locale = "can't be read in this locale; set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8"
    with pytest.raises(configure.UsageError) as told:
        configure.parse(TrainConfig, [f"--out_dir=runs/{emoji}", f"--init_from={latin}"])
    assert str(told.value).splitlines() == [
        rf"--out_dir=runs/\udcf0\udc9f\udc98\udc80: {locale}",
        r"--init_from=\udce9: is not UTF-8 text; give another name",
    ]
    with pytest.raises(configure.UsageError) as told:
        configure.parse(SampleConfig, [emoji])
    assert str(told.value) == rf"\udcf0\udc9f\udc98\udc80: {locale}"
