"""A fresh copy of the project, and the diffs of its texts put into it."""

import shutil
import subprocess
import sys
from pathlib import Path

from conftest import ROOT


def copy_project(folder: Path) -> Path:
    """The project's files alone, with this environment as its .venv."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    scripts = folder / ".venv" / "bin"
    scripts.mkdir(parents=True)
    for name, module in {"python": "", "python3": "", "torchrun": " -m torch.distributed.run"}.items():
        (scripts / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{module} "$@"\n')
        (scripts / name).chmod(0o755)
    (scripts / "activate").write_text(f'PATH="{scripts}:$PATH"\n')
    (folder / ".venv" / "installed").touch()
    return folder


def patched(text: str, diff: str) -> str:
    """A text with a diff applied.

    Lines with + are put in and lines with - are taken out. The others say where, and have to be in the text
    in this order.

    Raises:
        ValueError: a line that says where, or one to take out, is not in the text.
    """
    lines, at, added = text.splitlines(), 0, []
    for line in diff.splitlines():
        if line.startswith("+"):
            added.append(line[1:])
            continue
        place = lines.index(line[1:], at)
        if line.startswith("-"):
            lines[place : place + 1] = added
            at, added = place + len(added), []
        else:
            lines[place:place] = added
            at, added = place + len(added) + 1, []
    return "\n".join([*lines[:at], *added, *lines[at:]]) + "\n"
