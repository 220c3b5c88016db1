"""The JSON of an experiment that has a measure.py of its own: where its numbers come from, and its runs."""

import json
import os
import sys
from datetime import UTC, datetime

import torch

from reslab.run.log import git_commit


def text(module: str, runs: list[dict], **facts) -> str:
    """What is written to result.json.

    Args:
        module: of the measure.py, as `python -m` takes it.
        facts: what else stands before the runs.
    """
    head = {
        "command": f"python -m {module}",
        "date": datetime.now(UTC).date().isoformat(),
        "commit": [git_commit()],
        "machine": f"{sys.platform}, {os.cpu_count()} cores, cpu, torch {torch.__version__}",
    }
    lines = ",\n  ".join(map(json.dumps, runs))
    return json.dumps(head | facts, indent=1)[:-2] + f',\n "runs": [\n  {lines}\n ]\n}}\n'
