"""`make` takes the versions of Python that the pins have wheels for, and installs what a goal needs."""

import re
import shutil
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT

# Answers as another version of Python; making an environment fails with a word that shows it was tried.
OTHER_PYTHON = f"""#!/bin/sh
if [ "$1" = --version ]; then echo "Python VERSION"; exit 0; fi
if [ "$1" = -m ]; then echo "an environment is made"; exit 7; fi
exec "{sys.executable}" -c 'import sys; sys.version_info = (NUMBERS); exec(sys.argv[1])' "$2"
"""


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("version", "taken"), [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)]
)
def test_another_python_is_told_which_versions_work(tmp_path, version, taken):
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    number = ".".join(map(str, version))
    script = OTHER_PYTHON.replace("VERSION", number).replace("NUMBERS", ", ".join(map(str, version)))
    (tmp_path / "python").write_text(script, encoding="utf-8")
    (tmp_path / "python").chmod(0o755)
    command = ["make", "setup", "PYTHON=./python"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2 and ("an environment is made" in done.stdout) == taken
    told = f"Python 3.11, 3.12, 3.13 or 3.14 is needed, found Python {number}; run for example: make PYTHON="
    assert (told in done.stdout) != taken
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["requires-python"] == ">=3.11,<3.15"


def pinned(name: str) -> dict[str, str]:
    """The pins of a requirements file itself: package -> version."""
    lines = [line for line in (ROOT / name).read_text(encoding="utf-8").splitlines() if "==" in line]
    return dict(re.match(r"([\w-]+)==([\d.]+)", line).groups() for line in lines)


def packages(requirements: list[str]) -> set[str]:
    return {re.match(r"[\w-]+", requirement)[0] for requirement in requirements}


def test_the_demo_installs_what_the_package_needs_and_the_tests_add_their_tools():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    runtime, tools = pinned("requirements.txt"), pinned("requirements-test.txt")
    assert set(runtime) == packages(project["dependencies"])
    assert set(tools) >= packages(project["optional-dependencies"]["dev"]) and not set(tools) & set(runtime)
    lines = (ROOT / "requirements-test.txt").read_text(encoding="utf-8").splitlines()
    assert "-r requirements.txt" in lines  # in one solution, so that no tool moves a pin of the runs


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("goal", "tools"), [("demo", False), ("test", True), ("test-slow", True), ("site", True)]
)
def test_what_a_goal_of_make_installs(tmp_path, goal, tools):
    """From a clean checkout, and nothing once the stamps are there."""
    for name in ("Makefile", "requirements.txt", "requirements-test.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    command = ["make", "--dry-run", goal]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "pip install --requirement requirements.txt" in shown
    assert ("pip install --requirement requirements-test.txt" in shown) == tools
    (tmp_path / ".venv").mkdir()
    for stamp in ("installed", "tools"):
        (tmp_path / ".venv" / stamp).touch()
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert "pip install" not in shown
