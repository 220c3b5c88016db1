"""The script for the first hour with a GPU: whatever fails or hangs, the rest is done and written down."""

import json
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT, run_python

from reslab.residual import WIRINGS

GPU = runpy.run_path(str(ROOT / "benchmarks" / "gpu.py"))


def python(name: str, code: str, limit_s: int = 60, **fields):
    return GPU["Step"](name, ["-c", code], limit_s, **fields)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="process groups are POSIX's")
def test_a_step_that_fails_or_hangs_does_not_stop_the_next(tmp_path, capsys):
    """A hanging step is ended with what it has started, and its result is what it had not written."""
    table, alive = tmp_path / "table.json", tmp_path / "alive"
    table.write_text('{"of": "an earlier attempt"}', encoding="utf-8")
    child = f"import time, pathlib; time.sleep(8); pathlib.Path({str(alive)!r}).touch()"
    hangs = "import subprocess, sys; print('begun', flush=True); "
    hangs += f"subprocess.run([sys.executable, '-c', {child!r}])"
    write = f"import pathlib; pathlib.Path({str(table)!r}).write_text('{{\"fast\": 1}}')"
    steps = [
        python("fails", "raise SystemExit('no such thing')"),
        python("hangs", hangs, limit_s=3, table=table),
        python("measures", write, table=table),
    ]
    out = tmp_path / "gpu.json"
    assert GPU["go"](steps, tmp_path, out, True) == 1
    results = json.loads(out.read_text(encoding="utf-8"))["steps"]
    assert [results[step.name]["ok"] for step in steps] == [False, False, True]
    assert results["fails"]["exit_code"] == 1 and results["fails"]["last_line"] == "no such thing"
    assert results["hangs"]["last_line"] == "not done within 3 s; begun"
    assert "earlier" not in str(results["hangs"]["result"])
    assert results["measures"]["result"] == {"fast": 1}
    assert "FAILED (1): no such thing" in capsys.readouterr().out and not alive.exists()
    seconds = {name: record["seconds"] for name, record in results.items()}
    assert GPU["go"](steps[2:], tmp_path, out, True) == 0  # what succeeded is not done again
    again = json.loads(out.read_text(encoding="utf-8"))["steps"]
    assert {name: record["seconds"] for name, record in again.items()} == seconds


def test_what_no_longer_fits_is_skipped_and_written_down(tmp_path, monkeypatch, capsys):
    """Steps of speed have a time of their own, and the last to begin gets what is left. Each takes 100 s."""
    now, limits, place = [0.0], {}, GPU["go"].__globals__

    def perform(step, log, environment):
        limits[step.name] = step.limit_s
        now[0] += 100
        return {"ok": True, "exit_code": 0, "seconds": 100.0, "last_line": "", "commit": ""}

    monkeypatch.setitem(place, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setitem(place, "perform", perform)
    monkeypatch.setitem(place, "SPEED_S", 250)
    monkeypatch.setitem(place, "ALL_S", 520)
    names = ["run-a", "speed-a", "speed-b", "speed-c", "speed-d", "learn-a", "learn-b"]
    assert GPU["go"]([python(name, "", 150) for name in names], tmp_path, tmp_path / "gpu.json", True) == 1
    assert limits == {"run-a": 150, "speed-a": 150, "speed-b": 150, "speed-c": 50, "learn-a": 120}
    results = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]
    skipped = [name for name in names if results[name]["last_line"] == "skipped: no time is left"]
    assert skipped == ["speed-d", "learn-b"] and not results["speed-d"]["ok"]
    told = capsys.readouterr().out
    assert told.count("skipped: no time is left") == 2 and "FAILED" not in told


def test_steps_that_are_not_timed_go_together_but_after_what_they_read(tmp_path):
    """Two that wait for each other's files, which one after the other never could; then the third, which
    reads what the second has written; the timed one comes when all are done."""
    places = [tmp_path / name for name in "abc"]
    wait = "import pathlib, time\nmine, other = map(pathlib.Path, {!r})\nmine.touch()\n"
    wait += (
        "end = time.monotonic() + 20\nwhile not other.exists() and time.monotonic() < end: time.sleep(.05)\n"
    )
    wait += "assert other.exists()"
    pairs = [[str(places[0]), str(places[1])], [str(places[1]), str(places[0])]]
    steps = [python(f"run-{n}", wait.format(pair)) for n, pair in enumerate(pairs)]
    write = f"import pathlib, time; time.sleep(1); pathlib.Path({str(places[2])!r}).touch()"
    read = f"import pathlib; assert pathlib.Path({str(places[2])!r}).exists()"
    steps += [python("run-writes", write), python("run-reads", read, after="run-writes")]
    steps += [python("speed-timed", read)]
    assert GPU["go"](steps, tmp_path, tmp_path / "gpu.json", True, 2) == 0


def test_a_run_that_says_what_it_goes_without_has_not_succeeded(tmp_path, monkeypatch):
    monkeypatch.setitem(GPU["perform"].__globals__, "result", lambda step: {})
    warns = "print('warning: probe resid_rms failed (RuntimeError); it is null in the log'); print('done')"
    assert GPU["go"]([python("speed-page", warns)], tmp_path, tmp_path / "gpu.json", True) == 0
    assert GPU["go"]([python("run-warns", warns, run=tmp_path)], tmp_path, tmp_path / "gpu.json", True) == 1
    told = json.loads((tmp_path / "gpu.json").read_text(encoding="utf-8"))["steps"]["run-warns"]
    assert told["exit_code"] == 0 and "probe resid_rms" in told["last_line"]


def test_no_result_is_written_over_a_file_of_the_project(monkeypatch):
    places = []
    monkeypatch.setitem(GPU["main"].__globals__, "go", lambda steps, folder, out, *rest: places.append(out))
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for argv in ([], ["--rehearse"]):
        GPU["main"]([*argv, "--only=run-sample"])
    assert [place.relative_to(Path.cwd()).parts[0] for place in places] == ["runs", "runs"]


def test_the_plan_has_all_that_is_asked_of_a_first_hour():
    steps = GPU["Plan"](Path("runs/gpu"), "/nanoGPT", False, []).steps
    names = [step.name for step in steps]
    assert len(set(names)) == len(names) and {f"run-{wiring}" for wiring in WIRINGS} <= set(names)
    order = ["run-float16-compile-True", "run-torchrun-fsdp-resume", "speed-gpt2", "learn-shakespeare"]
    order += ["learn-thousand", "learn-study"]
    order[3:3] = ["speed-48L384", "speed-shakespeare", "speed-1000L", "speed-growth"]
    assert sorted(order, key=names.index) == order
    assert all(Path(ROOT / word).is_file() for step in steps for word in step.argv if word.endswith(".py"))
    peers = [step.name for step in steps if "nanogpt=/nanoGPT,transformers" in step.argv]
    assert "speed-gpt2" in peers and "speed-48L384" in peers
    alone = GPU["Plan"](Path("runs/gpu"), None, False, []).steps  # no checkout of nanoGPT
    assert "transformers" in next(step.argv for step in alone if step.name == "speed-gpt2")
    assert max(step.limit_s for step in steps if step.name.startswith("speed-")) < GPU["SPEED_S"] == 600
    assert GPU["ALL_S"] == 3000


@pytest.mark.slow
def test_the_rehearsal_does_every_step_on_a_cpu(dataset_folder, tmp_path):
    out = tmp_path / "gpu.json"
    run_python("benchmarks/gpu.py", "--rehearse", "--out", out, f"--dataset={dataset_folder}")
    results = json.loads(out.read_text(encoding="utf-8"))["steps"]
    assert all(record["ok"] for record in results.values())
    steps = {name: results[f"run-torchrun-{name}"]["result"]["step"] for name in ("none", "none-resume")}
    assert steps == {"none": 4, "none-resume": 6}
    assert results["run-torchrun-fsdp-resume"]["result"]["step"] == 6
    strategies = {results[f"run-torchrun-{shard}"]["result"]["strategy"] for shard in ("none", "fsdp")}
    assert strategies == {"DDP", "FSDP"} and results["run-none"]["result"]["strategy"] == "Single"
    assert results["run-resume-in-float16"]["result"]["dtype"] == "float16"
    assert {"speed-gpt2", "speed-probe", "learn-shakespeare", "learn-thousand", "learn-study"} <= set(results)
