"""Starts the sides, lets them take turns, and turns seconds into medians and ratios."""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from reslab.data.folders import data_folder
from reslab.run.configfile import read_config_file
from reslab.run.fields import settings as known_settings
from reslab.run.settings import TrainConfig
from reslab.training.throughput import percent

ROOT = Path(__file__).resolve().parents[1]
NOISY = 0.15  # a ratio whose quartiles are further than this from their middle is not judged


class Worker:
    """A side in a process of its own. `ask` raises ValueError with the side's own words when it fails."""

    def __init__(self, argv: list[str], **environment):
        self.name, self.started = argv[0], time.time()
        command = [sys.executable, "-m", "benchmarks.worker", *argv]
        pipe, environment = subprocess.PIPE, os.environ | environment
        environment["RESLAB_DATA"] = str(data_folder())  # the worker has another current folder
        self.process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env=environment,
        )

    def ask(self, task: str, **arguments) -> dict:
        self.send(task, **arguments)
        return self.answer(task)

    def send(self, task: str, **arguments) -> None:
        """Give a task without waiting; answer() is called next."""
        self.process.stdin.write(json.dumps({"task": task} | arguments) + "\n")
        self.process.stdin.flush()

    def answer(self, task: str) -> dict:
        """What came of the task that was sent."""
        line = self.process.stdout.readline()
        answer = json.loads(line) if line else {"error": "the process ended (out of memory?)"}
        if "error" in answer:
            raise ValueError(f"{self.name}, {task}: {answer['error']}")
        return answer

    def stop(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Bench:
    """What the cases need.

    Args:
        peer: a checkout of nanoGPT, or None.
        quick: fewer turns, smaller cases.
        gpu: this machine has one.
        others: further sides of steps and texts: "transformers", "limit" (benchmarks/peers.py).
    """

    def __init__(self, peer: Path | None, quick: bool, gpu: bool, others: tuple[str, ...] = ()):
        self.peer, self.quick, self.gpu, self.others = peer, quick, gpu, others
        shakespeare = data_folder() / "shakespeare_char" / "meta.json"
        self.dataset = "shakespeare_char" if shakespeare.exists() else "stdlib"

    def start(self, side: str, **environment) -> Worker:
        return Worker([side] + ([str(self.peer)] if side == "nanogpt" else []), **environment)

    def in_turns(
        self,
        sides: dict,
        task: str,
        warm: int,
        seconds: float,
        batch: int = 1,
        tokens: int = 0,
        last: tuple[str, dict] | None = None,
    ) -> dict:
        """Seconds per step (or per text) of each side, in turns; each turn takes about `seconds`.

        Args:
            last: a task and its arguments that each side does at the end; its figures join the side's.

        A side that can't run here (no compiler, no memory) is left out, with its reason.
        """
        arguments = {"batch": batch, "count": tokens} if task == "sample" else {}
        workers, facts, failed = self.ready(sides, task, **({"count": warm} | arguments))
        counts = {}
        for name, once in self.asked(workers, failed, task, **({"count": 1} | arguments)).items():
            counts[name] = 1 if task == "sample" else max(1, math.ceil(seconds / once["s"]))
        turns = {name: [] for name in workers}
        for _ in range(3 if self.quick else 7):
            for name, worker in workers.items():
                took = worker.ask(task, **({"count": counts[name]} | arguments))["s"]
                turns[name].append(took / counts[name])
        summaries = {}
        for name, worker in workers.items():
            summaries[name] = summary(turns[name]) | {"peak_bytes": worker.ask("memory")["bytes"]}
            summaries[name] |= {k: v for k, v in facts[name].items() if k in ("dtype", "flops_per_token")}
        for name, answer in self.asked(workers, failed, last[0], **last[1]).items() if last else ():
            summaries[name] |= answer
        for worker in workers.values():
            worker.stop()
        return {"sides": summaries, "ratios": ratios(turns)} | ({"failed": failed} if failed else {})

    def asked(self, workers: dict, failed: dict, task: str, **arguments) -> dict:
        """What each worker answers; one that fails is stopped and left out, with its reason."""
        answers = {}
        for name, worker in list(workers.items()):
            try:
                answers[name] = worker.ask(task, **arguments)
            except ValueError as error:
                failed[name] = str(error)
                workers.pop(name).stop()
        return answers

    def ready(self, sides: dict, task: str, **arguments) -> tuple[dict, dict, dict]:
        """Workers that have built their side and done a task once, not timed: by name the workers, what
        building told, and why a side can't run here.

        With a GPU all do so at once: it is compiling, on a core each. On a CPU one after the other.
        """
        workers, facts, failed = {}, {}, {}
        for together in [list(sides)] if self.gpu else [[name] for name in sides]:
            started = {name: self.start(sides[name][0]) for name in together}
            for name, worker in started.items():
                worker.send("build", settings={"dataset": self.dataset} | sides[name][1])
                worker.send(task, **arguments)
            for name, worker in started.items():
                try:
                    facts[name] = worker.answer("build")
                    worker.answer(task)
                    workers[name] = worker
                except ValueError as error:
                    failed[name] = str(error)
                    worker.stop()
        return workers, facts, failed

    def fresh(self, sides: dict, task: str, rounds: int, cold: bool = False) -> dict:
        """Seconds of one task, each time in a new process, in turns; cold: nothing compiled is there yet."""
        turns = {name: [] for name in sides}
        for _ in range(rounds):
            for name, (side, settings) in sides.items():
                with tempfile.TemporaryDirectory() as cache:
                    worker = self.start(side, **({"TORCHINDUCTOR_CACHE_DIR": cache} if cold else {}))
                    settings = {"dataset": self.dataset} | settings
                    turns[name].append(worker.ask(task, settings=settings, started=worker.started)["s"])
                    worker.stop()
        return {name: summary(seconds) for name, seconds in turns.items()}

    def config(self, path: str) -> dict:
        """The settings of a config file."""
        return read_config_file(str(ROOT / path))

    def known(self, settings: dict) -> dict:
        """Those of the settings that train.py has."""
        return {k: v for k, v in settings.items() if k in known_settings(TrainConfig)}

    def table(self, case: dict) -> str:
        """A case for people: sides, ratios, and the other figures as they are."""
        lines = []
        for name, side in case.get("sides", {}).items():
            if "median_s" in side:
                memory = f"{side['peak_bytes'] / 2**20:8,.0f} MiB" if "peak_bytes" in side else ""
                rate = f"{side['tokens_per_s']:10,} tok/s" if "tokens_per_s" in side else ""
                mfu = f"  MFU {percent(side['mfu'])}" if "mfu" in side else ""
                spread = f"{side['median_s'] * 1e3:10.1f} ms (±{side['spread'] * 100:.0f}%)"
                lines.append(f"    {name:28}{spread:>20}{rate}{memory}  {side.get('dtype', '')}{mfu}")
            else:
                lines.append(
                    f"    {name:28}{side['s']:8.1f} s, {side['step']} steps, val {side['val_loss']:.4f}"
                )
        for name, ratio in case.get("ratios", {}).items():
            span = f"({ratio['least']:.2f} to {ratio['most']:.2f})"
            judged = "too noisy to judge" if ratio["noisy"] else f"{ratio['median']:6.2f}x"
            lines.append(f"    {name:48}{judged}  {span}")
        for name, reason in case.get("failed", {}).items():
            lines.append(f"    {name}: left out ({reason})")
        for key, value in case.items():
            if key not in ("sides", "ratios", "failed", "shape", "facts"):
                lines.append(f"    {key}: {value}")
        return "\n".join(lines)


def summary(seconds: list[float]) -> dict:
    """Median, and the half distance of the quartiles relative to it."""
    median = statistics.median(seconds)
    ordered = sorted(seconds)
    quarter = len(ordered) // 4
    spread = (ordered[-1 - quarter] - ordered[quarter]) / 2 / median
    return {"median_s": median, "spread": round(spread, 3), "turns_s": [round(s, 6) for s in seconds]}


def ratios(turns: dict) -> dict:
    """How many times as long each other side takes as ours, turn by turn; noisy where the turns disagree."""
    by_pair = {}
    for ours in (name for name in turns if name.startswith("ours")):
        for other in turns:
            if other.startswith("ours") and (ours != "ours" or other == ours):
                continue
            pairs = [b / a for a, b in zip(turns[ours], turns[other], strict=True)]
            key = f"{ours} against {other}"
            by_pair[key] = {"median": round(statistics.median(pairs), 3)}
            by_pair[key] |= {"least": round(min(pairs), 3), "most": round(max(pairs), 3)}
            by_pair[key]["noisy"] = summary(pairs)["spread"] > NOISY
    return by_pair
