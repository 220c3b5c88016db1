"""Where people run it: narrow terminals, none at all, odd folders, a home that can't be written."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT, run_python

SHAPE = ["--n_layer=1", "--n_head=1", "--n_embd=8", "--block_size=8", "--batch_size=2", "--eval_sequences=4"]
SHAPE += ["--max_iters=4", "--warmup_iters=0", "--eval_interval=2", "--device=cpu"]
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def place(dataset_folder, tmp_path):
    """A folder whose name has blanks, a quote and letters that are not ASCII, with a dataset in it."""
    folder = tmp_path / "mein Ordner, o'größer 模型"
    shutil.copytree(dataset_folder, folder / "die Daten")
    return folder


def on_terminal(argv: list, columns: int, cwd, **environment) -> tuple[int, str]:
    """Run a door on a pseudo-terminal of that width; returns exit code and all that it showed."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"".join(n.to_bytes(2, "little") for n in (24, columns, 0, 0)))
    env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES", "NO_COLOR")} | environment
    command = [sys.executable, *map(str, argv)]
    child = subprocess.Popen(command, cwd=cwd, env=env, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # Linux's way to say that the other end is closed
            break
        if not part:
            break
        shown += part
    os.close(ours)
    return child.wait(), shown.decode("utf-8")


@pytest.mark.slow
def test_a_run_in_an_odd_folder_on_a_narrow_terminal_without_a_home(place):
    argv = [ROOT / "train.py", *SHAPE, "--dataset=./die Daten", "--out_dir=Läufe/eins"]
    home = "/proc" if os.path.isdir("/proc") else "/dev"  # noqa: PTH112 not even root can write there
    code, shown = on_terminal(argv, 40, place, HOME=home, XDG_CACHE_HOME=home, NO_COLOR="1", TERM="xterm")
    assert code == 0, shown
    assert "step 4/4 train" in shown and "Traceback" not in shown
    assert not COLOUR.search(shown)
    assert (place / "Läufe" / "eins" / "checkpoint" / "best" / "model.safetensors").is_file()
    bars = [line for line in re.split(r"[\r\n]", shown) if ", loss " in line]
    assert bars and all(len(bar.replace("\x1b[A", "")) <= 40 for bar in bars)


def test_the_help_has_no_colour_where_none_is_wanted(tmp_path):
    code, shown = on_terminal(
        [ROOT / "train.py", "--help"], 40, tmp_path, NO_COLOR="1", TERM="xterm-256color"
    )
    assert code == 0 and "n_layer" in shown
    assert not COLOUR.search(shown)


@pytest.mark.slow
def test_a_run_without_any_output(place):
    """As a scheduler may start it: stdin, stdout and stderr are closed."""
    argv = [sys.executable, str(ROOT / "train.py"), *SHAPE, "--dataset=./die Daten", "--out_dir=stumm"]
    done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *argv], cwd=place)
    assert done.returncode == 0
    assert (place / "stumm" / "checkpoint" / "best").is_dir()


@pytest.mark.slow
def test_text_and_pages_in_an_odd_folder(place):
    run_python(ROOT / "train.py", *SHAPE, "--dataset=./die Daten", "--out_dir=Läufe/eins", cwd=place)
    shown = run_python(
        ROOT / "sample.py", "Läufe/eins", "--max_new_tokens=5", "--prompt=de", cwd=place
    ).stdout
    assert shown.startswith("de")
    argv = [ROOT / "compare.py", "Läufe/eins", "--page", "die Seite.html"]
    run_python(*argv, cwd=place, env=os.environ | {"PYTHONIOENCODING": "utf-8", "COLUMNS": "40"})
    assert (place / "die Seite.html").is_file()
