"""`make` takes the versions of Python that the pins have wheels for, and says which they are."""

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
