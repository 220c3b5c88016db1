"""What a run leaves behind: its best and last checkpoint, its diagnosis, its samples."""

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import rows

from reslab.data.dataset import TokenDataset
from reslab.model import GPT
from reslab.run import checkpoint
from reslab.run.log import read_run
from reslab.system import device
from reslab.training import loop, measure, outcome, samples
from reslab.training.loop import train


def model_of(folder: Path, config) -> GPT:
    vocab_size = checkpoint.load_state(folder)["config"]["vocab_size"]
    model = GPT(replace(config.model, vocab_size=vocab_size)).eval()
    checkpoint.load_model(folder, model)
    return model


def test_best_has_the_least_validation_loss_and_last_is_the_last(train_config, monkeypatch):
    """Losses that go down and up again, and a train loss that would choose another."""
    losses, real = {0: 4.0, 3: 3.0, 6: 2.0, 9: 2.5, 12: 2.0}, loop.evaluate

    def told(state, *rest):
        row = {"val/loss": losses[state.step], "train/loss": 5 - state.step / 3}
        return real(state, *rest) | row

    monkeypatch.setattr(loop, "evaluate", told)
    config = train_config(eval_interval=3)
    train(config)
    folder = Path(config.out_dir) / "checkpoint"
    steps = {name: checkpoint.load_state(folder / name)["step"] for name in ("best", "last")}
    assert steps == {"best": 6, "last": 12}  # as good is not better
    assert checkpoint.load_state(folder / "last")["best_val_loss"] == 2.0
    assert checkpoint.load_state(folder / "last.previous")["step"] == 9
    assert {path.name for path in folder.iterdir()} == {"best", "last", "last.previous"}


def test_the_diagnosis_reads_the_metrics_by_the_baselines_of_the_same_sequences(train_config, monkeypatch):
    monkeypatch.setattr(outcome, "diagnosis", lambda rows, baselines: f"{rows[-1]['step']} {baselines}")
    config = train_config(eval_sequences=5)
    train(config)
    run, dataset = read_run(Path(config.out_dir)), TokenDataset(Path(config.dataset), 16, config.seed)
    assert run.rows[-1]["diagnosis"] == f"12 {dataset.baselines(5)}"
    assert run.facts["baselines_nats"] == dataset.baselines(5)
    assert run.facts["dtype"] == "float32" and run.config["dtype"] == "auto"


def test_the_first_bad_layer_is_looked_for_with_the_dropout_of_its_step(monkeypatch):
    drawn, kept = [], []
    monkeypatch.setattr(outcome, "trace", lambda *args: drawn.append(torch.initial_seed()) or {"where": 3})
    strategy = SimpleNamespace(is_main=True, full_model=contextlib.nullcontext)
    config = SimpleNamespace(seed=5, gradient_accumulation_steps=1, batch_size=2)
    context = SimpleNamespace(
        strategy=strategy, config=config, dataset=None, log=SimpleNamespace(write=kept.append)
    )
    assert outcome.log_divergence(SimpleNamespace(model=None, step=7), context, {"loss": 9.0}) == 3
    torch.manual_seed(device.step_seed(5, 7))
    assert drawn == [torch.initial_seed()] and kept == [{"step": 7, "loss": 9.0, "where": 3}]


def test_the_last_sample_is_what_the_last_checkpoint_writes(train_config):
    config = train_config(sample_tokens=12, seed=5)
    train(config)
    model = model_of(Path(config.out_dir) / "checkpoint" / "last", config)
    dataset = TokenDataset(Path(config.dataset), 16, config.seed)
    (*_, sample) = [row["sample/text"] for row in rows(config) if "sample/text" in row]
    texts = [samples.write(model, dataset, 12, seed)["sample/text"] for seed in (5, 0, 6)]
    assert sample == texts[0] and sample not in texts[1:]


def test_overwriting_leaves_no_checkpoint_of_the_run_before(train_config, monkeypatch):
    """Not even when the new run ends before it saves its first."""
    config = train_config()
    train(config)

    def crash(*args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(loop, "evaluate", crash)
    with pytest.raises(RuntimeError):
        train(replace(config, overwrite=True))
    folder = Path(config.out_dir) / "checkpoint"
    assert not folder.exists() and rows(config) == []


@pytest.mark.slow
def test_a_stack_that_will_not_train_is_warned_of_early_and_once(train_config, monkeypatch):
    """Between the first update and the fiftieth: before, nothing is known; after, it is too late."""
    warnings = []
    monkeypatch.setattr(measure.probes, "early_warning", lambda row: warnings.append(1) or "no")
    for interval, expected in ((5, [1]), (60, [1])):
        config = train_config(max_iters=61, eval_interval=interval, overwrite=interval > 5)
        train(config)
        assert [row["step"] for row in rows(config) if "early_warning" in row] == expected
    monkeypatch.setattr(measure.probes, "early_warning", lambda row: warnings.append(0))
    warnings.clear()
    train(train_config(max_iters=61, eval_interval=60, overwrite=True))
    assert len(warnings) == 4  # at 1, 3, 10 and 30, not at 0 and 60
