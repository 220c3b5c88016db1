"""The first hour with a GPU: does everything run, how fast is it, and what does it learn.

    python benchmarks/gpu.py --nanogpt ../nanoGPT      everything, in the order of what is learned first
    python benchmarks/gpu.py --only run                the steps whose names begin so; --list names all
    python benchmarks/gpu.py --rehearse                the same steps in tiny shapes on a CPU

A step is a process of its own under a time limit; one that fails or hangs does not stop the next. Steps that
are not timed, those of `run`, go several at once (--jobs); each of the others has the GPU alone. The result
of each is written to runs/gpu/gpu.json as soon as it is there, its output to runs/gpu/STEP.log. A
second call goes on: what succeeded at the same commit is kept. Other --key=value go to train.py, compare.py.
"""

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from reslab.residual import WIRINGS
from reslab.run import config as configure
from reslab.run.arguments import ArgumentParser
from reslab.run.log import git_commit, read_run, write_atomically
from reslab.system.device import DTYPES

ROOT = Path(__file__).resolve().parents[1]
COMPLAINTS = ("warning:", "compile:", "cuda_graph:")  # so begins a line that tells what a run goes without
KINDS = ("pre", "x0", "hyper", "dense", "attention_residual")  # one wiring for each way of compiling
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=1"]
TINY = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "max_iters": 4}
TINY |= {"warmup_iters": 1, "eval_interval": 2, "eval_sequences": 6, "sample_tokens": 4, "probe_sequences": 2}


@dataclass(frozen=True)
class Step:
    name: str
    argv: list[str]
    """What comes after `python`."""
    limit_s: int
    run: Path | None = None
    """The run directory whose last numbers are the result."""
    table: Path | None = None
    """The JSON file that is the result."""
    after: str = ""
    """The step that writes what this one reads, where it is not enough that it stands earlier."""

    @property
    def timed(self) -> bool:
        """Whether it needs the machine for itself."""
        return not self.name.startswith("run-")


class Plan:
    """All steps, in order.

    Args:
        folder: where runs and tables go.
        nanogpt: a checkout to measure beside ours, or None.
        tiny: shapes for a CPU.
        settings: further arguments for train.py and compare.py.
    """

    def __init__(self, folder: Path, nanogpt: str | None, tiny: bool, settings: list[str]):
        self.folder, self.nanogpt, self.tiny, self.settings = folder, nanogpt, tiny, settings
        self.steps = []
        self.everything_runs()
        self.speed()
        self.learning()

    def train(self, name: str, config: str, *args: str, limit_s: int, launch=()) -> None:
        """Add a run of train.py."""
        folder = self.folder / name
        argv = [*launch, "train.py", config, *self.shape(*args), f"--out_dir={folder}", "--overwrite"]
        self.steps.append(Step(name, argv, limit_s, run=folder))

    def resume(self, name: str, run: str, until: int, *args: str, limit_s: int, launch=()) -> None:
        """Add a step that goes on with the run of another one, up to so many updates."""
        folder = self.folder / run
        until = f"--max_iters={until // 5 if self.tiny else until}"
        argv = [*launch, "train.py", "config/smoke.py", *self.shape(*args), until, f"--out_dir={folder}"]
        argv.append("--resume")
        self.steps.append(Step(name, argv, limit_s, run=folder, after=run))

    def compare(self, name: str, config: str, *args: str, limit_s: int) -> None:
        table, page = (self.folder / f"{name}.{kind}" for kind in ("json", "html"))
        options = [f"--out_dir={self.folder / name}", "--json", str(table), "--page", str(page)]
        argv = ["compare.py", config, *self.shape(*args), *options]
        self.steps.append(Step(name, argv, limit_s, table=table))

    def bench(self, case: str, rehearsed: str, limit_s: int) -> None:
        """Add a case of bench.py; `rehearsed` is the one that stands in for it on a CPU."""
        table = self.folder / f"speed-{case}.json"
        argv = ["bench.py", "--only", rehearsed if self.tiny else case, "--out", str(table)]
        argv += ["--quick"] if self.tiny else []
        argv += ["--peer", f"nanogpt={self.nanogpt}"] if self.nanogpt else []
        self.steps.append(Step(f"speed-{case}", argv, limit_s, table=table))

    def shape(self, *args: str) -> list[str]:
        """Settings; in a rehearsal the tiny ones win over those of a size."""
        if not self.tiny:
            return [*args, *self.settings]
        others = [word for word in args if word.partition("=")[0].removeprefix("--") not in TINY]
        return [*others, *(f"--{key}={value}" for key, value in TINY.items()), *self.settings]

    def everything_runs(self) -> None:
        """Every precision, compiled and not, every wiring, what is saved, and torchrun."""
        smoke = "config/smoke.py"
        for dtype in DTYPES:
            for compiled in ("False",) if dtype == "float64" or self.tiny else ("False", "True"):
                argv = [f"--dtype={dtype}", f"--compile={compiled}"]
                self.train(f"run-{dtype}-compile-{compiled}", smoke, *argv, limit_s=180)
        self.resume("run-resume", "run-float32-compile-False", 30, "--dtype=float32", limit_s=120)
        half = ["--dtype=float16", "--compile=False"]
        self.resume("run-resume-in-float16", "run-bfloat16-compile-False", 30, *half, limit_s=120)
        sample = ["sample.py", str(self.folder / "run-float32-compile-False"), "--max_new_tokens", "50"]
        self.steps.append(Step("run-sample", sample, 120, after="run-resume"))
        trained, other = (str(self.folder / f"run-{name}-compile-False") for name in ("bfloat16", "float32"))
        self.steps.append(Step("run-autopsy", ["autopsy.py", trained], 120, after="run-resume-in-float16"))
        compare = ["compare.py", trained, other, "--page", str(self.folder / "compare.html")]
        self.steps.append(Step("run-compare", compare, 120, after="run-autopsy"))
        for wiring in ("none", "hyper") if self.tiny else WIRINGS:
            argv = [f"--residual={wiring}", "--max_iters=6", "--compile=False"]  # the last are recorded
            self.train(f"run-{wiring}", smoke, *argv, limit_s=120)
        for wiring in () if self.tiny else KINDS:
            argv = [
                f"--residual={wiring}",
                "--eval_sequences=20",
                "--compile=True",
            ]  # 20 at 8: a last one of 4
            self.train(f"run-{wiring}-compiled", smoke, *argv, limit_s=240)
        again = ["--activation_checkpointing=True"]
        self.train("run-activation-checkpointing", smoke, *again, limit_s=180)
        if not self.tiny:  # which has too few updates to be traced
            self.train("run-profile", smoke, "--profile=True", "--compile=False", limit_s=180)
        for shard in ("none", "fsdp"):
            argv, name = [f"--shard={shard}"], f"run-torchrun-{shard}"
            self.train(name, smoke, *argv, launch=TORCHRUN, limit_s=240)
            self.resume(f"{name}-resume", name, 30, *argv, launch=TORCHRUN, limit_s=240)

    def speed(self) -> None:
        """124M parameters over 1024 tokens, and 48 layers width 384, beside nanoGPT; then ours alone."""
        self.bench("gpt2", "step-4L128", limit_s=900)
        if self.tiny:
            return
        for case in ("48L384", "sample-1", "sample-8", "loss", "probe", "growth"):
            self.bench(case, "", limit_s=900)

    def learning(self) -> None:
        """nanoGPT's 1.4697 on tiny Shakespeare; 48 and 1000 layers; the study, width 512."""
        if not self.tiny:
            prepare = ["data/shakespeare_char/prepare.py"]
            self.steps.append(Step("learn-prepare", prepare, 300))
            self.bench("shakespeare", "", limit_s=1200)
        self.train("learn-nanogpts-recipe", "config/nanogpt_shakespeare_char.py", limit_s=1200)
        self.compare("learn-shakespeare", "config/shakespeare_char.py", "--seeds", "3", limit_s=1200)
        shape = ["--arms", "pre,none", "--n_embd=384", "--n_head=6", "--block_size=256", "--batch_size=32"]
        self.compare("learn-deep", "config/deep.py", *shape, limit_s=1200)
        if not self.tiny:
            self.bench("1000L", "", limit_s=600)
        shape = ["--arms", "depth_mup,none", "--n_embd=256", "--n_head=4"]
        shape += ["--block_size=256", "--batch_size=32"]
        self.compare("learn-thousand", "config/thousand.py", *shape, "--max_iters=500", limit_s=2400)
        study = "config/smoke.py" if self.tiny else "config/study_gpu.py"
        shape = ["--n_embd=512", "--n_head=8", "--jobs", "2" if self.tiny else "4"]
        self.compare("learn-study", study, *shape, limit_s=3600)


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
        try:
            code = process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            end(process)
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
    return {key: run.last(key) for key in keys} | {key: run.facts[key] for key in ("device", "dtype")}


def main(argv: list[str]) -> int:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--nanogpt", metavar="PATH", help="a checkout to measure beside ours")
    parser.add_argument("--only", metavar="NAME,...", default="", help="steps whose names begin so")
    parser.add_argument("--list", action="store_true", help="print the steps and stop")
    parser.add_argument("--rehearse", action="store_true", help="tiny shapes on a CPU")
    parser.add_argument("--jobs", type=int, default=4, metavar="N", help="steps at once, of those not timed")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the result goes")
    args, settings = parser.parse_known_args(argv)
    if not (args.rehearse or args.list or torch.cuda.is_available()):
        raise configure.UsageError("torch sees no CUDA GPU here; try the steps on a CPU with --rehearse")
    folder = Path("runs/gpu-rehearsal" if args.rehearse else "runs/gpu")
    out = (args.out or folder / "gpu.json").resolve()
    folder = out.parent / "gpu-rehearsal" if args.rehearse and args.out else folder
    nanogpt = str(Path(args.nanogpt).resolve()) if args.nanogpt else None
    steps = Plan(folder, nanogpt, args.rehearse, settings).steps
    chosen = [step for step in steps if step.name.startswith(tuple(args.only.split(",")))]
    if not chosen:
        raise configure.UsageError(f"--only={args.only}: no such step; --list names all")
    if args.list:
        print("\n".join(f"{step.name:28} python {' '.join(step.argv)}" for step in chosen))
        return 0
    if args.jobs < 1:
        raise configure.UsageError(f"--jobs={args.jobs}: must be at least 1")
    return go(chosen, ROOT / folder, out, args.rehearse, args.jobs)


def go(steps: list[Step], folder: Path, out: Path, on_cpu: bool, jobs: int = 1) -> int:
    """Do the steps and write the result after each; returns 0 when all have succeeded."""
    for needed in (folder, out.parent):
        needed.mkdir(parents=True, exist_ok=True)
    report = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"steps": {}}
    report["device"] = "cpu" if on_cpu else torch.cuda.get_device_name()
    report["torch"] = torch.__version__
    environment = os.environ | ({"CUDA_VISIBLE_DEVICES": ""} if on_cpu else {})
    begun, writing, done = {}, Lock(), count(1)

    def do(step: Step) -> None:
        if step.after in begun:  # which stands before this one, so it has a worker already
            begun[step.after].result()
        record = report["steps"].get(step.name, {})
        if not (record.get("ok") and record["commit"] == git_commit()):
            record = perform(step, folder / f"{step.name}.log", environment)
        with writing:
            report["steps"][step.name] = record
            write_atomically(out, json.dumps(report, indent=1) + "\n")
            fault = "" if record["ok"] else f"   FAILED ({record['exit_code']}): {record['last_line']:.200}"
            told = f"{step.name:28} {record['seconds']:7.1f} s{fault}"
            print(f"[{next(done)}/{len(steps)}] {told}", flush=True)

    with ThreadPoolExecutor(jobs) as pool:
        for step in steps:
            if not step.timed:
                begun[step.name] = pool.submit(do, step)
        for future in begun.values():
            future.result()
    for step in steps:
        if step.timed:
            do(step)
    failed = [step.name for step in steps if not report["steps"][step.name]["ok"]]
    print(f"{len(steps) - len(failed)} of {len(steps)} steps succeeded; {out}")
    return 1 if failed else 0


if __name__ == "__main__":
    configure.run_door(main)
