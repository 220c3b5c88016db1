"""The project as a wheel: built, installed into a fresh environment, and used in an empty folder."""

import argparse
import json
import os
import re
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pytest
import torch
from conftest import ROOT, run_python
from copies import copy_project

import reslab
from reslab import TOP
from reslab.__main__ import find_script, main
from reslab.data.dataset import TokenDataset, find_folder
from reslab.report.facts import load as load_record
from reslab.run.children import on_ending_signals
from reslab.run.launch import as_typed
from reslab.run.log import read_run
from reslab.training.load import load

SMALL = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 4, "device": "cpu"}
SMALL |= {"max_iters": 5, "warmup_iters": 1, "eval_interval": 5, "eval_sequences": 8, "sample_tokens": 0}


def test_a_command_is_that_of_the_installation():
    """Also of a path with blanks, as a shell would have it quoted."""
    text = (
        "python train.py config/deep.py --resume\n"
        "torchrun --nproc_per_node=8 train.py config/deep.py\n"
        f"run: python {TOP / 'data' / 'stdlib' / 'prepare.py'}\n"
        f"go on with: python '{TOP / 'sample.py'}' runs/a; python -m reslab.check pre; python mine.py"
    )
    assert as_typed(text, installed=False) == text
    assert as_typed(text, installed=True) == (
        "reslab train config/deep.py --resume\n"
        "torchrun --nproc_per_node=8 -m reslab train config/deep.py\n"
        "run: reslab prepare stdlib\n"
        "go on with: reslab sample runs/a; python -m reslab.check pre; python mine.py"
    )


def test_one_program_starts_all_others(tmp_path):
    """From any folder, whatever files are in it."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "RESLAB_DATA": str(tmp_path / "store")}
    (tmp_path / "model.py").write_text("raise SystemExit('a file of the user')")
    words = ["-m", "reslab", "train", "config/shakespeare_char_cpu.py", "--device=cpu"]
    missing = run_python(*words, cwd=tmp_path, env=environment, code=2).stderr
    assert f"{tmp_path / 'store' / 'shakespeare_char'}: no finished dataset" in missing
    assert missing.strip().endswith(f"data{os.sep}shakespeare_char{os.sep}prepare.py")


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["tran"], "tran: no such program; there are train, sample, compare"),
        (["prepare", "nothing"], "nothing: no such dataset; there are enwik8"),
    ],
)
def test_a_program_that_is_not_there_is_named(words, fault):
    with pytest.raises(ValueError, match=re.escape(fault)):
        find_script(words)
    assert find_script(["prepare", "stdlib", "--quiet"]) == (TOP / "data/stdlib/prepare.py", ["--quiet"])
    assert find_script(["bench"]) == (TOP / "bench.py", [])


def test_prepare_without_a_name_lists_what_can_be_prepared(monkeypatch, capsys, tmp_path):
    """All of them, and where they go."""
    monkeypatch.setenv("RESLAB_DATA", str(tmp_path))
    for words in (["prepare"], ["prepare", "--help"]):
        monkeypatch.setattr("sys.argv", ["reslab", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        assert not ended.value.code
        lines = capsys.readouterr().out.splitlines()
        names = sorted(path.parent.name for path in ROOT.glob("data/*/prepare.py"))
        assert [line.strip() for line in lines[1:-1]] == names and len(names) >= 9
        assert str(tmp_path) in lines[-1]


def test_datasets_are_where_the_environment_says(tmp_path, monkeypatch, dataset_folder):
    assert find_folder("stdlib") == ROOT / "data" / "stdlib"
    monkeypatch.setenv("RESLAB_DATA", str(dataset_folder.parent))
    assert find_folder(dataset_folder.name) == dataset_folder
    (tmp_path / "a.txt").write_text("some text for two splits, and some more of it\n" * 3)
    monkeypatch.setenv("RESLAB_DATA", str(tmp_path / "store"))
    run_python("data/text/prepare.py", tmp_path / "a.txt", "--quiet")
    assert (tmp_path / "store" / "text" / "meta.json").is_file()


def test_training_in_a_thread_returns_the_run(tmp_path, dataset_folder):
    """Only the main thread can have handlers of signals."""
    runs = []
    settings = SMALL | {"dataset": dataset_folder, "out_dir": tmp_path / "run"}
    thread = threading.Thread(target=lambda: runs.append(reslab.train("config/smoke.py", **settings)))
    thread.start()
    thread.join()
    (run,) = runs
    assert run.status == "finished" and run.last("step") == 5 and run.folder == tmp_path / "run"
    assert run.config["n_embd"] == 16 and run.config["learning_rate"] == 3e-3  # of the config file
    with pytest.raises(ValueError, match="n_layr=2: no such setting"):
        reslab.train(n_layr=2)


def test_handlers_of_signals_are_left_alone_in_a_thread():
    entered = []

    def enter():
        with on_ending_signals(print):
            entered.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered


def test_a_run_is_given_as_text_or_as_a_path(tmp_path, dataset_folder):
    run = reslab.train(**SMALL | {"dataset": dataset_folder, "out_dir": tmp_path / "run"})
    place = str(run.folder)
    assert read_run(place) == read_run(Path(place)) == run
    assert load_record(place).config == load_record(Path(place)).config
    one, other = (load(folder)[0] for folder in (place, Path(place)))
    ids = torch.arange(8)[None]
    assert torch.equal(one(ids), other(ids))
    datasets = [TokenDataset(folder, 16, 1) for folder in (str(dataset_folder), dataset_folder)]
    assert torch.equal(*(dataset.batch("train", 0, 2)[0] for dataset in datasets))


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """(the wheel, the environment's bin folder): this environment's libraries, and the project as a wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    copy_project(folder / "source")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    build = [*pip, "wheel", ".", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run(build, cwd=folder / "source", check=True)
    (wheel,) = folder.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "env")], check=True)
    scripts = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    python = scripts / "python"
    find = "import sysconfig; print(sysconfig.get_path('purelib'))"
    ours, theirs = (
        subprocess.run([program, "-c", find], capture_output=True, text=True, check=True).stdout.strip()
        for program in (sys.executable, str(python))
    )
    Path(theirs, "libraries.pth").write_text(f"{ours}\n")
    install = ["--python", str(python), "install", "--no-deps", "--no-index", str(wheel)]
    subprocess.run([*pip, *install], check=True)
    return wheel, scripts


@pytest.mark.slow
def test_a_wheel_holds_everything_and_no_common_name(installed):
    names = set(zipfile.ZipFile(installed[0]).namelist())
    tops = {name.split("/")[0] for name in names}
    assert tops == {"reslab", f"reslab-{reslab.__version__}.dist-info"}
    for pattern in ("*.py", "config/*.py", "data/*/prepare.py", "benchmarks/*.py"):
        for path in ROOT.glob(pattern):
            assert f"reslab/top/{path.relative_to(ROOT).as_posix()}" in names, path
    for path in [*(ROOT / "reslab").rglob("*.py"), *(ROOT / "reslab" / "report" / "web").iterdir()]:
        assert path.relative_to(ROOT).as_posix() in names, path


@pytest.mark.slow
def test_an_installed_wheel_is_used_in_an_empty_folder(installed, tmp_path):
    """Every program, with the names that the installation has; the folder of the package stays as it was."""
    here, text = tmp_path / "empty", tmp_path / "mine.txt"
    here.mkdir()
    text.write_text("".join(Path(module.__file__).read_text(encoding="utf-8") for module in (argparse, json)))
    environment = os.environ | {"RESLAB_DATA": str(tmp_path / "store")}
    environment.pop("PYTHONPATH", None)

    def start(*words, code=0) -> subprocess.CompletedProcess:
        command = [str(installed[1] / "reslab"), *map(str, words)]
        done = subprocess.run(command, cwd=here, env=environment, capture_output=True, encoding="utf-8")
        assert done.returncode == code and "Traceback" not in done.stderr, (words, done.stdout, done.stderr)
        return done

    lacking = start("train", "config/smoke.py", "--dataset=text", code=2).stderr
    assert lacking.strip().endswith("run: reslab prepare text")
    start("prepare", "text", text, "--quiet")
    words = [f"--{key}={value}" for key, value in SMALL.items() if key != "max_iters"]
    told = start("train", "config/smoke.py", "--dataset=text", "--max_iters=5", *words).stdout
    assert "reslab compare config/laptop.py" in told.splitlines()[-1]
    facts = json.loads((here / "runs" / "smoke" / "config.json").read_text(encoding="utf-8"))
    assert facts["command"].startswith("reslab train config/smoke.py --dataset=text")
    assert facts["reslab"] == reslab.__version__ and facts["git_commit"] is None
    grid = ["config/smoke.py", "--dataset=text", "--max_iters=5", "--arms=pre,none", "--out_dir=runs/grid"]
    assert "runs/grid/none" in start("compare", *grid, *words).stdout
    assert "\nsmoke " in start("compare", "runs/smoke", "runs/grid").stdout
    assert start("sample", "runs/smoke", "--prompt=def ", "--max_new_tokens=5").stdout.startswith("def ")
    assert "page: " in start("autopsy", "runs/smoke", "--sequences=4").stdout
    assert "usage: reslab export RUN DIR" in start("export", "--help").stdout
    assert "step-4L128" in start("bench", "--list").stdout
    assert sorted(path.name for path in here.iterdir()) == ["compare.html", "runs"]
