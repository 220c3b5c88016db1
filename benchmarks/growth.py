"""How time and memory grow over depth and over the number of runs that are compared, each with its line.

Times are CPU seconds of one thread, so that other programs on the machine do not enter; with a GPU they are
seconds on the clock.
"""

import contextlib
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from reslab.report.html import write_page
from reslab.report.selection import find_runs, load_runs
from reslab.run.options import CompareConfig

NARROW = {"n_head": 2, "n_embd": 64, "block_size": 64, "batch_size": 16}  # as config/laptop.py
DEPTHS, QUICK_DEPTHS = (12, 48, 192, 1000), (12, 24, 48)
RUNS, QUICK_RUNS = (2, 20, 100, 200, 400), (2, 10, 20)
KEPT = Path(__file__).resolve().parents[1] / "experiments" / "laptop" / "log"


def growth(bench) -> dict:
    """Steps, memory, start and probes over depth; table and page over the number of runs."""
    depths, counts = (QUICK_DEPTHS, QUICK_RUNS) if bench.quick else (DEPTHS, RUNS)
    rows = [at_depth(bench, L) for L in depths]
    worker = bench.start("ours", OMP_NUM_THREADS="1")
    try:
        of_runs = [worker.ask("compare_runs", count=count) for count in (counts[0], *counts)][1:]
    finally:
        worker.stop()
    state = rows[-1]["state_bytes"] / depths[-1]
    rows = [{key: value for key, value in row.items() if key != "state_bytes"} for row in rows]
    result = {"shape": NARROW, "clock": "s" if bench.gpu else "CPU s of one thread"}
    result |= {"depth": fitted(depths, rows), "runs": fitted(counts, of_runs)}
    lines = result["depth"]["figures"]
    all_kept, few = (lines[key]["slope"] for key in ("bytes", "bytes_recomputing"))
    return result | {
        "state_bytes_per_layer": round(state),
        "memory_slope_ratio": round(few / all_kept, 3),
        "without_the_state": round((few - state) / (all_kept - state), 3),
    }


def at_depth(bench, layers: int) -> dict:
    """What one depth costs, each side in a process of its own; bytes are the most that it has held."""
    clock, settings = "s" if bench.gpu else "cpu_s", NARROW | {"n_layer": layers}
    worker = bench.start("ours", OMP_NUM_THREADS="1")
    started = worker.ask("first_step", settings=settings, started=worker.started)
    count = max(1, 48 // layers)
    steps = [worker.ask("steps", count=count)[clock] / count for _ in range(3)]
    held = worker.ask("memory")["bytes"]
    looks = [worker.ask("probe_look")[clock] for _ in range(1 if layers > 500 else 3)]
    probed = worker.ask("memory")["bytes"]
    worker.stop()
    worker = bench.start("ours", OMP_NUM_THREADS="1")
    recomputing = settings | {"activation_checkpointing": True}
    worker.ask("first_step", settings=recomputing, started=worker.started)
    worker.ask("steps", count=1)
    recomputed = worker.ask("memory")["bytes"]
    worker.stop()
    return {
        "step": statistics.median(steps),
        "start": started[clock],
        "look": statistics.median(looks),
        "bytes": held,
        "bytes_probed": probed,
        "bytes_recomputing": recomputed,
        "state_bytes": 16 * started["parameters"],  # a weight, its gradient, AdamW's two averages: float32
    }


def fitted(at: tuple, rows: list[dict]) -> dict:
    """Figure -> its values and the line through them."""
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return {"at": at, "figures": {key: {"values": ys} | line(at, ys) for key, ys in columns.items()}}


def line(xs, ys) -> dict:
    """y = at_zero + slope x by least squares of the residuals relative to y, else the largest y alone would
    place the line; and the largest of these residuals."""
    xs, ys = np.array(xs, float), np.array(ys, float)
    slope, start = np.polyfit(xs, ys, 1, w=1 / ys)
    residual = np.abs((start + slope * xs) / ys - 1).max()
    return {"at_zero": float(start), "slope": float(slope), "largest_residual": round(float(residual), 3)}


def compare_runs(count: int) -> dict:
    """Seconds of compare.py's parts with some runs, and the size of their page."""
    import compare  # here: a program, which reads the command line's settings

    with tempfile.TemporaryDirectory() as folder:
        write_runs(Path(folder), count)
        marks = [time.process_time()]
        runs, _ = load_runs(find_runs([folder]))
        marks.append(time.process_time())
        with contextlib.redirect_stdout(None):
            compare.print_tables(CompareConfig(), runs)
        marks.append(time.process_time())
        page = Path(folder) / "page.html"
        write_page(page, runs, "runs")
        marks.append(time.process_time())
        reading, table, writing = np.diff(marks).tolist()
        return {
            "reading": reading,
            "table": table,
            "page": writing,
            "page_bytes": page.stat().st_size,
        }


def write_runs(folder: Path, count: int) -> None:
    """Copies of the kept runs of experiments/laptop as a grid: both arms, five seeds, as many rates as it
    takes; of each the losses are moved a little."""
    kept = [
        (json.loads((run / "config.json").read_text("utf-8")), (run / "metrics.jsonl").read_text("utf-8"))
        for run in sorted(KEPT.iterdir())
    ]
    for number in range(count):
        record, lines = kept[number % 2]
        changes = {"seed": number // 2 % 5, "learning_rate": 1e-3 * (1 + number // 10)}
        rows = [json.loads(line) for line in lines.splitlines()]
        rows = [{k: v + number / 1e3 if k.endswith("/loss") else v for k, v in row.items()} for row in rows]
        run = folder / f"run-{number}"
        run.mkdir()
        text = json.dumps(record | {"config": record["config"] | changes})
        (run / "config.json").write_text(text, encoding="utf-8")
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (run / "metrics.jsonl").write_text(text, encoding="utf-8")
