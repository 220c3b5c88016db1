"""Ways in which a run ends that is not done: what is lost, and what becomes of the children of a parent."""

import fcntl
import itertools
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from reslab.run import checkpoint
from reslab.run.lock import exclusive_lock
from reslab.system import cluster

from .restarts import FULL, LIMIT, SHAPE, SIGNALS, TrainProcess

ROOT = Path(__file__).resolve().parents[2]
LONG = "--max_iters=100000 --eval_interval=25 --sample_tokens=20"
PARENT_ENDS = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGKILL"]


def lost_updates(dataset: Path, folder: Path, count: int, minutes: float = math.inf, seed: int = 0) -> dict:
    """Each way `count` times at a random instant of a run; of each, the most updates that were lost.

    Args:
        minutes: after them no other round of all ways is begun.
    """
    draw = random.Random(seed)
    ways = {signal.Signals(number).name: _by_signal(number) for number in SIGNALS}
    ways |= {"terminal closed": _by_terminal, "data overwritten": _by_data}
    ways |= {"stdout on a full disk": _by_full_disk, "reader of stdout gone": _by_pipe}
    most, done = dict.fromkeys(ways, 0), 0
    for number in _rounds(count, minutes):
        for name, way in ways.items():
            place = folder / f"{name} {number}"
            most[name] = max(most[name], way(dataset, place, draw.random() * 0.5))
            shutil.rmtree(place)
        done += 1
    return {"instants of each": done, "updates lost, at most": most}


def _rounds(count: int, minutes: float) -> Iterator[int]:
    """0 to count - 1, of which all after the first are begun within some minutes."""
    end = time.monotonic() + 60 * minutes
    yield from itertools.takewhile(lambda number: not number or time.monotonic() < end, range(count))


def _start(dataset: Path, folder: Path, output: Path | None = None, before=lambda process: None):
    folder.mkdir()
    argv = [*FULL.split(), *LONG.split(), f"--dataset={dataset}", f"--out_dir={folder}/run"]
    return TrainProcess(argv, output or folder / "messages", before)


def _begun(process: TrainProcess, wait: float) -> int:
    """The update that was begun last, a while after the first one."""
    while process.number(0) < 1:
        time.sleep(0.005)
    time.sleep(wait)
    return process.number(0)


def _lost(folder: Path, begun: int) -> int:
    """Updates that were done before the one that was begun, and are not saved."""
    return max(0, begun - _saved(folder / "run"))


def _by_signal(number: int):
    def way(dataset: Path, folder: Path, wait: float) -> int:
        process = _start(dataset, folder)
        begun = _begun(process, wait)
        os.kill(process.pid, number)
        assert process.wait() == 128 + number, process.messages()
        assert "saved; go on with: python train.py" in process.messages()
        return _lost(folder, begun)

    return way


def _by_terminal(dataset: Path, folder: Path, wait: float) -> int:
    """The window is closed: the terminal hangs up, and nothing can be printed any more."""
    master, slave = os.openpty()
    name = os.ttyname(slave)

    def own_terminal(process):
        os.close(master)
        os.setsid()
        fcntl.ioctl(os.open(name, os.O_RDWR), termios.TIOCSCTTY, 0)

    process = _start(dataset, folder, Path(name), own_terminal)
    os.close(slave)
    threading.Thread(target=_drain, args=(master,), daemon=True).start()
    begun = _begun(process, wait)
    os.close(master)
    assert process.wait() == 128 + signal.SIGHUP
    return _lost(folder, begun)


def _drain(file: int) -> None:
    try:
        while os.read(file, 4096):
            pass
    except OSError:
        pass


def _by_data(dataset: Path, folder: Path, wait: float) -> int:
    """The training split gets other bytes under the run."""
    copy = folder.with_name("data")
    shutil.copytree(dataset, copy, dirs_exist_ok=True)
    process = _start(copy, folder)
    begun = _begun(process, wait)
    (copy / "train.bin").write_bytes((copy / "train.bin").read_bytes()[::-1])
    assert process.wait() == 2, process.messages()
    assert "changed while a run reads it" in process.messages()
    return _lost(folder, begun)


def _by_full_disk(dataset: Path, folder: Path, wait: float) -> int:
    """From an instant on, what stdout and stderr go to takes nothing more; then the run is asked to end."""

    def fill(process):
        def later():
            _begun(process, wait)
            full = os.open("/dev/full", os.O_WRONLY)
            for stream in (sys.stdout.fileno(), 1, 2):
                os.dup2(full, stream)

        threading.Thread(target=later, daemon=True).start()

    process = _start(dataset, folder, None, fill)
    begun = _goes_on(process, wait)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    return _lost(folder, begun)


def _by_pipe(dataset: Path, folder: Path, wait: float) -> int:
    """The reader of stdout and stderr goes; later the run is asked to end."""
    reader, writer = os.pipe()

    def only_writer(process):
        os.close(reader)

    process = _start(dataset, folder, Path(f"/dev/fd/{writer}"), only_writer)
    os.close(writer)
    _begun(process, wait)
    os.close(reader)
    begun = _goes_on(process, 0)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 128 + signal.SIGTERM
    return _lost(folder, begun)


def _goes_on(process: TrainProcess, wait: float) -> int:
    """The update begun last, after two further evaluations, which print."""
    goal = _begun(process, wait) + 60
    while process.number(0) < goal:
        assert os.waitpid(process.pid, os.WNOHANG) == (0, 0), "a failed print ended the run"
        time.sleep(0.01)
    return process.number(0)


class NotRunError(Exception):
    """This machine lacks what a row needs; what was measured of it before stays."""


def ended_on_ray(dataset: Path, folder: Path, count: int, minutes: float = math.inf) -> dict:
    """ended_parents() with trainings in workers of a Ray that the parent starts.

    Raises:
        NotRunError: there is no Ray here.
    """
    if reason := cluster.missing():
        raise NotRunError(reason)
    os.environ.setdefault("RAY_worker_niceness", "0")  # where many share the cores they would hardly begin
    return ended_parents(dataset, folder, count, minutes, how="--ray=local")


def ended_parents(
    dataset: Path, folder: Path, count: int, minutes: float = math.inf, seed: int = 0, how: str = "--jobs=2"
) -> dict:
    """compare.py with two trainings at a time, ended `count` times in each way at random instants.

    Every second instant is drawn from the first update of both trainings on, the others from that of one, so
    that the other may still be starting. The same command goes on after each; a grid that is done is followed
    by a new one.

    Args:
        minutes: after them no other round of all ways is begun.
        how: the option by which compare.py trains two at a time.
    """
    draw, most, done = random.Random(seed), dict.fromkeys(PARENT_ENDS, 0), 0
    grids, finished = dict.fromkeys(PARENT_ENDS, 0), 0
    for name in PARENT_ENDS:
        (folder / name).mkdir()
        (folder / name / "made.py").write_text("max_iters = 1000\n", encoding="utf-8")
    for number in _rounds(count, minutes):
        for name in PARENT_ENDS:
            ready, sent, lost = all if number % 2 else any, getattr(signal, name), None
            while lost is None:
                command = _grid(dataset, grids[name], how)
                lost = _end_parent(command, folder / name, sent, ready, draw.random())
                grids[name] += lost is None
            most[name] = max(lost, most[name])
        done += 1
    for name in PARENT_ENDS:
        command = _grid(dataset, grids[name], how)
        last = subprocess.run(command, cwd=folder / name, capture_output=True, text=True)
        assert last.returncode == 0, last.stdout + last.stderr
        finished += grids[name] + 1
    ends = {"instants of each": done, "grids finished by the same command": finished}
    return ends | {"children left": 0, "their updates lost, at most": most}


def _grid(dataset: Path, number: int, how: str) -> list[str]:
    """The command of a grid of two trainings."""
    command = [sys.executable, str(ROOT / "compare.py"), "made.py", *SHAPE.split(), f"--dataset={dataset}"]
    command += [how, "--arms=pre,none", "--eval_interval=250", "--log_interval=1", "--sample_tokens=0"]
    return [*command, f"--out_dir=grid{number}"]


def _end_parent(command: list[str], place: Path, number: int, ready, wait: float) -> int | None:
    """End a parent a while after its children have made updates; the most that one of them lost. None where
    it was done before."""
    runs = [place / command[-1].partition("=")[2] / f"{arm}-L2-s1337" for arm in ("pre", "none")]
    before = [_updates(run) for run in runs]
    with (place / "told").open("w+", encoding="utf-8") as told:
        parent = subprocess.Popen(command, cwd=place, stdout=told, stderr=told)
        while not ready(_updates(run) > old for run, old in zip(runs, before, strict=True)):
            if parent.poll() is not None:
                break
            time.sleep(0.02)
        time.sleep(wait)
        parent.send_signal(number)
        code = parent.wait(LIMIT)
        told.seek(0)
        if code == 0:
            return None
        assert code == (-number if number == signal.SIGKILL else 128 + number), told.read()
    end = time.monotonic() + LIMIT
    for run in runs:
        while _is_locked(run):  # after SIGKILL the kernel asks the children to end, and nobody waits for them
            assert number == signal.SIGKILL and time.monotonic() < end, f"{run}: its training lives"
            time.sleep(0.05)
    return max(_updates(run) - _saved(run) for run in runs)


def _is_locked(run: Path) -> bool:
    try:
        with exclusive_lock(run, "looking"):
            return False
    except ValueError:
        return True


def _updates(run: Path) -> int:
    """Updates that are logged, one in a row."""
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b'"batch/loss"') if log.exists() else 0


def _saved(run: Path) -> int:
    last = checkpoint.find(run / "checkpoint" / "last")
    return checkpoint.load_state(last)["step"] if last else 0
