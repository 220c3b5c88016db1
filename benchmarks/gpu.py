"""The first hour with a GPU: does everything run, how fast is it, and what does it learn.

    python benchmarks/gpu.py --nanogpt ../nanoGPT      everything, in the order of what is learned first
    python benchmarks/gpu.py --only run                the steps whose names begin so; --list names all
    python benchmarks/gpu.py --rehearse                the same steps in tiny shapes on a CPU

A step is a process of its own under a time limit; one that fails or hangs does not stop the next. Steps that
are not timed, those of `run`, go several at once (--jobs); each of the others has the GPU alone. The result
of each is written to runs/gpu/gpu.json as soon as it is there, its output to runs/gpu/STEP.log. All have
fifty minutes, and those of `speed` ten: what no longer fits is skipped, and the result says so. A second
call goes on: what succeeded at the same commit is kept. Other --key=value go to train.py, compare.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from threading import Event, Lock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.gpu_plan import Plan, Step
from benchmarks.machine import earlier_result
from reslab.run import config as configure
from reslab.run.arguments import ArgumentParser, at_least, output_file
from reslab.run.children import on_ending_signals, raise_interrupted
from reslab.run.fields import short
from reslab.run.files import write_atomically
from reslab.run.log import git_commit, read_run
from reslab.run.options import nanogpt_fault

ROOT = Path(__file__).resolve().parents[1]
COMPLAINTS = ("warning:", "compile:", "cuda_graph:")  # so begins a line that tells what a run goes without
RUNNING: set[subprocess.Popen] = set()
ALL_S, SPEED_S = 3000, 600  # for all steps, and for those of speed
LEAST_S = 30  # no step says anything in less: torch and a GPU's library have to be loaded


class Budget:
    """How much time is left. Steps of speed, each of which has the machine for itself, also share theirs."""

    def __init__(self):
        self.ends, self.speed_s = time.monotonic() + ALL_S, SPEED_S

    def do(self, step: Step, log: Path, environment: dict) -> dict:
        """Do a step in the time that is left for it, or skip it; returns what is written down of it."""
        is_speed = step.name.startswith("speed-")
        left = min(self.ends - time.monotonic(), self.speed_s if is_speed else ALL_S)
        if left < LEAST_S:
            return {"ok": False, "skipped": True, "seconds": 0.0, "last_line": "skipped: no time is left"}
        record = perform(replace(step, limit_s=min(step.limit_s, int(left))), log, environment)
        self.speed_s -= is_speed * record["seconds"]
        return record


def perform(step: Step, log: Path, environment: dict) -> dict:
    """Do a step, whatever becomes of it; returns what is written down of it."""
    begin = time.monotonic()
    if step.table:
        step.table.unlink(missing_ok=True)  # an earlier attempt's
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(
            [sys.executable, *step.argv],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that what it starts can be ended with it
        )
        RUNNING.add(process)
        try:
            code = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
            RUNNING.discard(process)
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or [""]
    record = {"ok": code == 0, "exit_code": code, "seconds": round(time.monotonic() - begin, 1)}
    record |= {"command": " ".join(["python", *step.argv]), "commit": git_commit(), "last_line": lines[-1]}
    if code is None:
        record["last_line"] = f"not done within {step.limit_s} s; {lines[-1]}"
    if step.run and (complaints := [line for line in lines if line.startswith(COMPLAINTS)]):
        record |= {"ok": False, "last_line": complaints[0]}
    try:
        return record | {"result": result(step)}
    except (OSError, ValueError, KeyError) as error:
        return record | {"ok": False, "result": f"{type(error).__name__}: {error}"}


def end(process: subprocess.Popen) -> None:
    """End a step and all that it started: with time to save, then at once."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(20)
        except ProcessLookupError:  # nothing of it is left
            return
        except subprocess.TimeoutExpired:
            continue


def result(step: Step):
    """What a step has measured."""
    if step.table:
        return json.loads(step.table.read_text(encoding="utf-8"))
    if not step.run:
        return None
    run = read_run(step.run)
    keys = ("step", "status", "val/loss", "batch/loss", "tokens_per_s", "mfu")
    return {key: run.last(key) for key in keys} | {
        key: run.facts[key] for key in ("device", "dtype", "strategy")
    }


def main(argv: list[str]) -> int:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--nanogpt", metavar="PATH", help="a checkout to measure beside ours")
    parser.add_argument("--only", metavar="NAME,...", default="", help="steps whose names begin so")
    parser.add_argument("--list", action="store_true", help="print the steps and stop")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU")
    parser.add_argument(
        "--jobs", type=at_least(1), default=4, metavar="N", help="steps at once, of those not timed"
    )
    parser.add_argument("--out", type=output_file, metavar="FILE", help="where the result goes")
    args, settings = parser.parse_known_args(argv)
    if stray := [word for word in settings if not word.startswith("--")]:
        raise configure.UsageError(f"{short(stray[0])}: no option; settings are --key=value")
    if args.nanogpt and (fault := nanogpt_fault(args.nanogpt)):
        raise configure.UsageError(f"--nanogpt={args.nanogpt}: {fault}")
    if not (args.rehearse or args.list or torch.cuda.is_available()):
        raise configure.UsageError("torch sees no CUDA GPU here; try the steps on a CPU with --rehearse")
    folder = Path("runs/gpu-rehearsal" if args.rehearse else "runs/gpu")
    out = (args.out or folder / "gpu.json").resolve()
    folder = out.parent / "gpu-rehearsal" if args.rehearse and args.out else folder
    nanogpt = str(Path(args.nanogpt).expanduser().resolve()) if args.nanogpt else None
    steps = Plan(folder, nanogpt, args.rehearse, settings).steps
    chosen = [step for step in steps if step.name.startswith(tuple(args.only.split(",")))]
    if not chosen:
        raise configure.UsageError(f"--only={args.only}: no such step; --list names all")
    if args.list:
        print("\n".join(f"{step.name:28} python {' '.join(step.argv)}" for step in chosen))
        return 0
    return go(chosen, ROOT / folder, out, args.rehearse, args.jobs)


def go(steps: list[Step], folder: Path, out: Path, on_cpu: bool, jobs: int = 1) -> int:
    """Do the steps and write the result after each; returns 0 when all have succeeded."""
    for needed in (folder, out.parent):
        needed.mkdir(parents=True, exist_ok=True)
    report = earlier_result(out, "benchmarks/gpu.py", "steps", "device")
    report["device"] = "cpu" if on_cpu else torch.cuda.get_device_name()
    report["torch"] = torch.__version__
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})
    writing, done, budget = Lock(), count(1), Budget()

    def do(step: Step) -> None:
        record = report["steps"].get(step.name, {})
        if not (record.get("ok") and record["commit"] == git_commit()):
            record = budget.do(step, folder / f"{step.name}.log", environment)
        with writing:
            report["steps"][step.name] = record
            write_atomically(out, json.dumps(report, indent=1) + "\n")
            failed = "" if record.get("skipped") else f"FAILED ({record['exit_code']}): "
            fault = "" if record["ok"] else f"   {failed}{record['last_line']:.200}"
            told = f"{step.name:28} {record['seconds']:7.1f} s{fault}"
            print(f"[{next(done)}/{len(steps)}] {told}", flush=True)

    with on_ending_signals(raise_interrupted):  # so that steps end with this program
        in_order(steps, do, jobs)
    failed = [step.name for step in steps if not report["steps"][step.name]["ok"]]
    print(f"{len(steps) - len(failed)} of {len(steps)} steps succeeded; {out}")
    return 1 if failed else 0


def in_order(steps: list[Step], do: Callable[[Step], None], jobs: int) -> None:
    """Do what is not timed so many at once, each after what it reads, and then the others, each alone."""
    begun, ended, pool = {}, Event(), ThreadPoolExecutor(jobs)

    def later(step: Step) -> None:
        if step.after in begun:  # which stands before this one, so it has a worker already
            begun[step.after].result()
        if not ended.is_set():
            do(step)

    try:
        for step in steps:
            if not step.timed:
                begun[step.name] = pool.submit(later, step)
        for future in begun.values():
            future.result()
        for step in steps:
            if step.timed:
                do(step)
    finally:  # Ctrl-C too
        ended.set()
        pool.shutdown(wait=False, cancel_futures=True)
        for process in list(RUNNING):
            end(process)
        pool.shutdown()


if __name__ == "__main__":
    configure.run_door(main)
