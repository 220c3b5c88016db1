"""What the programs that measure for an experiment share: their options, and their result.json, which says
where its numbers come from."""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from multiprocessing import get_context

from reslab.run.arguments import ArgumentParser, at_least, output_file
from reslab.run.children import on_ending_signals, raise_interrupted
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


def at_once(measure: Callable[[tuple], dict], cells: list[tuple], jobs: int) -> list[dict]:
    """What is measured of each cell, in processes of their own, a line for each as it is done; they end with
    this one.

    Args:
        measure: a function of a module; its dict has `run`.
    """
    start, runs = time.monotonic(), []
    with (
        on_ending_signals(raise_interrupted),
        get_context("spawn").Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN)) as pool,
    ):
        for run in pool.imap(measure, cells):
            runs.append(run)
            print(f"[{len(runs)}/{len(cells)}] {run['run']}, {time.monotonic() - start:.0f} s", flush=True)
    return runs


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
