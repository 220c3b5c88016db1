"""The trackers of --log: complete, one run however often it resumes, and never in the way of training."""

import importlib.util
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from conftest import ROOT, power_cut_at

from reslab.instruments import probes
from reslab.report import trackers
from reslab.report.pixels import LOG, MISSING, RAMP, picture, scale_of
from reslab.run.configfile import UsageError
from reslab.run.log import read_run
from reslab.training.loop import train
from train import main

TIMES = {"elapsed_s", "tokens_per_s"}


def needs(package: str):
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


def rows(folder) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in TIMES} for row in read_run(Path(folder)).rows]


class Recorder:
    """A tracker that remembers, and fails where it is told to."""

    made: ClassVar[list] = []
    fails_in = ()

    def __init__(self, run):
        self.run, self.calls = run, []
        self._fail("init")
        Recorder.made.append(self)

    def _fail(self, where):
        if where in Recorder.fails_in:
            raise RuntimeError(f"no luck in {where}\nand a long story")

    def write(self, step, numbers, pictures, texts):
        self.calls.append((step, numbers, pictures, texts))
        self._fail("write")

    def page(self, path):
        self.calls.append(path.read_text(encoding="utf-8")[:15])
        self._fail("page")

    def close(self):
        self.calls.append("closed")
        self._fail("close")


@pytest.fixture
def recorder(monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "recorder", trackers.Tracker(Recorder, takes_page=True))
    monkeypatch.setattr(Recorder, "made", [])
    monkeypatch.setattr(Recorder, "fails_in", ())
    return Recorder


def test_a_tracker_gets_every_row_and_the_page(recorder, train_config, tmp_path):
    assert train(train_config(log="recorder", max_iters=3, eval_interval=3)) == 0
    (tracker,) = recorder.made
    assert tracker.run.config["n_layer"] == 2 and tracker.run.name == "run"
    written = rows(tmp_path / "run")
    assert [call[0] for call in tracker.calls[:-2]] == [row["step"] for row in written]
    for row, (_, numbers, pictures, texts) in zip(written, tracker.calls, strict=False):
        for key, value in row.items():
            if isinstance(value, list):
                assert (numbers[f"{key}/first"], numbers[f"{key}/last"]) == (value[0], value[-1])
                image = pictures[
                    f"{key}/{scale_of(probes.describe().get(key.removeprefix('probe/'), {})).name}"
                ]
                assert image.dtype == np.uint8 and image.shape[2] == 3
            elif key != "step":
                assert (texts if isinstance(value, str) else numbers)[key] == value
    assert tracker.calls[-2:] == ["<!doctype html>", "closed"]


def test_losses_are_bitwise_those_of_a_run_without_trackers(recorder, train_config, tmp_path):
    train(train_config(log="recorder", max_iters=4))
    train(train_config(max_iters=4, out_dir=str(tmp_path / "plain")))
    assert rows(tmp_path / "run") == rows(tmp_path / "plain")


@pytest.mark.parametrize("where", ["init", "write", "page", "close"])
def test_a_tracker_that_fails_is_left_out_with_one_warning(
    recorder, train_config, tmp_path, monkeypatch, capsys, where
):
    monkeypatch.setattr(recorder, "fails_in", (where,))
    assert train(train_config(log="recorder", max_iters=3)) == 0
    assert read_run(tmp_path / "run").status == "finished"
    warnings = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    warning = f"warning: recorder failed (RuntimeError: no luck in {where}); going on without it"
    assert warnings == [warning]


def test_a_resumed_run_is_the_same_run(recorder, train_config, tmp_path, monkeypatch):
    config = train_config(log="recorder", max_iters=6, eval_interval=2)
    with pytest.raises(RuntimeError):
        train(config, power_cut_at(5))
    assert train(replace(config, resume=True)) == 0
    assert train(replace(config, overwrite=True)) == 0
    one, again, other = recorder.made
    assert one.run.run_id == again.run.run_id != other.run.run_id
    assert (one.run.step, again.run.step, other.run.step) == (0, 5, 0)  # what failed was saved first
    # the pictures of the resumed run show the probes from before as well
    tag = f"probe/stream_rms/{LOG.name}"
    last = [call for call in again.calls if tag in (call[2] if len(call) == 4 else ())][-1]
    probed = [row["probe/stream_rms"] for row in rows(tmp_path / "run") if "probe/stream_rms" in row]
    assert (last[2][tag] == picture(probed, LOG)).all()


def test_a_picture_shows_layers_by_steps():
    image = picture([[1e-10, 1e3], [1e-10, 10**-3.5], [1e-10, math.nan], [1e-10, None]], LOG)
    assert image.shape == (256, 256 + 32, 3)
    cells = image[64:256:128, 32:256:64]  # (layers, steps), layer 0 at the bottom
    assert (cells[1] == RAMP[0]).all() and (cells[0, 0] == RAMP[-1]).all()
    assert (cells[0, 1] == RAMP[2]).all()  # half way by its logarithm
    assert (cells[0, 2:] == MISSING).all()
    assert (image[0, -1] == RAMP[-1]).all() and (image[-1, -1] == RAMP[0]).all()  # the bar
    assert picture([[0.0] * 600] * 2000, LOG).shape == (600, 256 + 32, 3)


def test_a_picture_of_more_steps_than_pixels_begins_at_the_first_and_ends_at_the_newest():
    values = [[10.0 ** (k / 200)] for k in range(600)]
    image = picture(values, LOG)
    for at, value in ((0, values[0]), (255, values[-1]), (128, values[301])):
        assert (image[0, at] == picture([value], LOG)[0, 0]).all(), at


def test_pictures_of_one_probe_have_one_scale_whatever_the_values():
    low, high = (picture([[value]], scale_of({}))[0, 0] for value in (1e-8, 1e-2))
    assert (low != high).any()  # each would be the same colour on a range of its own
    names = {name: scale_of(about).name for name, about in probes.describe().items()}
    assert names["resid_gradient"] == "log 1e-10 to 1000" == scale_of({}).name
    assert names["added_cosine"] == names["branch_cosine"] == "linear -1 to 1"
    assert names["position0_share"] == names["attention_entropy"] == "linear 0 to 1"
    assert names["token_diversity"] == names["update_ratio"] == "log 1e-06 to 1"
    for name, about in probes.describe().items():  # a bar and an axis that differ would mislead
        assert names[name].startswith(about["scale"])


def test_no_page_is_written_for_a_tracker_that_takes_none(recorder, train_config, tmp_path, monkeypatch):
    monkeypatch.setitem(trackers.TRACKERS, "recorder", trackers.Tracker(Recorder))
    assert train(train_config(log="recorder", max_iters=2)) == 0
    assert not list((tmp_path / "run").rglob("*.html"))
    assert recorder.made[0].calls[-1] == "closed" and "<!doctype html>" not in recorder.made[0].calls


def test_what_is_not_installed_is_told_before_anything_starts(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    argv = [str(ROOT / "config/smoke.py"), f"--out_dir={tmp_path}/run", "--log=wandb,excel"]
    with pytest.raises(UsageError) as error:
        main(argv)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("log=wandb: not installed; run: ") and lines[0].endswith("pip install wandb")
    assert lines[1] == f"log=excel: allowed are {', '.join(trackers.TRACKERS)}, several with commas"
    assert not (tmp_path / "run").exists()


def test_nothing_is_imported_unless_asked_for(train_config, monkeypatch):
    for name in ("tensorboard", "wandb", "trackio", "torch.utils.tensorboard"):
        monkeypatch.setitem(sys.modules, name, None)  # importing it now would fail
    assert train(train_config(max_iters=2)) == 0


@needs("tensorboard")
def test_tensorboard_holds_the_rows_once_even_after_a_crash(train_config, tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = train_config(log="tensorboard", max_iters=6, eval_interval=2)
    with pytest.raises(RuntimeError):
        train(config, power_cut_at(5))
    train(replace(config, resume=True))
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"), {"images": 0, "scalars": 0})
    events.Reload()
    written = rows(tmp_path / "run")
    for key in ("batch/loss", "val/loss", "probe/layers_that_learn"):
        expected = [(row["step"], pytest.approx(row[key])) for row in written if key in row]
        assert [(event.step, event.value) for event in events.Scalars(key)] == expected
    images = events.Images(f"probe/gradient_norm/{LOG.name}")
    assert images[-1].step == 6 and images[-1].encoded_image_string.startswith(b"\x89PNG")
    assert {"config/text_summary", "diagnosis/text_summary"} <= set(events.Tags()["tensors"])
    baselines = read_run(tmp_path / "run").facts["baselines_nats"]
    drawn = {event.step: event.value for event in events.Scalars("baseline/bigram")}
    assert drawn == {
        row["step"]: pytest.approx(baselines["bigram"]["val"]) for row in written if "val/loss" in row
    }
    layout = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert all(name.encode() in layout for name in trackers.ONE_CHART)
    (final,) = events.Scalars("final/val/loss")[-1:]
    assert final.value == pytest.approx(read_run(tmp_path / "run").last("val/loss"))


@needs("wandb")
def test_wandb_offline_writes_one_run_when_it_is_resumed(train_config, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = train_config(log="wandb", max_iters=2, eval_interval=2)
    assert train(config) == 0
    assert train(replace(config, resume=True, optim=replace(config.optim, max_iters=4))) == 0
    run_id = json.loads((tmp_path / "run" / "trackers.json").read_text(encoding="utf-8"))["id"]
    files = list((tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb"))
    assert len(files) == 2 and {path.stem for path in files} == {f"run-{run_id}"}
    assert all(b"gradient_reach" in path.read_bytes() for path in files)


@needs("trackio")
def test_trackio_keeps_the_run_on_this_machine(train_config, tmp_path):
    """In a process of its own: where trackio keeps its runs is read when it is imported."""
    import os
    import subprocess

    config = train_config(max_iters=2)
    argv = [
        f"--{k}={v}"
        for k, v in {
            "dataset": config.dataset,
            "out_dir": config.out_dir,
            "max_iters": 2,
            "warmup_iters": 1,
            "device": "cpu",
            "log": "trackio",
        }.items()
    ]
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "train.py", "config/smoke.py", *argv]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and "warning" not in done.stderr, done.stderr
    script = (
        "import json, trackio; kept = trackio.SQLiteStorage; name, = kept.get_runs('reslab')\n"
        "found = [name, kept.get_run_config('reslab', name), kept.get_logs('reslab', name)]\n"
        "print(json.dumps([*found, kept.get_artifacts('reslab')], default=str))"
    )
    read = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert read.returncode == 0, read.stderr
    name, kept, history, artifacts = json.loads(read.stdout.splitlines()[-1])
    assert name.startswith("run-") and kept["n_layer"] == 3
    steps = [row["step"] for row in rows(config.out_dir) if "val/loss" in row]
    assert [row["step"] for row in history if "val/loss" in row] == steps
    assert any("trackio.image" in str(row) for row in history)
    assert "page-run" in str(artifacts)


def test_the_page_that_compares_runs_is_published(recorder, tmp_path, monkeypatch, capsys):
    page = tmp_path / "compare.html"
    page.write_text("<!doctype html>", encoding="utf-8")
    trackers.publish_page(page, "recorder,tensorboard", tmp_path)
    trackers.publish_page(page, "recorder", tmp_path)
    assert [tracker.calls for tracker in recorder.made] == [["<!doctype html>", "closed"]] * 2
    assert len({tracker.run.run_id for tracker in recorder.made}) == 1
    trackers.publish_page(page, "", tmp_path)
    assert len(recorder.made) == 2
    monkeypatch.setattr(recorder, "fails_in", ("page",))
    trackers.publish_page(page, "recorder", tmp_path)
    assert capsys.readouterr().err.splitlines() == [
        f"warning: recorder did not take {page} (RuntimeError: no luck in page)"
    ]
