"""What a speed was measured on."""

import platform
import re
from datetime import UTC, datetime
from pathlib import Path

import torch

from reslab.run.files import parse_json
from reslab.run.log import git_commit
from reslab.system.device import pick_device
from reslab.system.machine import bfloat16_units, cpu_name, fastest


def machine_name() -> str:
    """A short name for the file: the GPU's, or the CPU's and its cores."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"{cpu_name()} {torch.get_num_threads()} cores"
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def facts(argv: list[str]) -> dict:
    """Where and how a case was measured."""
    return {
        "command": " ".join(
            ["python bench.py", *(re.sub("nanogpt=[^,]*", "nanogpt=PATH", word) for word in argv)]
        ),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "git_commit": git_commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpu_bfloat16": bfloat16_units(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "fastest": f"{fastest()}" if pick_device("auto") == "cpu" else None,
        "threads": torch.get_num_threads(),
    }


def earlier_result(path: Path, program: str, part: str, *others: str) -> dict:
    """What a result file holds already, an empty part where there is none.

    Args:
        program: whose result it is, for the message.
        part: the key of what it adds to.
        others: further keys that its results have.

    Raises:
        ValueError: the file is something else.
    """
    if not path.is_file():
        return {part: {}}
    result = parse_json(path.read_bytes(), f"{path}")
    if not isinstance(result.get(part), dict) or not result.keys() >= set(others):
        raise ValueError(f"{path}: not a result of {program}; choose another --out")
    return result
