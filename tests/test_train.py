"""Training: fair pairs, exact resume, honest accounts."""

import itertools
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, tiny_config

import train as door
from model import GPT
from reslab import checkpoint, device, writing
from reslab.configure import MachineError
from reslab.corpus import write_dataset
from reslab.dataset import TokenDataset
from reslab.divergence import first_bad_layer
from reslab.optimizer import SCHEDULES, OptimConfig, learning_rate, make_optimizer
from reslab.runlog import RunLog, read_run
from train import make_state, train, train_step

TIMES = {"elapsed_s", "tokens_per_s"}


def rows(config) -> list[dict]:
    """A run's rows without the clock."""
    found = read_run(Path(config.out_dir)).rows
    return [{key: value for key, value in row.items() if key not in TIMES} for row in found]


def batch_losses(config) -> list[float]:
    return [row["batch/loss"] for row in rows(config) if "batch/loss" in row]


def test_batches_depend_on_seed_split_and_step_alone(dataset_folder):
    one, other = TokenDataset(dataset_folder, 16, 1), TokenDataset(dataset_folder, 16, 1)
    expected = one.batch("train", 7, 4)
    other.batch("val", 7, 4), other.batch("train", 6, 4), other.windows("val", other.eval_starts("val", 5))
    assert all(torch.equal(a, b) for a, b in zip(expected, other.batch("train", 7, 4), strict=True))
    assert torch.equal(expected[0][:, 1:], expected[1][:, :-1])
    for changed_batch in (one.batch("train", 8, 4), one.batch("val", 7, 4)):
        assert not torch.equal(expected[0], changed_batch[0])
    assert not torch.equal(expected[0], TokenDataset(dataset_folder, 16, 2).batch("train", 7, 4)[0])


def test_eval_windows_are_fixed_and_cover_the_split(dataset_folder):
    dataset = TokenDataset(dataset_folder, 16, 1)
    starts = dataset.eval_starts("val", 20)
    assert (starts == TokenDataset(dataset_folder, 16, 2).eval_starts("val", 20)).all()
    assert starts[0] == 0 and starts[-1] == len(dataset.ids["val"]) - 17
    assert (starts[1:] - starts[:-1] >= 16).all()


def test_yardsticks_are_read_on_the_windows_of_the_losses(dataset_folder):
    """By hand: the unigram's surprise at each target of each window."""
    dataset = TokenDataset(dataset_folder, 16, 1)
    counts = np.bincount(dataset.ids["train"], minlength=dataset.vocab_size) + 1
    _, targets = dataset.windows("val", dataset.eval_starts("val", 5))
    expected = -np.log(counts / counts.sum())[targets.numpy()].mean()
    assert dataset.yardsticks(5)["unigram"]["val"] == pytest.approx(expected)
    assert dataset.yardsticks(500)["bigram"]["val"] == pytest.approx(
        dataset.meta["yardsticks_nats"]["bigram"]["val"], rel=0.05
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_schedule_warms_up_and_ends_where_it_says(schedule):
    config = OptimConfig(max_iters=110, warmup_iters=10, learning_rate=1.0, min_lr=0.1, schedule=schedule)
    rates = [learning_rate(config, step) for step in range(111)]
    assert rates[0] == pytest.approx(1 / 11) and rates[10] == 1.0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rates[110] == pytest.approx({"cosine": 0.1, "linear": 0.0, "constant": 1.0}[schedule])
    assert rates[60] == pytest.approx({"cosine": 0.55, "linear": 0.5, "constant": 1.0}[schedule])


def test_only_matrices_decay():
    model = GPT(tiny_config())
    decays = {
        id(p): g["weight_decay"]
        for g in make_optimizer(model, OptimConfig()).param_groups
        for p in g["params"]
    }
    for name, parameter in model.named_parameters():
        assert decays[id(parameter)] == (
            0.1 if name.endswith("weight") and "norm" not in name and "ln_f" not in name else 0
        )


def test_n_steps_are_n_updates_and_every_evaluation_is_there(train_config):
    config = train_config(max_iters=12, eval_interval=5)
    assert train(config) == 0
    found = rows(config)
    assert [row["step"] for row in found if "val/loss" in row] == [0, 5, 10, 12]
    assert [row["step"] for row in found if "batch/loss" in row] == list(range(12))
    state = checkpoint.load_optimizer(Path(config.out_dir) / "checkpoint" / "last")["optimizer"]["state"]
    assert {int(s["step"]) for s in state.values()} == {12}
    assert found[-1]["status"] == "finished" and "unigram" in found[-1]["verdict"]


def test_evaluation_changes_nothing(train_config, tmp_path):
    often = train_config(eval_interval=1, dropout=0.2)
    seldom = train_config(
        eval_interval=12, eval_windows=3, log_interval=1, dropout=0.2, out_dir=str(tmp_path / "b")
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


@pytest.mark.parametrize("stop_at", [3, 5, 9])
def test_a_stopped_run_goes_on_bitwise(train_config, tmp_path, monkeypatch, stop_at):
    whole = train_config(dropout=0.1, sample_tokens=5)
    train(whole)
    parts = replace(whole, out_dir=str(tmp_path / "b"))
    real, steps = door.train_step, []

    def stopping(state, config, dataset):
        if len(steps) == stop_at:
            os.kill(os.getpid(), signal.SIGINT)  # Ctrl-C in the middle of an update
        steps.append(state.step)
        return real(state, config, dataset)

    monkeypatch.setattr(door, "train_step", stopping)
    assert train(parts) == 130
    assert train(replace(parts, resume=True)) == 0
    assert steps == list(range(12))
    assert rows(parts) == rows(whole)
    for name in ("last", "best"):
        files = [Path(c.out_dir) / "checkpoint" / name / "model.safetensors" for c in (parts, whole)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_a_crashed_run_goes_on_bitwise(train_config, tmp_path, monkeypatch):
    """Rows written after the checkpoint, and half a row, belong to a life that is forgotten."""
    whole, parts = train_config(), train_config(out_dir=str(tmp_path / "b"))
    train(whole)
    real = door.train_step

    def crashing(state, config, dataset):
        if state.step == 8:
            raise RuntimeError("power cut")
        return real(state, config, dataset)

    monkeypatch.setattr(door, "train_step", crashing)
    with pytest.raises(RuntimeError):
        train(parts)
    with (tmp_path / "b" / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "ba')
    assert read_run(tmp_path / "b").status == "unfinished"
    monkeypatch.setattr(door, "train_step", real)
    assert train(replace(parts, resume=True)) == 0
    assert rows(parts) == rows(whole)


def test_a_life_that_ends_before_its_best_is_copied_still_has_it(train_config, tmp_path, monkeypatch):
    whole, parts = train_config(max_iters=10), train_config(max_iters=10, out_dir=str(tmp_path / "b"))
    train(whole)
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
    best = [Path(c.out_dir) / "checkpoint" / "best" / "model.safetensors" for c in (whole, parts)]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_best_is_the_best(train_config):
    config = train_config(
        learning_rate=1.0, eval_interval=1, schedule="constant", grad_clip=0.0, warmup_iters=0
    )
    train(config)
    losses = {row["step"]: row["val/loss"] for row in rows(config) if "val/loss" in row}
    best = checkpoint.load_state(Path(config.out_dir) / "checkpoint" / "best")
    assert losses[best["step"]] == min(losses.values()) < losses[12]


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
    write_dataset(here, lambda: ["another text " * 99], "char", "other", quiet=True)
    with pytest.raises(ValueError, match=r"not the data .*\(sha256 of train \w{64}, then \w{64}\)"):
        train(replace(config, resume=True, optim=replace(config.optim, max_iters=4)))


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGUSR1", 128 + signal.SIGUSR1)])
def test_a_signal_saves_within_a_step_and_says_how_to_go_on(train_config, monkeypatch, capsys, name, code):
    config, real = train_config(eval_interval=100), door.train_step

    def signalled(state, config, dataset):
        if state.step == 7:
            os.kill(os.getpid(), getattr(signal, name))
            os.kill(os.getpid(), signal.SIGTERM)  # a scheduler that repeats itself does no harm
        return real(state, config, dataset)

    monkeypatch.setattr(door, "train_step", signalled)
    monkeypatch.setattr(sys, "argv", ["train.py", "config/my file.py", "--overwrite", "--n_layer=2"])
    assert train(config) == code
    assert checkpoint.load_state(Path(config.out_dir) / "checkpoint" / "last")["step"] == 8
    said = capsys.readouterr().out.splitlines()[-1]
    assert said == (
        "stopped after step 8, saved; go on with: python train.py 'config/my file.py' --n_layer=2 --resume"
    )


def test_a_full_memory_is_one_line_with_what_to_lower(train_config, monkeypatch):
    config, real = train_config(batch_size=6), door.train_step

    def greedy(state, config, dataset):
        if state.step == 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        return real(state, config, dataset)

    monkeypatch.setattr(door, "train_step", greedy)
    with pytest.raises(MachineError, match=r"^cpu: out of memory; .* --batch_size=3 --grad\w+_steps=2\. "):
        train(config)
    last = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.find(last) == last and checkpoint.load_state(last)["step"] == 5


def test_one_process_per_run_directory(train_config, tmp_path):
    """The second is refused while the first lives; a lock file that nobody holds is not in the way."""
    config = train_config(max_iters=2)
    script = "import sys; from pathlib import Path; from reslab.lock import only_one\n"
    script += "with only_one(Path(sys.argv[1]), 'training here'): print('held', flush=True); input()"
    words = [sys.executable, "-c", script, config.out_dir]
    other = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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
    assert last["status"] == "diverged" and "first bad" in last["verdict"]
    assert last["first_bad"] in last["verdict"] and len(last["window_starts"]) == config.batch_size
    saved = checkpoint.find(Path(config.out_dir) / "checkpoint" / "last")
    model = GPT(replace(config.model, vocab_size=checkpoint.load_state(saved)["config"]["vocab_size"]))
    checkpoint.load_model(saved, model)
    assert all(p.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("what", ["loss", "gradient", "weights", "a token"])
def test_what_is_not_finite_at_a_step_leaves_the_weights_alone(train_config, monkeypatch, what):
    """In the second of two accumulated batches: its windows are named, and the update does not happen."""
    config = train_config(gradient_accumulation_steps=2, dropout=0.1, eval_interval=4, tie_weights=False)
    real, before, calls = door.train_step, {}, []

    def poisoned(model, inputs, targets=None):
        _, loss = GPT.forward(model, inputs, targets)
        if torch.equal(inputs, calls[-1]):
            loss = loss * math.inf if what == "loss" else loss + (loss - loss.detach()) * math.inf
        return None, loss

    def at_step_5(state, config, dataset):
        if state.step == 5:
            calls.append(dataset.batch("train", 5, 8)[0][4:])
            if what == "a token":  # one that the first part does not have
                first, second = (
                    set(part.flatten().tolist()) for part in dataset.batch("train", 5, 8)[0].split(4)
                )
                with torch.no_grad():
                    state.model.wte.weight[min(second - first)] = math.nan
            elif what == "weights":
                with torch.no_grad():
                    state.model.blocks[1].mlp.c_fc.weight[0, 0] = math.nan
            else:
                monkeypatch.setattr(state.model, "forward", partial(poisoned, state.model))
            before.update({name: p.clone() for name, p in state.model.named_parameters()})
            before["model"] = state.model
        return real(state, config, dataset)

    monkeypatch.setattr(door, "train_step", at_step_5)
    assert train(config) == 3
    model = before.pop("model")
    assert all(torch.equal(p.nan_to_num(), before[n].nan_to_num()) for n, p in model.named_parameters())
    last = rows(config)[-1]
    assert last["step"] == 5 and last["status"] == "diverged"
    starts = TokenDataset(Path(config.dataset), 16, config.seed).starts("train", 5, 8).tolist()
    if what == "weights":
        assert last["first_bad"] == "block 1, forward" and last["window_starts"] == starts[:4]
    if what == "a token":
        assert last["first_bad"] == "block 0, forward" and last["window_starts"] == starts[4:]
    saved = Path(config.out_dir) / "checkpoint" / "last"
    assert checkpoint.find(saved) == saved and checkpoint.load_state(saved)["step"] == 4


def test_an_evaluation_that_is_not_finite_ends_the_run_and_saves_nothing(train_config, monkeypatch):
    config, real = train_config(max_iters=10), door.evaluate

    def poisoned(state, config, dataset):
        return real(state, config, dataset) | ({"val/loss": math.nan} if state.step == 10 else {})

    monkeypatch.setattr(door, "evaluate", poisoned)
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


def test_an_overflow_in_float16_is_retried_with_a_smaller_scale(train_config, dataset_folder):
    config = train_config(dtype="float16")
    dataset = TokenDataset(dataset_folder, 16, config.seed)
    state = make_state(config, dataset.vocab_size, "cpu")
    assert state.scaler.is_enabled()
    state.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    before = state.model.wte.weight.clone()
    metrics = train_step(state, config, dataset)
    assert math.isfinite(metrics["batch/grad_norm"])
    assert state.scaler.get_scale() < 2.0**40
    assert {int(s["step"]) for s in state.optimizer.state.values()} == {1}
    assert not torch.equal(before, state.model.wte.weight)


def test_without_a_compiler_a_run_goes_on_with_one_line(monkeypatch, capsys):
    def broken(*args, **words):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    model = GPT(tiny_config())
    device.compile_model(model, "True", "cpu")
    assert all(block._compiled_call_impl is None for block in model.blocks)
    assert capsys.readouterr().err == "compile: no working compiler (no C++ compiler); going on without\n"


def test_numbers_that_are_not_finite_stay_json(tmp_path):
    log = RunLog(tmp_path)
    log.write({"step": 1, "val/loss": math.nan})
    assert json.loads((tmp_path / "metrics.jsonl").read_text()) == {"step": 1, "val/loss": None}


def test_a_dtype_of_half_the_size_trains_too(train_config):
    config = train_config(dtype="bfloat16", max_iters=3)
    assert train(config) == 0


def test_activation_checkpointing_changes_no_loss(train_config, tmp_path):
    plain = train_config(dropout=0.1)
    again = train_config(dropout=0.1, activation_checkpointing=True, out_dir=str(tmp_path / "b"))
    train(plain), train(again)
    assert rows(plain) == rows(again)


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
    text = writing.write(model, dataset, 30, seed=1)["sample/text"]
    assert torch.equal(before, torch.random.get_rng_state())
    assert text == writing.write(model, dataset, 30, seed=1)["sample/text"]
    assert text != writing.write(model, dataset, 30, seed=2)["sample/text"]
    assert len(text) == 30 and set(text) <= set(dataset.tokenizer.chars)  # no id that only pads


def test_a_run_writes_a_handful_of_samples():
    assert [n for n in range(100) if writing.due(n, n == 99)] == [0, 1, 2, 4, 8, 16, 32, 64, 99]
