"""What a speed was measured on."""

import platform
import re
from datetime import UTC, datetime

import torch

from reslab.run.log import git_commit
from reslab.system.device import pick_device
from reslab.system.machine import fastest


def machine_name() -> str:
    """A short name for the file: the GPU's, or the CPU's and its cores."""
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
    else:
        name = f"{cpu_name()} {torch.get_num_threads()} cores"
    return "-".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def cpu_name() -> str:
    named = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return named.get("cpu_name") or platform.processor() or platform.machine()


def facts(argv: list[str]) -> dict:
    """Where and how a case was measured."""
    abilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return {
        "command": " ".join(
            ["python bench.py", *(re.sub("nanogpt=[^,]*", "nanogpt=PATH", word) for word in argv)]
        ),
        "date": datetime.now(UTC).isoformat(timespec="minutes"),
        "git_commit": git_commit(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cpu_bfloat16": [key for key in ("avx512_bf16", "amx_bf16") if abilities.get(key)],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "fastest": f"{fastest()}" if pick_device("auto") == "cpu" else None,
        "threads": torch.get_num_threads(),
    }
