"""Going on after a stop: everything that changes while a run trains comes back."""

import dataclasses
import json
import os
import shutil
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import power_cut_at, rows, update

from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.run import checkpoint
from reslab.run.log import read_run
from reslab.system import parallel
from reslab.training import compiling, loop, measure
from reslab.training.context import RunContext
from reslab.training.loop import train
from reslab.training.state import TrainState, restore, save
from reslab.training.step import make_state, train_step


class StopBefore:
    """A step function that gets Ctrl-C in the middle of the nth updates; it keeps the steps of all."""

    def __init__(self, *stops: int):
        self.stops, self.steps = stops, []

    def __call__(self, state, *rest):
        if len(self.steps) in self.stops:
            os.kill(os.getpid(), signal.SIGINT)
        self.steps.append(state.step)
        return train_step(state, *rest)


def last(config) -> Path:
    return Path(config.out_dir) / "checkpoint" / "last"


def test_every_field_of_the_state_comes_back(train_config, dataset_folder, tmp_path):
    config = train_config(dtype="float16", dropout=0.1, out_dir=str(tmp_path))
    dataset = TokenDataset(dataset_folder, 16, config.seed)
    state, fresh = (make_state(replace(config, seed=s), dataset.vocab_size) for s in (1, 2))
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**9, growth_interval=3)
    for state.step in range(2):
        update(state, config, dataset)
    plain = []
    for number, field in enumerate(dataclasses.fields(TrainState), 3):
        before = getattr(state, field.name)
        if isinstance(before, bool | int | float):
            setattr(state, field.name, not before if isinstance(before, bool) else type(before)(number))
            plain.append(field.name)
    rest = {field.name for field in dataclasses.fields(TrainState)} - set(plain)
    assert rest == {"model", "optimizer", "scaler"} and len(plain) >= 6
    save(state, RunContext(config, dataset), best=False)
    restore(fresh, tmp_path / "checkpoint" / "last", dataset)
    for name in plain:
        assert getattr(fresh, name) == getattr(state, name), name
        assert type(getattr(fresh, name)) is type(getattr(state, name))
    assert fresh.scaler.state_dict() == state.scaler.state_dict() and fresh.scaler.get_scale() == 2.0**9
    for a, b in zip(fresh.model.parameters(), state.model.parameters(), strict=True):
        assert torch.equal(a, b)
        for key, value in state.optimizer.state[b].items():
            assert torch.equal(fresh.optimizer.state[a][key], value)
    metrics = [update(one, config, dataset) for one in (state, fresh)]
    assert metrics[0] == metrics[1]


def test_an_evaluation_that_is_saved_is_not_made_again(train_config):
    def fails_once(state, *rest):
        if state.step == 8 and not failed:
            failed.append(state.step)
            raise RuntimeError("out of luck")
        return train_step(state, *rest)

    config, failed = train_config(eval_interval=4, probe_interval=4), []
    with pytest.raises(RuntimeError, match="out of luck"):
        train(config, fails_once)
    assert train(replace(config, resume=True), fails_once) == 0 and failed == [8]
    for key in ("val/loss", "probe/resid_rms"):
        steps = [row["step"] for row in rows(config) if key in row]
        assert {0, 4, 8, 12} <= set(steps) and steps == sorted(set(steps)), key


def test_a_best_loss_that_is_none_yet_comes_back_too(train_config, dataset_folder, tmp_path):
    config = train_config(out_dir=str(tmp_path))
    dataset = TokenDataset(dataset_folder, 16, config.seed)
    state = make_state(config, dataset.vocab_size)
    for best in (state.best_val_loss, 0.0):
        state.best_val_loss = best
        save(state, RunContext(config, dataset), best=False)
        other = make_state(config, dataset.vocab_size)
        restore(other, tmp_path / "checkpoint" / "last", dataset)
        assert other.best_val_loss == best


@pytest.mark.parametrize(
    ("stop_at", "settings"),
    [
        (3, {}),
        (5, {"gradient_accumulation_steps": 3, "optimizer": "sgd"}),
        (3, {"optimizer": "adagrad"}),
        (9, {"gradient_accumulation_steps": 2, "optimizer": "muon", "muon_lr": 0.02}),
        (4, {"dtype": "float16", "optimizer": "muon"}),
        (7, {"dtype": "bfloat16", "activation_checkpointing": True, "residual": "highway"}),
        (2, {"dtype": "float64", "residual": "none", "n_layer": 6}),
        (6, {"gradient_accumulation_steps": 2, "residual": "stochastic_depth"}),
    ],
)
def test_a_stopped_run_goes_on_bitwise(train_config, tmp_path, monkeypatch, stop_at, settings):
    """With dropout and a half-done warmup; float16's scale shrinks at first and grows every 3 updates."""
    scaler = partial(torch.amp.GradScaler, init_scale=2.0**30, growth_interval=3)
    monkeypatch.setattr(torch.amp, "GradScaler", scaler)
    uninterrupted = train_config(dropout=0.1, sample_tokens=5, **settings)
    train(uninterrupted)
    parts = replace(uninterrupted, out_dir=str(tmp_path / "b"))
    step = StopBefore(stop_at, stop_at + 1)
    assert train(parts, step) == 130
    assert train(replace(parts, resume=True), step) == 130
    assert train(replace(parts, resume=True), step) == 0
    assert step.steps == list(range(12))
    assert rows(parts) == rows(uninterrupted)
    for name in ("last", "best"):
        files = [Path(c.out_dir) / "checkpoint" / name / "model.safetensors" for c in (parts, uninterrupted)]
        assert files[0].read_bytes() == files[1].read_bytes()
    actual, expected = (checkpoint.load_optimizer(last(config)) for config in (parts, uninterrupted))
    assert actual["scaler"] == expected["scaler"]
    assert str(actual["optimizer"]) == str(expected["optimizer"])


@pytest.mark.parametrize("before", [0.5, 1.0])
def test_a_resumed_run_is_compiled_as_it_was_whatever_was_measured_since(
    train_config, tmp_path, monkeypatch, capsys, before
):
    """An older version recorded no choice and compiled nothing; --compile overrules what was."""
    asked, place = [], tmp_path / "run"
    monkeypatch.setattr(parallel, "compile_model", lambda model, setting, device: asked.append(setting))

    def go_on(ratio: float, steps: int, **changes) -> str:
        monkeypatch.setattr(compiling, "pays", lambda *rest: ratio == 0.5)
        settings = {"n_embd": 128, "max_iters": steps, "warmup_iters": 0, "resume": place.exists()}
        assert train(train_config(**settings | changes)) == 0
        assert read_run(tmp_path / "run").config["compile"] == changes.get("compile", "auto")
        assert f"{read_run(tmp_path / 'run').facts['compile']}" == asked[-1]
        assert ("compiling, as it was measured" in capsys.readouterr().err) == (
            asked[-1] == "True" and not changes
        )
        return asked[-1]

    first = f"{before == 0.5}"
    assert [go_on(before, 1), go_on(1.5 - before, 2), go_on(1.5 - before, 3)] == [first] * 3
    assert go_on(before, 4, compile=f"{before != 0.5}") != first
    assert go_on(before, 5) == first  # the run before had no auto
    facts = json.loads((place / "config.json").read_text(encoding="utf-8"))
    del facts["compile"]
    (place / "config.json").write_text(json.dumps(facts), encoding="utf-8")
    assert go_on(0.5, 6) == "False"


def test_a_crashed_run_goes_on_bitwise(train_config, tmp_path):
    """Rows written after the checkpoint, and half a row, belong to updates that are made again."""
    uninterrupted, parts = train_config(), train_config(out_dir=str(tmp_path / "b"))
    train(uninterrupted)
    with pytest.raises(RuntimeError):
        train(parts, power_cut_at(8))
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "ba')
    assert read_run(tmp_path / "b").status == "unfinished"
    assert train(replace(parts, resume=True)) == 0
    assert rows(parts) == rows(uninterrupted)


def test_a_process_that_ends_before_its_best_is_copied_still_has_it(train_config, tmp_path, monkeypatch):
    uninterrupted, parts = train_config(max_iters=10), train_config(max_iters=10, out_dir=str(tmp_path / "b"))
    train(uninterrupted)
    real, copies = checkpoint.copy, []

    def killed(source, folder):
        copies.append(folder)
        if len(copies) == 3:
            raise SystemExit("kill -9")
        real(source, folder)

    monkeypatch.setattr(checkpoint, "copy", killed)
    with pytest.raises(SystemExit):
        train(parts)
    train(replace(parts, resume=True))
    best = [Path(c.out_dir) / "checkpoint" / "best" / "model.safetensors" for c in (uninterrupted, parts)]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_a_stop_and_a_resume_leave_the_best_as_it_was(train_config):
    """Nobody has evaluated the weights of a stop, so they are never the best."""
    config = train_config()
    best = Path(config.out_dir) / "checkpoint" / "best"
    stopping = StopBefore(7, 8)
    for again, step in ((False, 8), (True, 9)):
        assert train(replace(config, resume=again), stopping) == 130
        assert checkpoint.load_state(last(config))["step"] == step
        assert checkpoint.load_state(best)["step"] == 5


def test_a_warning_is_given_once_in_a_run_however_often_it_restarts(train_config, monkeypatch, capsys):
    monkeypatch.setattr(measure.probes, "early_warning", lambda row: "this stack will not train")
    config = train_config()
    assert train(config, StopBefore(6)) == 130
    assert train(replace(config, resume=True)) == 0
    assert [row["step"] for row in rows(config) if "early_warning" in row] == [1]
    assert capsys.readouterr().out.count("this stack will not train") == 1


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_clock_of_a_run_goes_on(train_config, monkeypatch, accumulation):
    """An update takes 2 seconds, an evaluation 5: the rate is that of updates alone, after a restart too."""
    config, now = train_config(gradient_accumulation_steps=accumulation), [1000.0]

    def taking(seconds, job):
        def slow(*args):
            now[0] += seconds
            return job(*args)

        return slow

    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    step = taking(2, StopBefore(3, 7))
    monkeypatch.setattr(loop, "evaluate", taking(5, loop.evaluate))
    for resume in (False, True, True):
        now[0] += 10_000  # between the two processes
        train(replace(config, resume=resume), step)
    timed = [row for row in read_run(Path(config.out_dir)).rows if "elapsed_s" in row]
    updates = evaluations = 0
    for row in timed:
        updates += "batch/loss" in row
        evaluations += "val/loss" in row
        assert row["elapsed_s"] == pytest.approx(2 * updates + 5 * evaluations)
    assert (updates, evaluations) == (12, 4)
    rates = {row["tokens_per_s"] for row in timed if "tokens_per_s" in row}
    assert rates == {4 * 16 * accumulation / 2}


def test_a_resumed_run_may_change_its_rate_and_length_and_says_so(train_config):
    train(train_config(max_iters=5))
    again = train_config(max_iters=8, learning_rate=1e-4, resume=True)
    assert train(again) == 0
    changed = [row["changed"] for row in rows(again) if "changed" in row]
    assert changed == [{"max_iters": [5, 8], "learning_rate": [1e-3, 1e-4]}]
    assert [row["step"] for row in rows(again) if "batch/loss" in row] == list(range(8))
    same_updates = train_config(max_iters=9, resume=True, batch_size=2, gradient_accumulation_steps=2)
    assert train(same_updates) == 0
    with pytest.raises(ValueError, match=r"n_layer=3: .* n_layer=2\nresidual=none: .* residual=pre"):
        train(train_config(max_iters=10, resume=True, n_layer=3, residual="none"))


def test_a_resumed_run_sees_the_same_data(train_config, dataset_folder, tmp_path):
    here = shutil.copytree(dataset_folder, tmp_path / "data")
    config = train_config(dataset=str(here), max_iters=2)
    train(config)
    more = replace(config, resume=True, optim=replace(config.optim, max_iters=4))
    meta = json.loads((here / "meta.json").read_text(encoding="utf-8"))
    meta["tokenizer"]["chars"] = meta["tokenizer"]["chars"].replace("a", "ä")
    (here / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    with pytest.raises(ValueError, match="its tokenizer is not the one that"):
        train(more)
    write_dataset(here, lambda: ["another text " * 99], "char", "other", quiet=True)
    with pytest.raises(ValueError, match=r"not the data .*\(sha256 of train \w{64}, then \w{64}\)"):
        train(more)


def test_a_resumed_run_is_told_how_to_find_data_that_were_moved(train_config, dataset_folder, tmp_path):
    here = shutil.copytree(dataset_folder, tmp_path / "data")
    config = train_config(dataset=str(here), max_iters=1)
    train(config)
    moved = here.rename(tmp_path / "moved")
    more = replace(config, resume=True, optim=replace(config.optim, max_iters=2))
    with pytest.raises(ValueError, match=r"no such folder; .*; if the data were moved, .* --dataset=PATH$"):
        train(more)
    with pytest.raises(ValueError, match="no such folder") as fresh:
        train(replace(config, out_dir=str(tmp_path / "fresh")))
    assert "moved" not in str(fresh.value)
    assert train(replace(more, dataset=str(moved))) == 0


@pytest.mark.parametrize("step", [0, 2])
def test_only_a_run_that_has_made_an_update_is_told_to_go_on(train_config, capsys, step):
    with pytest.raises(RuntimeError, match="power cut"):
        train(train_config(), power_cut_at(step))
    assert ("saved; go on with" in capsys.readouterr().out) == (step > 0)
