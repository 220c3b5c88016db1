"""Training: fair pairs, exact resume, honest accounts."""

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, rows, tiny_config

from model import GPT
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.instruments.divergence import first_bad_layer
from reslab.run import checkpoint
from reslab.run.config import MachineError
from reslab.run.log import RunLog, read_run
from reslab.training import loop, samples
from reslab.training.loop import train
from reslab.training.step import train_step

TIMES = {"elapsed_s", "tokens_per_s"}


def batch_losses(config) -> list[float]:
    return [row["batch/loss"] for row in rows(config) if "batch/loss" in row]


def test_n_steps_are_n_updates_and_every_evaluation_is_there(train_config):
    config = train_config(max_iters=12, eval_interval=5)
    assert train(config) == 0
    actual = rows(config)
    assert [row["step"] for row in actual if "val/loss" in row] == [0, 5, 10, 12]
    assert [row["step"] for row in actual if "batch/loss" in row] == list(range(12))
    state = checkpoint.load_optimizer(Path(config.out_dir) / "checkpoint" / "last")["optimizer"]["state"]
    assert {int(s["step"]) for s in state.values()} == {12}
    assert actual[-1]["status"] == "finished" and "unigram" in actual[-1]["diagnosis"]


def test_rows_of_the_batch_loss_come_every_log_interval(train_config):
    config = train_config(log_interval=5, probes=False)
    train(config)
    assert [row["step"] for row in rows(config) if "batch/loss" in row] == [0, 5, 10]
    assert not any(key.startswith("probe/") for row in rows(config) for key in row)


def test_evaluation_changes_nothing(train_config, tmp_path):
    often = train_config(eval_interval=1, dropout=0.2)
    seldom = train_config(
        eval_interval=12, eval_sequences=3, log_interval=1, dropout=0.2, out_dir=str(tmp_path / "b")
    )
    train(often), train(seldom)
    assert batch_losses(often) == batch_losses(seldom)
    assert len(batch_losses(often)) == 12


def test_accumulated_gradients_are_those_of_the_large_batch(train_config, tmp_path):
    large = train_config(batch_size=8)
    small = train_config(batch_size=2, gradient_accumulation_steps=4, out_dir=str(tmp_path / "b"))
    train(large), train(small)
    for a, b in zip(rows(large), rows(small), strict=True):
        for key in {"batch/loss", "batch/grad_norm", "val/loss"} & set(a):
            assert a[key] == pytest.approx(b[key], rel=1e-4)


def test_nothing_is_overwritten(train_config, tmp_path):
    config = train_config()
    train(config)
    before = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"--resume .* --overwrite .* --out_dir"):
        train(config)
    with pytest.raises(ValueError, match=r"batch_size=5: the run in .* was started with batch_size=4"):
        train(train_config(batch_size=5, resume=True))
    with pytest.raises(ValueError, match="there is no run to resume"):
        train(train_config(out_dir=str(tmp_path / "none"), resume=True))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all I have", encoding="utf-8")
    for flag in ("resume", "overwrite"):
        with pytest.raises(ValueError, match="is not a run directory"):
            train(train_config(out_dir=str(tmp_path / "mine"), **{flag: True}))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert train(replace(config, resume=True)) == 0  # finished already: says so
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == before
    assert train(train_config(overwrite=True, batch_size=5)) == 0
    assert read_run(tmp_path / "run").config["batch_size"] == 5


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 128 + signal.SIGUSR1)])
def test_a_signal_saves_within_a_step_and_says_how_to_go_on(train_config, monkeypatch, capsys, name, code):
    config = train_config(eval_interval=100)

    def signalled(state, *rest):
        if state.step == 7:
            os.kill(os.getpid(), getattr(signal, name))
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself does no harm
        return train_step(state, *rest)

    monkeypatch.setattr(sys, "argv", ["train.py", "config/my file.py", "--overwrite", "--n_layer=2"])
    assert train(config, signalled) == code
    assert checkpoint.load_state(Path(config.out_dir) / "checkpoint" / "last")["step"] == 8
    last_line = capsys.readouterr().out.splitlines()[-1]
    assert last_line == (
        "stopped after step 8, saved; go on with: python train.py 'config/my file.py' --n_layer=2 --resume"
    )


def test_a_full_memory_is_one_line_with_what_to_lower(train_config):
    config = train_config(batch_size=6)

    def greedy(state, *rest):
        if state.step == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return train_step(state, *rest)

    with pytest.raises(MachineError, match=r"^cpu: out of memory; .* --batch_size=3 --grad\w+_steps=2\. "):
        train(config, greedy)
    last = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.find(last) == last and checkpoint.load_state(last)["step"] == 7


def test_one_process_per_run_directory(train_config, tmp_path):
    """The second is refused while the first runs; a lock file that nobody holds is not in the way."""
    config = train_config(max_iters=2)
    script = "import sys; from pathlib import Path; from reslab.run.lock import exclusive_lock\n"
    script += "with exclusive_lock(Path(sys.argv[1]), 'training here'): print('held', flush=True); input()"
    command = [sys.executable, "-c", script, config.out_dir]
    other = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"another process is training here \(pid {other.pid} on"):
        train(config)
    other.kill()
    other.wait()
    assert (tmp_path / "run" / "lock").exists()
    assert train(config) == 0
    assert not (tmp_path / "run" / "lock").exists()


def test_all_that_is_in_the_way_is_told_at_once_and_nothing_is_made(train_config, tmp_path):
    config = train_config(dataset="nowhere", device="mps:9", out_dir=str(tmp_path / "a" / "b"), resume=True)
    with pytest.raises(ValueError) as caught:
        train(config)
    faults = str(caught.value).splitlines()
    assert [fault.split("=")[0] for fault in faults] == ["device", "out_dir", "dataset"]
    with pytest.raises(ValueError, match="vocab_size=5: must be 0, or at least"):
        train(train_config(vocab_size=5, out_dir=str(tmp_path / "a" / "b")))
    assert not (tmp_path / "a").exists()


def test_divergence_is_a_result(train_config):
    config = train_config(learning_rate=1e38, grad_clip=0.0, warmup_iters=0, schedule="constant")
    assert train(config) == 3
    last = rows(config)[-1]
    assert last["status"] == "diverged" and "first bad" in last["diagnosis"]
    assert last["first_bad"] in last["diagnosis"] and len(last["sequence_starts"]) == config.batch_size
    saved = checkpoint.find(Path(config.out_dir) / "checkpoint" / "last")
    model = GPT(replace(config.model, vocab_size=checkpoint.load_state(saved)["config"]["vocab_size"]))
    checkpoint.load_model(saved, model)
    assert all(p.isfinite().all() for p in model.parameters())


def poison(monkeypatch, what: str, model, batch) -> None:
    """Make the second half of a batch give a loss or a gradient that is not finite."""
    first, second = batch[0].split(4)

    def poisoned(inputs, targets):
        loss = GPT.loss(model, inputs, targets)
        if torch.equal(inputs, second):
            loss = loss * math.inf if what == "loss" else loss + (loss - loss.detach()) * math.inf
        return loss

    with torch.no_grad():
        if what == "a token":  # one that the first half does not have
            model.wte.weight[min({*second.flatten().tolist()} - {*first.flatten().tolist()})] = math.nan
        elif what == "weights":
            model.blocks[1].mlp.c_fc.weight[0, 0] = math.nan
        else:
            monkeypatch.setattr(model, "loss", poisoned)


@pytest.mark.parametrize("what", ["loss", "gradient", "weights", "a token"])
def test_what_is_not_finite_at_a_step_leaves_the_weights_alone(train_config, monkeypatch, what):
    """In the second of two accumulated batches: its sequences are named, and the update does not happen."""
    config = train_config(gradient_accumulation_steps=2, dropout=0.1, eval_interval=4, tie_weights=False)
    before = {}

    def at_step_5(state, batch, *rest):
        if state.step == 5:
            poison(monkeypatch, what, state.model, batch)
            before.update({name: p.clone() for name, p in state.model.named_parameters()})
            before["model"] = state.model
        return train_step(state, batch, *rest)

    assert train(config, at_step_5) == 3
    model = before.pop("model")
    assert all(torch.equal(p.nan_to_num(), before[n].nan_to_num()) for n, p in model.named_parameters())
    last = rows(config)[-1]
    assert last["step"] == 5 and last["status"] == "diverged"
    assert last["batch/loss"] is None  # the row says so, and JSON has no NaN
    starts = TokenDataset(Path(config.dataset), 16, config.seed).starts("train", 5, 8).tolist()
    if what == "weights":
        assert last["first_bad"] == "block 1, forward" and last["sequence_starts"] == starts[:4]
    if what == "a token":
        assert last["first_bad"] == "block 0, forward" and last["sequence_starts"] == starts[4:]
    saved = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.find(saved) == saved and checkpoint.load_state(saved)["step"] == 4


@pytest.mark.parametrize("split", ["train", "val"])
def test_an_evaluation_that_is_not_finite_ends_the_run_and_saves_nothing(train_config, monkeypatch, split):
    config, real = train_config(max_iters=10), loop.evaluate

    def poisoned(state, *rest):
        return real(state, *rest) | ({f"{split}/loss": math.nan} if state.step == 10 else {})

    monkeypatch.setattr(loop, "evaluate", poisoned)
    assert train(config) == 3
    assert read_run(Path(config.out_dir)).status == "diverged"
    assert checkpoint.load_state(Path(config.out_dir) / "checkpoint" / "last")["step"] == 5


def test_the_first_bad_layer_is_named_and_no_hook_remains():
    model = GPT(tiny_config())
    ids = torch.zeros(1, 8, dtype=torch.long)
    with torch.no_grad():
        model.blocks[1].mlp.c_fc.weight[0, 0] = math.nan
    assert first_bad_layer(model, ids, ids) == "block 1, forward"
    assert not any(block._forward_hooks for block in model.blocks)
    assert all(p.grad is None for p in model.parameters())


def test_numbers_that_are_not_finite_stay_json(tmp_path):
    log = RunLog(tmp_path)
    log.write({"step": 1, "val/loss": math.nan})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "val/loss": None}


def test_the_golden_curve(train_config, tmp_path):
    """Any change of the arithmetic shows here; a wanted one changes these numbers, and says why."""
    text = "".join(f"{i} times {i} is {i * i}.\n" for i in range(2000))
    write_dataset(tmp_path / "squares", lambda: [text], "char", "squares", quiet=True)
    settings = {"max_iters": 60, "eval_interval": 30, "learning_rate": 3e-3}
    config = train_config(dataset=str(tmp_path / "squares"), **settings)
    train(config)
    losses = [row["train/loss"] for row in rows(config) if "train/loss" in row]
    assert losses == pytest.approx(GOLDEN, abs=2e-3)


GOLDEN = [2.8735, 2.4385, 2.3221]


def test_losses_do_not_feel_the_samples(train_config, tmp_path):
    writes = train_config(dropout=0.1, sample_tokens=9)
    silent = train_config(dropout=0.1, out_dir=str(tmp_path / "b"))
    train(writes), train(silent)
    runs = [read_run(Path(config.out_dir)) for config in (writes, silent)]
    for key in ("batch/loss", "batch/grad_norm", "val/loss"):
        assert runs[0].series(key) == runs[1].series(key)
    steps, texts = runs[0].series("sample/text")
    assert steps == [0, 5, 10, 12] and all(len(text) == 9 for text in texts)
    assert len(set(runs[0].series("sample/prompt")[1])) == 1
    assert not runs[1].series("sample/text")[0]


def test_a_sample_has_draws_of_its_own(train_config):
    config = train_config()
    dataset = TokenDataset(Path(config.dataset), config.model.block_size, config.seed)
    model = GPT(replace(config.model, vocab_size=dataset.vocab_size + 500)).eval()
    before = torch.random.get_rng_state()
    text = samples.write(model, dataset, 30, seed=1)["sample/text"]
    assert torch.equal(before, torch.random.get_rng_state())
    assert text == samples.write(model, dataset, 30, seed=1)["sample/text"]
    assert text != samples.write(model, dataset, 30, seed=2)["sample/text"]
    assert len(text) == 30 and set(text) <= set(dataset.tokenizer.chars)  # no id that only pads
