"""The page on the instruments: its Python runs, one block after the other, in a folder with a model."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT
from foreign_models import save_foreign

from reslab.instruments.anatomy import FAMILIES
from reslab.instruments.names import Names
from reslab.run.log import read_run

pytest.importorskip("transformers")

PAGE = (ROOT / "docs" / "instruments.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\npython (.*?)\n```", PAGE)


def python(folder, *argv) -> str:
    """Run it as a user whose checkout is on the path; it ends with 0 and without a traceback."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *argv], cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8"
    )
    assert done.returncode == 0 and "Traceback" not in done.stderr, f"{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
def test_the_python_of_the_page_runs(tmp_path):
    save_foreign(tmp_path / "my-model", "gpt2", n_positions=64, bos_token_id=0, eos_token_id=0)
    (tmp_path / "page.py").write_text("\n\n".join(BLOCKS), encoding="utf-8")
    python(tmp_path, "page.py")
    rows = read_run(tmp_path / "runs" / "own-loop").rows
    assert len(rows[10]["probe/resid_gradient"]) == 7 and "probe/resid_gradient" not in rows[11]
    assert (tmp_path / "grown" / "model.safetensors").is_file()
    shown = python(tmp_path, str(ROOT / "compare.py"), "runs/own-loop")
    assert re.search(r"runs/own-loop +3 +11,490 +19 +finished", shown) and "no run has: arm, " in shown
    assert (tmp_path / "compare.html").is_file()


@pytest.mark.slow
def test_the_commands_of_the_page_run(tmp_path):
    save_foreign(tmp_path / "my-model", "llama")
    shutil.copy(ROOT / "docs" / "instruments.md", tmp_path / "book.txt")
    (command,) = COMMANDS
    shown = python(tmp_path, str(ROOT / command.split()[0]), *command.split()[1:])
    assert "LlamaForCausalLM, 3 blocks of width 32" in shown
    assert {path.name for path in tmp_path.iterdir()} >= {"autopsy-my-model.html", "autopsy-my-model.json"}


def test_the_loop_is_short_and_the_page_names_everything():
    loop = next(block for block in BLOCKS if "reslab.Recorder" in block).splitlines()
    ours = [line for line in loop if re.search(r"reslab|anatomy|parts|log\(", line)]
    assert len(ours) <= 12
    for name in Names.__dataclass_fields__:
        assert f"`{name}`" in PAGE or f"`{name}=" in PAGE, name
    for words in ("GPT-2", "Llama", "Mistral", "Qwen 2 and 3", "SmolLM", "Gemma 1 to 3", "GPT-NeoX", "OPT"):
        assert words in PAGE
    assert len(FAMILIES) == 11, "another family: say so on the page"
