"""What README.md and docs/extend.md add: each diff is one file, and a fresh copy with it trains."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from copies import copy_project, patched

DIFFS = [
    (page, path, diff)
    for page in ("README.md", "docs/extend.md")
    for path, diff in re.findall(r"```diff (\S+)\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
]
ADDED = {  # the setting that chooses what a diff adds
    "half": "--residual=half",
    "primes": "--dataset=primes",
    "rmsprop": "--optimizer=rmsprop",
    "wsd": "--schedule=wsd",
    "cappednorm": "--norm=cappednorm",
    "geglu": "--mlp=geglu",
}
SMALL = "--max_iters=4 --warmup_iters=1 --n_layer=2 --n_embd=16 --n_head=2 --block_size=16 --batch_size=2 "
SMALL += "--eval_sequences=4 --eval_interval=4 --device=cpu"


def python(folder: Path, command: str) -> str:
    """Run a command of the copy; returns its output."""
    done = subprocess.run(
        [sys.executable, *command.split()],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def apply(diff: str, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    path.write_text(patched(before, diff), encoding="utf-8")


@pytest.fixture(scope="module")
def extended(tmp_path_factory) -> Path:
    """A copy of the project with all diffs."""
    folder = copy_project(tmp_path_factory.mktemp("extended"))
    for _, path, diff in DIFFS:
        apply(diff, folder / path)
    python(folder, "data/primes/prepare.py --quiet")
    return folder


def last(folder: Path, key: str):
    """The last value of a key of a run's metrics."""
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [row[key] for row in map(json.loads, lines) if key in row][-1]


def test_all_eight_are_shown_and_the_wiring_and_the_probe_in_the_readme():
    assert [path for page, path, _ in DIFFS if page == "README.md"] == [
        "reslab/residual.py",
        "reslab/instruments/probes.py",
    ]
    assert len(DIFFS) == 8


@pytest.mark.slow
def test_what_is_added_trains_resumes_and_is_drawn(extended):
    train = f"train.py config/smoke.py {' '.join(ADDED.values())} {SMALL} --out_dir=runs/all"
    python(extended, train)
    run = extended / "runs" / "all"
    config = (run / "config.json").read_text(encoding="utf-8")
    assert all(f'"{name}"' in config for name in ADDED)
    assert len(last(run, "probe/stream_peak")) == 3  # before each of two blocks, and after the last
    python(extended, f"{train.replace('--max_iters=4', '--max_iters=6')} --resume")
    assert last(run, "step") == 6
    python(extended, f"compare.py {run} --page {extended / 'page.html'}")
    page = (extended / "page.html").read_text(encoding="utf-8")
    assert "Training speed" in page and "Tokens per second of each run" in page and "stream_peak" in page
    shown = python(extended, "train.py --help")
    assert all(name in shown for name in ADDED if name != "primes")


@pytest.mark.slow
@pytest.mark.parametrize(("page", "path", "diff"), DIFFS, ids=[re.sub(r"\W", "-", d[2][1:25]) for d in DIFFS])
def test_each_is_enough_alone(page, path, diff, tmp_path):
    folder = copy_project(tmp_path)
    apply(diff, folder / path)
    (choice,) = [option for name, option in ADDED.items() if name in diff] or [""]
    if "primes" in choice:
        python(folder, "data/primes/prepare.py --quiet")
    python(folder, f"train.py config/smoke.py {choice} {SMALL} --out_dir=runs/one")


@pytest.mark.slow
def test_what_is_added_breaks_no_test(extended):
    """With all eight in it the copy passes the tests that could notice them: not those of these diffs, nor of
    files, kills and resuming, which know no choice."""
    for command in (["git", "init", "--quiet"], ["git", "add", "--all"]):  # the files that test_imports reads
        subprocess.run(command, cwd=extended, check=True)
    files = {*extended.glob("tests/**/test_*.py")}
    for pattern in ("data/*", "training/test_[!o]*", "system/test_[!f]*", "test_ex*", "test_[imo]*"):
        files -= {*extended.glob(f"tests/{pattern}")}
    names = " ".join(str(path.relative_to(extended)) for path in sorted(files))
    python(extended, f"-m pytest -q -n 0 -p no:cacheprovider {names}")
