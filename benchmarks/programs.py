"""Whole programs, from their call to their end: how long a start takes, and the demo."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.turns import ROOT, ratios, summary
from reslab.data.folders import data_folder

TORCH = [sys.executable, "-c", "import torch"]  # what no program that computes can do without
UNTRAINED = ["--n_layer=6", "--n_head=6", "--n_embd=384", "--block_size=256", "--max_iters=0"]
LEFT_OUT = (".venv", ".git", "runs", "site", "node_modules", "*.bin", "meta.json")  # a fresh clone has none


def programs(bench) -> dict:
    """Whole programs: help, a mistyped setting, all settings, a first new token, against `import torch`."""
    with tempfile.TemporaryDirectory() as folder:
        run = f"{folder}/run"
        _call(["train.py", f"--dataset={bench.dataset}", *UNTRAINED, f"--out_dir={run}"])
        calls = {
            "train.py --help": ["train.py", "--help"],
            "train.py with a mistyped setting": ["train.py", "--learning_rat=1e-3"],
            "train.py --print_config": ["train.py", "--print_config"],
            "compare.py --help": ["compare.py", "--help"],
            "sample.py, to the first new token": ["sample.py", run, "--max_new_tokens=1"],
        }
        turns: dict[str, list[float]] = {"ours": []} | {name: [] for name in calls}
        for _ in range(3 if bench.quick else 9):
            turns["ours"].append(_call(TORCH))
            for name, argv in calls.items():
                turns[name].append(_call(argv, 2 if "mistyped" in name else 0))
    against = ratios(turns)
    over = {name: against[f"ours against {name}"] for name in calls}
    seconds = {name: summary(turns[name]) for name in calls}
    return {"import_torch": summary(turns["ours"]), "seconds": seconds, "over_import_torch": over}


def demo(bench) -> dict:
    """`make demo` with everything installed: two stacks of 24 layers trained, taken apart, and their page."""
    try:
        _call(["make", "-q", ".venv/installed"])  # else it would be installed, through the link, and timed
    except (OSError, ValueError) as error:
        return {"failed": {"demo": f"{error}; make setup installs what it needs"}}
    shorter = "--max_iters=20 --warmup_iters=2" if bench.quick else ""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        (copy / ".venv").symlink_to(ROOT / ".venv")
        took = _call(["make", "demo", f"OPTIONS={shorter}"], cwd=copy, data="")
        page = (copy / "runs" / "laptop.html").stat().st_size
    return {"s": round(took, 2), "page_bytes": page}


def _call(argv: list[str], code: int = 0, cwd: Path | None = None, data: str | None = None) -> float:
    """Seconds of a program; one of ours is named by its file.

    Args:
        data: the folder of its datasets; None is that of this process, which has another current folder.

    Raises:
        ValueError: it ended with another exit code.
    """
    command = [sys.executable, *argv] if argv[0].endswith(".py") else argv
    environment = os.environ | {"RESLAB_DATA": str(data_folder()) if data is None else data}
    start = time.perf_counter()
    ended = subprocess.run(command, cwd=cwd or ROOT, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if ended.returncode != code:
        told = (ended.stderr or ended.stdout).strip().splitlines() or ["nothing"]
        raise ValueError(f"{' '.join(argv)}: exit code {ended.returncode}, it said: {told[-1]}")
    return seconds
