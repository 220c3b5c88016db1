"""A record of somebody's own loop: what is told is read back, what is not told is unknown everywhere."""

import csv
import json
import math
import os
import subprocess
import sys

import pytest
import torch
from conftest import ROOT, run_python, tiny_model
from runs_by_hand import config_of, facts_of, rows_of, write_run

import compare
import reslab
from reslab.report.facts import load
from reslab.report.html import html
from reslab.report.pagedata import page_data
from reslab.report.summary import row
from reslab.run.log import read_run
from reslab.run.recorder import NUMBERS, TEXTS

FACTS = list(facts_of("x", config_of()))
SETTINGS = ["residual", *NUMBERS, "dataset"]
SETTINGS += ["eval_sequences", "gradient_accumulation_steps", "residual_scale"]


def test_importing_reslab_imports_nothing_heavy():
    code = (
        "import sys, reslab; print([m for m in ('torch', 'numpy', 'pandas', 'plotly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    with pytest.raises(AttributeError, match="nothing_of_this_name"):
        _ = reslab.nothing_of_this_name


def test_what_a_loop_tells_is_read_back(tmp_path):
    model = torch.nn.Linear(3, 4)
    model.bias.requires_grad = False
    config = {"learning_rate": 3e-4, "seed": 7, "width": torch.tensor(4), "rates": (1, 2), "where": tmp_path}
    with reslab.Recorder(tmp_path / "mine", config=config, model=model) as log:
        log(0, loss=torch.tensor(3.5), grad_norm=2)
        log(1, loss=3.25, **{"val/bits_per_byte": 1.5})
        log(2, val_loss=3.0, val_loss_se=0.125, train_loss=2.5)
    run = load(tmp_path / "mine")
    rows = [{k: v for k, v in r.items() if k != "elapsed_s"} for r in run.rows]
    assert rows == [
        {"step": 0, "batch/loss": 3.5, "batch/grad_norm": 2},
        {"step": 1, "batch/loss": 3.25, "val/bits_per_byte": 1.5},
        {"step": 2, "val/loss": 3.0, "val/loss_se": 0.125, "train/loss": 2.5},
        {"step": 2, "status": "finished"},
    ]
    assert run.config["learning_rate"] == 3e-4 and run.config["seed"] == 7 and run.config["width"] == 4
    assert run.config["rates"] == [1, 2] and run.config["where"] == str(tmp_path)
    assert run.facts["parameters"] == 12 and run.facts["torch"] == torch.__version__
    cells = row(run)
    assert (cells["arm"], cells["layers"], cells["-bigram"]) == ("unknown", "unknown", "unknown")
    assert (cells["val"], cells["train"], cells["params"]) == ("3.000 ± 0.125", "2.500", "12")


def test_the_commit_is_that_of_the_script_not_of_reslab(tmp_path):
    """With + once a file of that repository has changed; a script outside a repository has none."""
    script = "import reslab\nwith reslab.Recorder({!r}) as log:\n    log(0, loss=1.0)\n"
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "GIT_CEILING_DIRECTORIES": str(tmp_path)}

    def git(*words) -> str:
        command = ["git", "-C", str(tmp_path / "repo"), *identity, *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def recorded(folder: str) -> str | None:
        place = tmp_path / f"run{len(list(tmp_path.glob('run*')))}"
        path = tmp_path / folder / "loop.py"
        path.write_text(script.format(str(place)), encoding="utf-8")
        run_python(path, cwd=tmp_path, env=environment)
        return read_run(place).facts["git_commit"]

    for folder in ("repo", "bare"):
        (tmp_path / folder).mkdir()
    git("init")
    (tmp_path / "repo" / "kept.txt").write_text("a", encoding="utf-8")
    git("add", "kept.txt")
    git("commit", "-m", "a file")
    commit = git("rev-parse", "--short=12", "HEAD")
    assert recorded("repo") == commit and recorded("bare") is None
    (tmp_path / "repo" / "kept.txt").write_text("b", encoding="utf-8")
    assert recorded("repo") == f"{commit}+"


def test_the_settings_of_one_of_our_models_are_taken_and_the_callers_win(tmp_path):
    with reslab.Recorder(tmp_path / "mine", config={"n_head": 1}, model=tiny_model(residual="none")) as log:
        log(0, val_loss=3.0)
    config = load(tmp_path / "mine").config
    assert (config["n_layer"], config["residual"], config["n_head"]) == (3, "none", 1)


def test_the_end_of_a_loop_is_told(tmp_path):
    with reslab.Recorder(tmp_path / "diverged") as log:
        log(0, loss=1.0)
        log(1, loss=float("nan"))
    assert load(tmp_path / "diverged").status == "diverged"
    with pytest.raises(RuntimeError, match="broken"), reslab.Recorder(tmp_path / "broken") as log:
        log(0, loss=1.0)
        raise RuntimeError("broken")
    assert load(tmp_path / "broken").status == "unfinished" and len(load(tmp_path / "broken").rows) == 1


@pytest.mark.parametrize("value", ["six", [1], {"a": math.nan}, True, 2.5, math.inf, 10**30, 10**400, None])
@pytest.mark.parametrize("key", [*TEXTS, *NUMBERS, "residual_scale", "dataset", "n_head", "width"])
def test_what_is_recorded_can_be_compared(tmp_path, key, value):
    """What compare.py would refuse is refused before anything is written."""
    try:
        with reslab.Recorder(tmp_path / "mine", config={"residual": "scaled", key: value}) as log:
            log(0, val_loss=3.0)
    except ValueError as error:
        assert str(error).startswith(f"config: {key} is ") and not (tmp_path / "mine").exists()
    else:
        run = load(tmp_path / "mine")
        assert row(run)["val"] == "3.000" and html(page_data([run], "one"))


def test_what_can_not_be_recorded_is_one_line(tmp_path):
    used = write_run(tmp_path, "used")
    for call, message in [
        (lambda log: reslab.Recorder(used), "holds something already.*a folder of its own"),
        (lambda log: reslab.Recorder(tmp_path / "x", config=[1]), "must be a dict"),
        (lambda log: reslab.Recorder(tmp_path / "x")(0, loss=1.0), "in a with block"),
        (lambda log: log(1.5, loss=1.0), "must be a whole number"),
        (lambda log: log(2, loss=1.0), "must be a whole number of at least 3"),
        (lambda log: log(4, loss="low"), "batch/loss is a str, must be a number"),
        (lambda log: log(4, **{"probe/resid_rms": "high"}), "probe/resid_rms: must be a number, or a list"),
        (lambda log: log(4, **{"probe/resid_rms": 3}), "a probe of another shape"),
        (lambda log: log(10**400, loss=1.0), "no whole number under step"),
    ]:
        with reslab.Recorder(tmp_path / message.replace(" ", "-").replace("/", "-")[:40]) as log:
            log(3, loss=1.0)
            with pytest.raises(ValueError, match=message) as error:
                call(log)
        assert len(str(error.value).splitlines()) == 1
    assert len(load(used).rows) > 3  # nothing was overwritten


@pytest.mark.parametrize("lacking", [f"fact {key}" for key in FACTS] + [f"setting {key}" for key in SETTINGS])
def test_a_run_without_a_fact_is_shown_in_table_json_csv_and_page(tmp_path, lacking):
    """Beside a whole run: unknown is said, and no other number changes."""
    kind, _, key = lacking.partition(" ")
    write_run(tmp_path, "whole")
    bare = write_run(tmp_path, "bare", losses=(3.9, 3.2, 2.8))
    content = json.loads((bare / "config.json").read_text(encoding="utf-8"))
    (content if kind == "fact" else content["config"]).pop(key, None)
    (bare / "config.json").write_text(json.dumps(content), encoding="utf-8")
    files = {name: tmp_path / f"out.{name}" for name in ("json", "csv", "tex", "curves")}
    argv = [f"--{name}={path}" for name, path in files.items()]
    assert compare.main([str(tmp_path), *argv, f"--page={tmp_path / 'p.html'}"]) == 0
    run = load(bare)
    one = next(r for r in json.loads(files["json"].read_text())["runs"] if r["run"] == "bare")
    cells = next(r for r in csv.DictReader(files["csv"].open(newline="")) if r["run"] == "bare")
    assert one["val/loss"] == float(cells["val/loss"]) == 2.8 and row(run)["val"].startswith("2.800")
    (entry,) = page_data([run], "one")["runs"]
    assert entry["curves"]["val"]["loss"] == [3.9, 3.2, 2.8] and "2.8" in html(page_data([run], "one"))
    if key in ("torch", "machine", "device", "started", "command"):
        assert one[key] == cells[key] == "unknown"
    if key == "residual":
        assert one["arm"] == cells["arm"] == row(run)["arm"] == entry["arm"] == "unknown"
    if key == "n_layer":
        assert row(run)["layers"] == "unknown"
    if key in ("batch_size", "block_size"):
        assert entry["tokens_per_step"] is None
    if key == "seed":
        assert one["seed"] is None and cells["seed"] == ""
    if key == "baselines_nats":
        assert one["val_minus_bigram"] is None and entry["baselines"] == {"train": {}, "val": {}}


def test_runs_that_tell_nothing_but_losses_are_compared(tmp_path, capsys):
    rows = rows_of((3.0, 2.0), config_of(), "finished")
    for name in ("a", "b"):
        folder = write_run(tmp_path, name, rows=[r for r in rows if "val/loss" in r or "status" in r])
        (folder / "config.json").write_text('{"config": {}}', encoding="utf-8")
    assert compare.main([str(tmp_path), f"--page={tmp_path / 'p.html'}"]) == 0
    out = capsys.readouterr().out
    assert "2.000 ± 0.021" in out and "unknown" in out
