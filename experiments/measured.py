"""What the programs that measure for an experiment share: their options, and their result.json, which says
where its numbers come from."""

import json
import os
import sys
from datetime import UTC, datetime

from reslab.run.arguments import ArgumentParser, at_least_one, output_file
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
        add("--jobs", type=at_least_one, default=jobs, metavar="N", help=text)
    return parser


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
