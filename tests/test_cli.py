"""The programs as a user runs them, in a temporary folder and without a network."""

import json
import os
import re
import runpy
import signal
import subprocess
import sys
import time

import pytest
from conftest import ROOT, run_python

import compare
import train
from reslab.residual import WIRINGS
from reslab.run.fields import settings
from reslab.run.settings import TrainConfig
from reslab.training.grid import plan
from reslab.training.optimizer import SCHEDULES

TINY = ["--n_layer=2", "--n_head=2", "--n_embd=16", "--block_size=16", "--batch_size=4", "--eval_sequences=8"]
TINY += ["--warmup_iters=2", "--eval_interval=4", "--log_interval=1", "--device=cpu"]


@pytest.fixture(scope="module")
def text_folder(tmp_path_factory):
    """A dataset prepared from two of our own files by the command that users have."""
    folder = tmp_path_factory.mktemp("text")
    run_python(ROOT / "data/text/prepare.py", ROOT / "train.py", ROOT / "reslab", "--out", folder, "--quiet")
    return folder


@pytest.fixture(scope="module")
def trained(text_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = run_python(
        "train.py",
        "config/smoke.py",
        *TINY,
        f"--dataset={text_folder}",
        f"--out_dir={folder}",
        "--max_iters=8",
    )
    assert done.stdout.splitlines()[-1].startswith("everything works: ")
    assert "not learned" not in done.stdout  # 8 updates can't, and a first run that works is no failure
    return folder


def test_a_run_leaves_its_record(trained):
    facts = json.loads((trained / "config.json").read_text(encoding="utf-8"))
    assert facts["config"]["n_layer"] == 2 and facts["config"]["learning_rate"] == 3e-3
    assert facts["torch"] and facts["device"] == "cpu" and "train.py config/smoke.py" in facts["command"]
    assert {p.name for p in trained.iterdir()} >= {"config.json", "metrics.jsonl", "checkpoint"}
    assert {p.name for p in (trained / "checkpoint").iterdir()} == {"last", "last.previous", "best"}


@pytest.mark.slow
def test_text_comes_from_the_checkpoint_alone(trained, tmp_path):
    alone = tmp_path / "alone"
    alone.mkdir()
    for name in ("model.safetensors", "state.json", "SHA256SUMS"):
        (alone / name).write_bytes((trained / "checkpoint" / "best" / name).read_bytes())
    argv = [ROOT / "sample.py", alone, "--prompt", "def ", "--max_new_tokens", "30"]
    one = run_python(*argv, cwd=tmp_path).stdout
    assert one.startswith("def ") and len(one) == len("def ") + 30 + 1
    (tmp_path / "prompt.txt").write_text("def ", encoding="utf-8")
    argv[3] = "FILE:prompt.txt"
    assert run_python(*argv, "--num_samples=2", cwd=tmp_path).stdout.count(one) == 1
    greedy = [run_python(*argv, "--temperature=0", f"--seed={s}", cwd=tmp_path).stdout for s in (1, 2)]
    assert greedy[0] == greedy[1]
    assert len(run_python(*argv, "--dtype=bfloat16", cwd=tmp_path).stdout) == len(one)
    assert "--dtype=int8: allowed are auto" in run_python(*argv, "--dtype=int8", cwd=tmp_path, code=2).stderr


@pytest.mark.slow
def test_an_autopsy_prints_and_draws(trained, tmp_path):
    argv = ["autopsy.py", trained, "--sequences=4", "--tokens=2", f"--json={tmp_path}/autopsy.json"]
    stdout = run_python(*argv).stdout
    assert "without block" in stdout and "change the first token" in stdout and "branches" in stdout
    report = json.loads((tmp_path / "autopsy.json").read_text(encoding="utf-8"))
    assert len(report["layers"]) == 2
    page = (trained / "autopsy.html").read_text(encoding="utf-8")
    for picture in ("Lesions", "Logit lens", "Perturbation", "Path lengths", "Jacobians"):
        assert f'"name":"{picture}"' in page


@pytest.mark.slow
def test_a_grid_is_trained_kept_and_compared(text_folder, tmp_path):
    argv = ["compare.py", "config/smoke.py", *TINY, f"--dataset={text_folder}", "--max_iters=4"]
    argv += [
        f"--out_dir={tmp_path}/grid",
        "--arms=none",
        "--seeds",
        "2",
        "--page",
        tmp_path / "page.html",
    ]
    first = run_python(*argv).stdout
    assert first.count(": training") == 2
    metrics = tmp_path / "grid" / "none-L2-s1337" / "metrics.jsonl"
    rows = metrics.read_text(encoding="utf-8").splitlines(keepends=True)
    metrics.write_text("".join(rows[:-1]), encoding="utf-8")  # a run that broke just before its end
    again = run_python(*argv).stdout
    assert again.count(": kept") == 1 and again.count(": resuming") == 1
    assert metrics.read_text(encoding="utf-8") == "".join(rows)
    assert "none-L2-s1337" in again and "<bigram at" in again
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in page and '"label":"none, 2 layers, seed 1337"' in page
    refused = run_python(*argv, "--batch_size=3", code=2).stderr
    assert "made with batch_size=4, now batch_size=3" in refused
    assert len(refused.splitlines()) == 1


@pytest.mark.slow
def test_a_killed_run_is_resumed(text_folder, tmp_path):
    """SIGKILL in the middle of a run, then --resume: the record is that of a run left alone."""
    argv = [
        "train.py",
        "config/smoke.py",
        *TINY,
        f"--dataset={text_folder}",
        "--max_iters=4000",
        "--eval_interval=20",
    ]
    argv += [f"--out_dir={tmp_path}/run"]
    metrics = tmp_path / "run" / "metrics.jsonl"
    child = subprocess.Popen([sys.executable, *argv], cwd=ROOT, stdout=subprocess.DEVNULL)
    for _ in range(600):
        if metrics.exists() and metrics.read_bytes().count(b"val/loss") >= 3:
            break
        time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    before = metrics.read_text(encoding="utf-8").splitlines()
    child = subprocess.Popen([sys.executable, *argv, "--resume"], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for _ in range(600):
        if metrics.read_bytes().count(b"val/loss") >= 6:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGINT)
    stdout, _ = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "saved; go on with: python train.py config/smoke.py" in stdout and stdout.strip().endswith(
        "--resume"
    )
    rows = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    steps = [row["step"] for row in rows if "batch/loss" in row]
    assert steps == list(range(len(steps)))
    for line in before[:-1]:
        row = json.loads(line)
        same = next(r for r in rows if r["step"] == row["step"] and r.keys() == row.keys())
        assert all(same[key] == row[key] for key in row if key not in ("elapsed_s", "tokens_per_s"))


@pytest.mark.parametrize(
    ("argv", "lines"),
    [
        (
            ["train.py", "config/smok.py"],
            ["config/smok.py: no such config file; did you mean config/smoke"],
        ),
        (
            ["train.py", "--n_layr=3", "--n_head=x", "--compile"],
            [
                "--n_layr=3: no such setting; did you mean --n_layer?",
                "--n_head=x: must be a whole number",
                "--compile: needs a value",
            ],
        ),
        (
            ["train.py", "--residual=skip", "--dropout=1", "--schedule=step", "--batch_size=0"],
            [
                f"--residual=skip: allowed are {', '.join(WIRINGS)}",
                "--dropout=1: must be at least 0 and below 1",
                f"--schedule=step: allowed are {', '.join(SCHEDULES)}",
                "--batch_size=0: must be at least 1",
            ],
        ),
        (["train.py", "runs"], ["runs: neither a config file (*.py) nor --key=value"]),
        (["train.py", "--dataset=shakspeare"], ["dataset=shakspeare: no such folder; known names are "]),
        (["train.py", "--device=cuda:7"], ["device=cuda:7: not available with torch"]),
        (["sample.py", "nowhere"], ["nowhere: no such file or folder"]),
        (["sample.py"], ["no RUN given; run for example: python sample.py runs/out"]),
        (["export.py"], ["no RUN DIR given; run for example: python export.py runs/out exported"]),
        (
            ["train.py", "config/smoke.py", "--max_iters=3"],
            ["warmup_iters=5: must be at most max_iters=3 (config/smoke.py: warmup_iters=5)"],
        ),
        (
            ["sample.py", "x", "--top_p=0", "--temperature=-1"],
            ["--top_p=0: must be above 0", "--temperature=-1: must be finite"],
        ),
        (["compare.py", "nowhere"], ["nowhere: no such file or folder"]),
        (
            ["compare.py", "config/smoke.py", "--arms=pre,nine"],
            [f"--arms=nine: allowed are {', '.join(WIRINGS)}"],
        ),
        (
            ["compare.py", "config/smoke.py", "--depths=x,2,y", "--lrs=abc", "--vary", "n_head=0"],
            [
                "--depths=x: must be a whole number",
                "--vary=n_head=0: must be at least 1",
                "--lrs=abc: must be a number",
                "--depths=y: must be a whole number",
            ],
        ),
        (["compare.py", "config/smoke.py", "--n_layer=x"], ["--n_layer=x: must be a whole number"]),
        (["train.py", "--out_dir=", "--init_from="], ["--out_dir=: must be a path", "--init_from=: must be"]),
        (["sample.py", ""], ["an argument is empty; leave it out, or give a path"]),
        (["data/text/prepare.py", "nowhere"], ["nowhere: no such file or folder"]),
    ],
)
def test_what_can_not_be_done_is_told_in_a_line_each(argv, lines, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as end:
        runpy.run_path(argv[0], run_name="__main__")
    assert end.value.code == 2
    stderr = capsys.readouterr().err.splitlines()
    for expected, line in zip(lines, stderr, strict=True):
        assert line.startswith(f"error: {expected}")


def test_an_unknown_character_of_the_prompt_is_named(trained):
    stderr = run_python("sample.py", trained, "--prompt=α", code=2).stderr
    assert "\nerror: character 'α' at position 0 is not among the" in stderr


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.py")), ids=lambda path: path.stem)
def test_every_config_can_be_read(path, capsys):
    with pytest.raises(SystemExit) as end:
        train.main([str(path), "--print_config"])
    assert end.value.code == 0
    assert f"out_dir = 'runs/{path.stem}'" in capsys.readouterr().out


STUDIES = ("study", "study_gpu", "rescue", "depth_mup", "degradation", "wirings")


@pytest.mark.slow
@pytest.mark.parametrize("name", STUDIES)
def test_every_cell_of_a_study_can_be_trained(name):
    args, places, settings = compare.read_arguments([str(ROOT / "config" / f"{name}.py")])
    cells = plan(args, places, settings)
    assert len(cells) >= 30
    assert any(cell.folder.name == "sgd-none-optimizersgd-lr0.1" for cell in cells) == (name == "study")


def test_the_help_names_every_wiring_and_setting():
    stdout = run_python("train.py", "--help").stdout
    assert all(f"--{key}" in stdout for key in settings(TrainConfig))
    assert set(WIRINGS) <= set(re.split(r"[\s(),]+", stdout))
