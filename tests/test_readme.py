"""Every command of the README and of the manual is run, with settings that make it take seconds.

A command may need what another one makes (a run to compare, a dataset to train on); that one is run first
where its result is not there yet, so that each test passes alone.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT
from copies import copy_project

PAGES = [ROOT / "README.md", ROOT / "docs" / "manual.md"]
HOSTED = "../deployments/github-pages"  # a page of the repository on GitHub
TEXTS = [page.read_text(encoding="utf-8") for page in PAGES]
COMMANDS = list(
    dict.fromkeys(
        line.split(" #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", "".join(TEXTS), re.DOTALL)
        for line in block.splitlines()
        if line.strip() and not line.startswith("#")
    )
)
SHAKESPEARE = Path(
    os.environ.get("TINY_SHAKESPEARE", ROOT.parent / "shared" / "data" / "tinyshakespeare.txt")
)
SMALL = "--max_iters=2 --warmup_iters=1 "
SMALL += "--n_embd=16 --n_head=2 --block_size=16 --batch_size=2 --eval_sequences=4 --device=cpu"
SMALLER = f"{SMALL} --n_layer=2"


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
    return copy_project(tmp_path_factory.mktemp("clone"))


def shrunk(command: str) -> str:
    if command == "make demo":
        return f'make demo OPTIONS="{SMALL}" AUTOPSY="--sequences=4 --tokens=2"'
    if study := re.search(r"config/(study|rescue|depth_mup|slide|thousand)\.py", command):  # see test_cli.py
        return f"python compare.py {study[0]} --arms=none --lrs=1e-3,3e-3 {SMALLER}"
    if "config/grow.py" in command:
        return f"{command} {SMALL} --n_layer=4"
    if "autopsy.py" in command:
        return f"{command} --sequences=4 --tokens=2"
    if re.match(r"python (train|compare)\.py config/", command) and "--resume" not in command:
        return f"{command} {SMALLER if '--depths' not in command else SMALL}"
    if "config/smoke.py --resume" in command or command.startswith("torchrun"):
        return f"{command} {SMALLER}"
    return command.replace("sample.py", "sample.py --max_new_tokens=20")


def test_the_readme_has_commands():
    assert COMMANDS[:2] == ["make demo", "make test"] and len(COMMANDS) > 15


def made_by(command: str) -> str | None:
    """The run directory that a command trains, or the dataset that it prepares."""
    out = re.search(r"--out(?:_dir)?[= ](\S+)", command)
    config = re.search(r"train\.py config/(\w+)\.py", command)
    if config and not re.search(r"--(resume|print_config)", command):
        return out[1] if out else f"runs/{config[1]}"
    prepared = re.search(r"(data/\w+)/prepare\.py", command)
    return (out[1] if out else prepared[1]) if prepared else None


MAKERS = {place: command for command in reversed(COMMANDS) if (place := made_by(command))}


def needed(command: str) -> set[str]:
    """What a command reads and another one makes."""
    places = set(re.findall(r"(?:runs|data)/[\w-]+(?![\w./-])", command))
    for config in re.findall(r"config/(\w+)\.py", command):
        if "--resume" in command:
            places.add(f"runs/{config}")
        text = (ROOT / "config" / f"{config}.py").read_text(encoding="utf-8")
        places |= {f"data/{name}" for name in re.findall(r"^dataset = \"(\w+)\"", text, re.MULTILINE)}
    places |= {f"data/{name}" for name in re.findall(r"--dataset=(\w+)", command)}
    # The default corpus is not among them: training makes it where it is not there.
    return places & set(MAKERS) - {made_by(command), "data/stdlib"}


def test_what_a_command_needs_is_found():
    assert needed("python compare.py runs/deep runs/deep-none") == {"runs/deep", "runs/deep-none"}
    assert needed("python export.py runs/deep runs/deep-gpt2") == {"runs/deep"}
    assert needed("python train.py config/smoke.py --resume") == {"runs/smoke"}
    assert needed("python train.py config/smoke.py --dataset=mine --out_dir=runs/mine") == {"data/mine"}
    assert needed("python train.py config/shakespeare.py") == {"data/shakespeare"}
    assert not needed("python compare.py config/study.py --jobs 2 --page runs/study.html")


def run(command: str, clone: Path) -> subprocess.CompletedProcess:
    """Run a command of the README, after those that make what it needs."""
    for place in sorted(needed(command)):
        if not any((clone / place / name).exists() for name in ("config.json", "meta.json")):
            run(MAKERS[place], clone)
    if (made := made_by(command)) and made.startswith("runs/"):
        shutil.rmtree(clone / made, ignore_errors=True)  # from when another command needed it
    if "data/shakespeare" in command:
        if not SHAKESPEARE.exists():
            pytest.skip("needs a download, or a copy of tiny Shakespeare in TINY_SHAKESPEARE")
        for name in ("shakespeare_char", "shakespeare"):
            shutil.copy(SHAKESPEARE, clone / "data" / name / "input.txt")
    outer = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}  # of a make that runs the tests: an inner one would tell
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    if re.search(r"data/shakespeare/|config/shakespeare\.py", command):
        cache = SHAKESPEARE.parent / "tiktoken_cache"
        if "TIKTOKEN_CACHE_DIR" not in environment and not cache.exists():
            pytest.skip("needs GPT-2's merges in TIKTOKEN_CACHE_DIR")
        environment.setdefault("TIKTOKEN_CACHE_DIR", str(cache))
    line = f"PATH={clone}/.venv/bin:$PATH; {shrunk(command)}"
    done = subprocess.run(["bash", "-c", line], cwd=clone, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{shrunk(command)}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done


@pytest.mark.slow
@pytest.mark.parametrize("command", [c for c in COMMANDS if c != "make test"])  # that runs this
def test_a_command_of_the_readme(command, clone):
    done = run(command, clone)
    made = made_by(command)
    assert not made or any((clone / made / name).exists() for name in ("config.json", "meta.json"))
    if command == "make demo":
        assert done.stdout.startswith("y = x + F(x). Two models") and "minutes of training" in done.stdout
        assert "What to do next:" in done.stdout
        page = (clone / "runs" / "laptop.html").read_text(encoding="utf-8")
        assert page.count('"lesions":[[') == 2  # the autopsies of both arms are on it


@pytest.mark.parametrize("page", sorted([*PAGES, *ROOT.glob("docs/*.md")]), ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
        here = page.parent / target
        assert target.startswith("http") or here.exists() or HOSTED in target, target
