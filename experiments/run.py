"""Runs the commands of an experiment, those under "Commands" in its README.md, one after the other.

    python -m experiments.run rescue
    python -m experiments.run rescue --list      print them and do nothing

The first one that fails ends it, with its exit code. Runs that are there are kept, so the same command goes
on. Results in experiments/ are replaced; `python -m experiments` then makes their tables and pictures.
"""

import os
import re
import shlex
import sys
from pathlib import Path

from experiments.__main__ import HERE, ROOT
from reslab.run.arguments import ArgumentParser
from reslab.run.children import Children
from reslab.run.config import run_door
from reslab.run.configfile import UsageError
from reslab.run.fields import did_you_mean

ASSIGNMENT = re.compile(r"([A-Z_][A-Z_0-9]*)=(.*)")


def commands(page: Path) -> list[str]:
    """The lines of the blocks of code under "Commands", those that a backslash continues as one."""
    section = re.search(r"^## Commands\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.M | re.S)
    blocks = re.findall(r"^```\w*\n(.*?)^```$", section[1], re.M | re.S) if section else []
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line for line in lines if line.split("#")[0].strip()]


def as_words(command: str) -> tuple[dict[str, str], list[str]]:
    """The environment before a command, and its words, as a shell would hand them on.

    `python` is the one that runs this, `torchrun` is its own, and a word with * stands for the files of the
    repository that it fits.
    """
    words, environment = shlex.split(command, comments=True), {}
    while words and (found := ASSIGNMENT.fullmatch(words[0])):
        environment[found[1]] = found[2]
        words.pop(0)
    spread = [path for word in words for path in (files(word) if "*" in word else [word])]
    first = {"python": [sys.executable], "torchrun": [sys.executable, "-m", "torch.distributed.run"]}
    return environment, [*first.get(spread[0], spread[:1]), *spread[1:]]


def files(pattern: str) -> list[str]:
    """The paths below the repository that a pattern fits; the pattern itself where there are none."""
    return [path.relative_to(ROOT).as_posix() for path in sorted(ROOT.glob(pattern))] or [pattern]


def run_all(lines: list[str], children: Children) -> int:
    """Run commands one after the other; returns 0, or the exit code of the first that failed."""
    for number, line in enumerate(lines, 1):
        print(f"[{number}/{len(lines)}] {' '.join(line.split())}", flush=True)
        environment, words = as_words(line)
        done = children.run(words, env=os.environ | environment, cwd=ROOT)
        if children.signal_number:
            return 128 + children.signal_number
        if done.returncode:
            return done.returncode if done.returncode > 0 else 128 - done.returncode
    return 0


def main(argv: list[str]) -> int:
    parser = ArgumentParser(__doc__)
    parser.add_argument("name", help="a folder of experiments/")
    parser.add_argument("--list", action="store_true", help="print the commands and do nothing")
    options = parser.parse_args(argv)
    known = {page.parent.name: page for page in sorted(HERE.glob("*/README.md"))}
    if options.name not in known:
        near = did_you_mean(options.name, known)
        raise UsageError(f"{options.name}: no such experiment; there are {', '.join(known)}{near}")
    if not (lines := commands(known[options.name])):
        raise UsageError(f"{known[options.name]}: has no commands")
    if options.list:
        print("\n".join(" ".join(line.split()) for line in lines))
        return 0
    with Children() as children:
        return run_all(lines, children)


if __name__ == "__main__":
    run_door(main)
