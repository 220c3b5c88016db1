"""Runs that are killed, stopped and starved, each process a fork of a process that has torch in memory."""

import contextlib
import itertools
import json
import math
import mmap
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import train
from reslab.run import checkpoint
from reslab.run.config import run_door
from reslab.run.log import read_run
from reslab.training import loop
from reslab.training.step import train_step

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR2]
SIGNALS += [signal.SIGXCPU, signal.SIGABRT]
LIMIT = 300  # seconds that anything may take to end: where many share the cores, an import takes 20
CLOCK = {"elapsed_s", "tokens_per_s", "mfu"}
SHAPE = "--n_layer=2 --n_head=2 --n_embd=16 --block_size=16 --eval_sequences=8 --device=cpu --warmup_iters=2"
# Everything that draws random numbers or keeps state between updates is on.
FULL = f"{SHAPE} --batch_size=4 --gradient_accumulation_steps=2 --dropout=0.1 --log_interval=1"


class TrainProcess:
    """One train.py in a forked process, whose step and saves stand in shared memory."""

    def __init__(self, argv: list[str], output: Path, before=lambda process: None):
        self.shared = mmap.mmap(
            -1, 24
        )  # byte 0: inside a save; then the step, the step saved, and saves done
        self.output = output
        self.pid = os.fork()
        if self.pid:
            return
        code = 70
        try:
            sys.stdout = sys.stderr = self.output.open("w", encoding="utf-8")
            sys.argv = ["train.py", *argv]
            self._watch()
            before(self)
            run_door(lambda _: train.main(argv))
        except SystemExit as end:
            code = end.code
        finally:
            sys.stdout.flush()
            os._exit(code)

    def _watch(self) -> None:
        save = loop.save

        def marked_save(state, *args, **more):
            self.shared[0] = 1
            save(state, *args, **more)
            self.shared[0] = 0
            self._set(1, state.step)
            self._set(2, self.number(2) + 1)

        def counted_step(state, *rest):
            self._set(0, state.step)
            return train_step(state, *rest)

        loop.save, loop.train = marked_save, partial(loop.train, step=counted_step)

    @property
    def in_save(self) -> bool:
        return self.shared[0] == 1

    def number(self, which: int) -> int:
        """0: the step whose update was begun last; 1: the step saved last; 2: saves done."""
        return int.from_bytes(self.shared[4 + 4 * which : 8 + 4 * which], "little")

    def _set(self, which: int, value: int) -> None:
        self.shared[4 + 4 * which : 8 + 4 * which] = value.to_bytes(4, "little")

    def wait(self, limit: float = LIMIT) -> int:
        """The exit code; minus the signal's number when one ended it. AssertionError after `limit` s."""
        end = time.monotonic() + limit
        while not (ended := os.waitpid(self.pid, os.WNOHANG))[0]:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise AssertionError(f"does not end within {limit} s: {self.messages()[-2000:]}")
            time.sleep(0.005)
        return os.waitstatus_to_exitcode(ended[1])

    def messages(self) -> str:
        return self.output.read_text(encoding="utf-8")


def record(folder: Path) -> tuple[list[dict], bytes, bytes]:
    """What must be the same, bit for bit: rows without the clock, the final weights and the best."""
    rows = [{k: v for k, v in row.items() if k not in CLOCK} for row in read_run(folder).rows]
    return rows, *((folder / "checkpoint" / n / "model.safetensors").read_bytes() for n in ("last", "best"))


def kills(dataset: Path, folder: Path, count: int, steps: int = 40, seed: int = 0) -> dict:
    """SIGKILL `count` times, at least half inside a save; each run that ends equals the one left alone."""
    draw = random.Random(seed)
    argv = [*FULL.split(), f"--dataset={dataset}", f"--max_iters={steps}", "--eval_interval=3"]
    began = time.perf_counter()
    assert TrainProcess([*argv, f"--out_dir={folder}/whole"], folder / "messages").wait() == 0
    takes, expected = time.perf_counter() - began, record(folder / "whole")
    dead = inside = runs = starts = 0
    half = (count + 1) // 2
    while dead < count or inside < half:
        run, code, runs, saves = folder / f"run{runs}", None, runs + 1, 0
        while code != 0:
            resume = ["--resume"] if (run / "config.json").exists() else []
            in_save = inside < half and (draw.random() < 0.6 or dead >= count)
            enough = dead >= count and inside >= half
            killer = _killer(draw, takes, in_save, enough)
            process = TrainProcess([*argv, f"--out_dir={run}", *resume], folder / "messages", killer)
            code, starts = process.wait(), starts + 1
            assert code in (0, -signal.SIGKILL), process.messages()
            dead += code != 0
            inside += code != 0 and process.in_save
            saves += process.number(2)
            assert not saves or checkpoint.find(run / "checkpoint" / "last"), f"{run}: nothing whole is left"
        assert record(run) == expected, f"{run} differs"
    return {"kills": dead, "inside a save": inside, "runs": runs, "starts": starts, "bitwise equal": runs}


def _killer(draw: random.Random, takes: float, in_save: bool, never: bool):
    """What ends a process: a clock that it starts, from its start or from the start of a save."""
    after, which = draw.random(), draw.randrange(1, 4)

    def arm(process: TrainProcess) -> None:
        def end(seconds):
            time.sleep(seconds)
            os.kill(os.getpid(), signal.SIGKILL)

        if never:
            return
        if not in_save:
            threading.Thread(target=end, args=(after * takes,), daemon=True).start()
            return
        save, saves = loop.save, []

        def deadly_save(*args, **more):
            saves.append(time.perf_counter())
            if len(saves) == which:
                threading.Thread(target=end, args=(after * 0.03,), daemon=True).start()
            save(*args, **more)

        loop.save = deadly_save

    return arm


def signals(dataset: Path, folder: Path, count: int, seed: int = 0) -> dict:
    """SIGNALS at random instants: the exit code, the step that is saved, the message."""
    draw, most, starts = random.Random(seed), 0, 0
    argv = [*FULL.split(), f"--dataset={dataset}", "--max_iters=100000", "--eval_interval=7"]
    for number in range(count):
        run, sent = folder / f"run{number}", SIGNALS[number % len(SIGNALS)]
        process = TrainProcess([*argv, f"--out_dir={run}"], folder / "messages")
        while process.number(0) < 1:
            time.sleep(0.01)
        time.sleep(draw.random() * 0.2)
        at = process.number(0)
        os.kill(process.pid, sent)
        assert process.wait() == 128 + sent, process.messages()
        state = checkpoint.load_state(checkpoint.find(run / "checkpoint" / "last"))
        most, starts = max(most, state["step"] - 1 - at), starts + 1
        assert "saved; go on with: python train.py --n_layer=2" in process.messages()
        assert process.messages().rstrip().endswith("--resume")
    return {"signals": starts, "updates begun after the signal, at most": most}


def full_disks(dataset: Path, folder: Path, count: int, seed: int = 0) -> dict:
    """A disk that ends at a random byte of a save: a tmpfs where it can be mounted, else a limit on files."""
    draw, small = random.Random(seed), folder / "small disk"
    small.mkdir()
    argv = [*FULL.split(), f"--dataset={dataset}", "--max_iters=400", "--eval_interval=2"]
    mounted = survived = 0
    for number in range(count):
        mount = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(small)]
        on_tmpfs = subprocess.run(mount, capture_output=True).returncode == 0
        try:
            run = (small if on_tmpfs else folder) / f"run{number}"
            starve = _starver(small / "filler" if on_tmpfs else None, draw.randrange(500, 100_000))
            process = TrainProcess([*argv, f"--out_dir={run}"], folder / "messages", starve)
            code, mounted = process.wait(), mounted + on_tmpfs
            errors = [line for line in process.messages().splitlines() if not line.startswith("step")]
            assert code == 1 and len(errors) == 1 and "can't be " in errors[0], (code, process.messages())
            checkpoint_dir = checkpoint.find(run / "checkpoint" / "last")
            survived += checkpoint.load_state(checkpoint_dir)["step"] == process.number(1) == 4
        finally:
            if on_tmpfs:
                subprocess.run(["umount", str(small)], check=True)
    return {"full disks": count, "of them a tmpfs": mounted, "former checkpoint whole": survived}


def _starver(filler: Path | None, room: int):
    """Before the fourth save, leave `room` bytes: on the disk that filler fills, or to any file."""

    def arm(process: TrainProcess) -> None:
        save = loop.save

        def starved(*args, **more):
            if process.number(2) == 3 and filler is None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
            elif process.number(2) == 3:
                with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
                    while file.write(b"x" * 4096):
                        pass
                os.truncate(filler, filler.stat().st_size - room)
            save(*args, **more)

        loop.save = starved

    return arm


def soak(dataset: Path, folder: Path, steps: int, evals: int) -> dict:
    """One process, many updates, evaluations and saves: what grows?"""
    shape = "--n_layer=1 --n_head=1 --n_embd=8 --block_size=8 --batch_size=1 --eval_sequences=2 --device=cpu"
    argv = [*shape.split(), f"--dataset={dataset}", f"--max_iters={steps}", "--warmup_iters=0"]
    argv += [f"--eval_interval={steps // evals}", "--log_interval=1000", f"--out_dir={folder}/soak"]
    samples = folder / "samples.jsonl"

    def sample(process_number):
        unsampled = loop.evaluate_and_save

        def sampled(state, *rest):
            if state.step % (steps // 20) == 0:
                pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
                files = len(list(Path("/proc/self/fd").iterdir()))
                row = [state.step, pages * resource.getpagesize(), files, time.process_time()]
                with samples.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
            return unsampled(state, *rest)

        loop.evaluate_and_save = sampled

    process = TrainProcess(argv, folder / "messages", sample)
    assert process.wait(math.inf) == 0, process.messages()
    rows = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    paces = [(b[3] - a[3]) / (b[0] - a[0]) * 1e3 for a, b in itertools.pairwise(rows)]
    evaluations = [row for row in read_run(folder / "soak").rows if "val/loss" in row]
    return {
        "updates": steps,
        "evaluations": len(evaluations),
        "saves": process.number(2),
        "memory at 10% and 100%, MB": [round(rows[2][1] / 1e6, 1), round(rows[-1][1] / 1e6, 1)],
        "open files at 10% and 100%": [rows[2][2], rows[-1][2]],
        "CPU ms per update, first and last fifth": [
            round(sum(part) / len(part), 3) for part in (paces[1:5], paces[-4:])
        ],
    }
