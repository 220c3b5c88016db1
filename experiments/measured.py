"""What the programs that measure for an experiment share: their options, and their result.json, which says
where its numbers come from."""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from reslab import TOP
from reslab.run.arguments import ArgumentParser, at_least, output_file
from reslab.run.children import on_ending_signals, raise_interrupted
from reslab.run.files import parse_json, write_atomically
from reslab.run.log import git_commit


def arguments(doc: str, jobs: int | None = 1) -> ArgumentParser:
    """The options that these programs share.

    Args:
        doc: the program's docstring.
        jobs: the usual number of runs at once; None leaves the option out.
    """
    parser = ArgumentParser(doc)
    add = parser.add_argument
    add("--json", type=output_file, required=True, metavar="FILE", help="where the result goes")
    if jobs:
        text = "runs at once (default: %(default)s)"
        add("--jobs", type=at_least(1), default=jobs, metavar="N", help=text)
    return parser


def at_once(measure: Callable[[tuple], dict], cells: list[tuple], jobs: int, output: Path) -> list[dict]:
    """What is measured of each cell, in processes of their own, a line for each as it is done; they end with
    this one. What is done is kept beside the output until write(), so the same command goes on.

    Args:
        measure: a function of a module; its dict has `run`.
        cells: of what JSON knows.
        output: where the result will go.
    """
    start, code, keys = time.monotonic(), _code(), [json.dumps(cell) for cell in cells]
    done = {key: run for key, run in _read_kept(output, code).items() if key in keys}
    missing = [cell for cell, key in zip(cells, keys, strict=True) if key not in done]
    if done:
        print(f"{len(done)} of {len(cells)} are there", flush=True)
    with (
        on_ending_signals(raise_interrupted),
        get_context("spawn").Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool,
    ):
        for cell, run in pool.imap_unordered(partial(_with_cell, measure), missing):
            done[json.dumps(cell)] = run
            if output.is_file() or not output.exists():  # not beside a device
                write_atomically(_kept(output), json.dumps({"code": code, "done": done}))
            print(f"[{len(done)}/{len(cells)}] {run['run']}, {time.monotonic() - start:.0f} s", flush=True)
    return [done[key] for key in keys]


def _with_cell(measure: Callable[[tuple], dict], cell: tuple) -> tuple[tuple, dict]:
    return cell, measure(cell)


def _kept(output: Path) -> Path:
    return output.with_name(f"{output.name}.part")


def _code() -> str:
    """The SHA-256 of all that may decide what is measured: our modules and configs, as they are now."""
    files = [path for place in ("reslab", "experiments", "config") for path in (TOP / place).rglob("*.py")]
    return hashlib.sha256(b"".join(path.read_bytes() for path in sorted(files))).hexdigest()


def _read_kept(output: Path, code: str) -> dict[str, dict]:
    """What an earlier call with this code has measured: the cell as JSON -> its record."""
    path = _kept(output)
    if not path.is_file():
        return {}
    kept = parse_json(path.read_bytes(), f"{path}")
    if not isinstance(kept, dict) or kept.get("code") != code or not isinstance(kept.get("done"), dict):
        print(f"{path}: of other code, so all is measured anew", file=sys.stderr, flush=True)
        return {}
    return kept["done"]


def train(state, dataset, config) -> str:
    """Make all updates of a fresh state; "finished", or "diverged"."""
    from reslab.training.step import Diverged, next_batch, train_step

    try:
        while state.step < config.optim.max_iters:
            train_step(state, next_batch(dataset, config, state.step), config)
    except Diverged:
        return "diverged"
    return "finished"


def write(output: Path, module: str, runs: list[dict], **facts) -> None:
    """Write the result; what was kept for going on has done its work. See text()."""
    write_atomically(output, text(module, runs, **facts))
    _kept(output).unlink(missing_ok=True)


def text(module: str, runs: list[dict], **facts) -> str:
    """What is written to result.json.

    Args:
        module: of the measure.py, as `python -m` takes it.
        facts: what else stands before the runs.
    """
    import torch

    head = {
        "command": f"python -m {module}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": [git_commit()],
        "machine": f"{sys.platform}, {os.cpu_count()} cores, cpu, torch {torch.__version__}",
    }
    lines = ",\n  ".join(map(json.dumps, runs))
    return json.dumps(head | facts, indent=1)[:-2] + f',\n "runs": [\n  {lines}\n ]\n}}\n'
