"""Do to the programs what weeks and other people do, and print what held, row by row.

    python -m tests.torture --share 0.05            a twentieth of it
    python -m tests.torture --row "disk full"       one row

The whole takes about an hour of one core. A row that does not hold ends with what broke.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
import datetime
import json
import math
import platform
import shlex
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

import torch

from reslab.run.arguments import ArgumentParser, output_file
from reslab.run.files import write_atomically
from reslab.run.log import git_commit

from . import commands, damage, ends, outputs, restarts, shapes

ROOT = Path(__file__).resolve().parents[2]


def tests(*names: str):
    """A row that has no number to make larger: tests of the suite, by name."""

    def row(dataset: Path, folder: Path, share: float, minutes: float) -> dict:
        argv = [sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", "-rs"]
        files = sorted({name.split("::")[0] for name in names})
        keys = " or ".join(name.split("::")[1] for name in names)
        done = subprocess.run(
            [*argv, *(f"tests/{file}" for file in files), "-k", keys],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-2000:]
        return {"tests": done.stdout.strip().splitlines()[-1].split(" in ")[0]}

    return row


def at_least(share: float, count: int, least: int = 3) -> int:
    return max(least, round(share * count))


def preparations(dataset: Path, folder: Path, share: float, minutes: float) -> dict:
    return damage.killed_preparations(folder, at_least(share, 100)) | damage.one_line(
        folder, at_least(share, 100_000_000)
    )


ROWS = {
    "kill -9": lambda data, at, share, minutes: restarts.kills(data, at, at_least(share, 100)),
    "signals": lambda data, at, share, minutes: restarts.signals(data, at, at_least(share, 60)),
    "ways to end": tests(
        "run/test_children.py::reaches_the",
        "run/test_children.py::is_killed_leaves",
        "training/test_door.py::print_that_fails",
        "training/test_door.py::goes_wrong_between",
        "training/test_door.py::breaks_off",
    ),
    "updates lost": lambda data, at, share, minutes: ends.lost_updates(
        data, at, at_least(share, 20, 1), minutes
    ),
    "ended parents": lambda data, at, share, minutes: ends.ended_parents(
        data, at, at_least(share, 20, 1), minutes
    ),
    "ended parents on Ray": lambda data, at, share, minutes: ends.ended_on_ray(
        data, at, at_least(share, 5, 1), minutes
    ),
    "outputs": lambda data, at, share, minutes: outputs.all_targets(data, at),
    "documents": lambda data, at, share, minutes: shapes.documents(at),
    "texts": lambda data, at, share, minutes: shapes.texts(at),
    "other JSON": tests("test_other_json.py::shape", "test_other_json.py::fields"),
    "disk full": lambda data, at, share, minutes: restarts.full_disks(data, at, at_least(share, 40)),
    "damaged checkpoint": lambda data, at, share, minutes: damage.checkpoint_bytes(at, at_least(share, 500)),
    "pickles and paths": tests(
        "run/test_checkpoint.py::runs_no_code",
        "run/test_checkpoint.py::another_shape",
        "run/test_checkpoint.py::lead_nowhere",
        "data/test_dataset.py::pickle",
        "data/test_dataset.py::out_of_the_folder",
    ),
    "not finite": tests(
        "training/test_train.py::not_finite",
        "training/test_train.py::divergence",
        "training/test_train.py::first_bad",
    ),
    "two processes": tests("training/test_train.py::one_process"),
    "other data": tests(
        "data/test_dataset.py::changes_under", "data/test_dataset.py::refused", "data/test_dataset.py::beyond"
    ),
    "resume with changes": tests("training/test_train.py::may_change", "training/test_train.py::same_data"),
    "command lines": lambda data, at, share, minutes: commands.bad_commands(at, at_least(share, 2000)),
    "data preparation": preparations,
    "download": tests("data/test_download.py::download"),
    "out of memory": tests("training/test_train.py::full_memory"),
    "soak": lambda data, at, share, minutes: restarts.soak(
        data, at, at_least(share, 100_000), at_least(share, 1000)
    ),
    "no network": tests("data/test_corpus.py::gpt2_without", "data/test_corpus.py::no_tiktoken"),
    "terminals and paths": tests("test_terminal.py::test"),
}


def main() -> int:
    parser = ArgumentParser(__doc__)
    parser.add_argument("--row", action="append", choices=ROWS, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument(
        "--share", type=float, default=1.0, metavar="X", help="of the long version (default: 1)"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, metavar="M", help="that ways to end may take, in rounds"
    )
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="keep the figures, by row, in this file"
    )
    args = parser.parse_args()
    hear_signals()
    broken = 0
    with tempfile.TemporaryDirectory(prefix="tortured ü ") as place:  # a blank and a letter that is not ASCII
        data = Path(place) / "data"
        from reslab.data.corpus import write_dataset

        text = "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "reslab").rglob("*.py")))
        write_dataset(data, lambda: [text[:150_000]], "char", "reslab", quiet=True)
        for name in args.row or ROWS:
            folder = Path(place) / name
            folder.mkdir()
            began = time.perf_counter()
            try:
                figures = ROWS[name](data, folder, args.share, args.minutes)
            except ends.NotRunError as reason:
                print(f"{name:<20} not run: {reason}", flush=True)
                continue
            except Exception:
                broken += 1
                figures = {"BROKEN": traceback.format_exc().strip()[-3000:]}
            figures["seconds"] = round(time.perf_counter() - began, 1)
            print(f"{name:<20} " + ", ".join(f"{key}: {value}" for key, value in figures.items()), flush=True)
            if args.json:
                keep(args.json, name, args, figures)
    return 1 if broken else 0


def hear_signals() -> None:
    """Ignore no signal, since what is started here would, too; SIGTERM leaves nothing mounted."""
    for number in restarts.SIGNALS:  # nohup and a shell's & let some be ignored
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def keep(path: Path, name: str, args: argparse.Namespace, figures: dict) -> None:
    """Add a row to the file; rows may be measured on different days."""
    rows = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    options = [f"--row={name}", f"--share={args.share:g}"]
    options += [f"--minutes={args.minutes:g}"] if math.isfinite(args.minutes) else []
    rows[name] = figures | {
        "command": shlex.join(["python", "-m", "tests.torture", *options]),
        "date": datetime.date.today().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "torch": torch.__version__,
        "git_commit": git_commit(),
    }
    write_atomically(path, json.dumps(rows, ensure_ascii=False, indent=1) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
