"""Schedules against their formulas at every step, and which parameter gets what."""

import math

import pytest
import torch
from conftest import run_python, tiny_config

from reslab.model import GPT
from reslab.residual import WIRINGS
from reslab.run.settings import OptimConfig
from reslab.training.optimizer import (
    OPTIMIZERS,
    SCHEDULES,
    learning_rate,
    make_optimizer,
    parameter_groups,
    set_learning_rate,
)

FORMULAS = {  # of the share of the decay that is done
    "cosine": lambda done: 0.1 + 0.9 * (1 + math.cos(math.pi * done)) / 2,
    "linear": lambda done: 1 - done,
    "constant": lambda done: 1.0,
}


@pytest.mark.parametrize("warmup", [0, 1, 10])
@pytest.mark.parametrize("schedule", FORMULAS)
def test_the_rate_is_its_formula_at_every_step(schedule, warmup):
    config = OptimConfig(max_iters=30, warmup_iters=warmup, learning_rate=1.0, min_lr=0.1, schedule=schedule)
    for step in range(60):
        if step < warmup:  # never zero, and never yet the peak
            expected = (step + 1) / (warmup + 1)
        else:  # the peak at the end of the warmup, the end at max_iters, and the same ever after
            expected = FORMULAS[schedule](min(1, (step - warmup) / (30 - warmup)))
        assert learning_rate(config, step) == pytest.approx(expected, abs=1e-12), step


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_run_that_only_warms_up_has_a_rate_at_every_step(schedule):
    for length in (0, 1, 5):
        config = OptimConfig(max_iters=length, warmup_iters=length, learning_rate=1.0, schedule=schedule)
        rates = [learning_rate(config, step) for step in range(length + 2)]
        assert rates == sorted(rates) or rates[:length] == sorted(rates[:length])
        assert rates[length] == 1.0


def groups(optimizer) -> dict:
    members = [(id(p), group) for group in optimizer.param_groups for p in group["params"]]
    assert len(dict(members)) == len(members)
    return dict(members)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_what_a_wiring_shares_over_all_blocks_follows_the_rate_of_the_blocks(wiring):
    model = GPT(tiny_config(residual=wiring))
    peaks = {id(p): group["peak"] for group in parameter_groups(model, 0.1) for p in group["params"]}
    for place, parameter in model.named_parameters():
        within = place.startswith(("blocks.", "stack."))
        assert peaks[id(parameter)] == ("block_lr" if within else "learning_rate"), place


DECAYED = {"dense": "weights", "dynamic_hyper": "maps"}  # as the authors of these wirings decay them


@pytest.mark.parametrize("wiring", WIRINGS)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_parameter_is_updated_once_and_decays_where_it_should(name, wiring):
    model = GPT(tiny_config(residual=wiring))
    by_name = groups(make_optimizer(model, OptimConfig(optimizer=name, weight_decay=0.3)))
    assert by_name.keys() == {id(p) for p in model.parameters()}
    for place, parameter in model.named_parameters():
        owner, _, kind = place.rpartition(".")
        matrix = kind == "weight" and isinstance(
            model.get_submodule(owner), torch.nn.Linear | torch.nn.Embedding
        )
        decays = matrix or kind == DECAYED.get(wiring)
        assert by_name[id(parameter)]["weight_decay"] == (0.3 if decays else 0), place


def test_a_rate_of_its_own_for_the_matrices_of_the_blocks():
    model = GPT(tiny_config())
    config = OptimConfig(optimizer="muon", learning_rate=0.01, muon_lr=0.05)
    optimizer = make_optimizer(model, config)
    set_learning_rate(optimizer, config, 0.004)  # as the schedule goes down
    by_name = groups(optimizer)
    for name, p in model.named_parameters():
        inside = name.startswith("blocks") and p.dim() == 2
        assert by_name[id(p)]["lr"] == pytest.approx(0.02 if inside else 0.004)
    config = OptimConfig(optimizer="muon", learning_rate=0.01)
    again = make_optimizer(GPT(tiny_config()), config)
    set_learning_rate(again, config, 0.004)
    assert {g["lr"] for g in again.param_groups} == {0.004}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_rate_set_after_loading_reaches_the_weights(name):
    """Loading replaces the groups of torch's optimizers; a list of the old ones would set nothing."""
    config = OptimConfig(optimizer=name, weight_decay=0.0)
    model = GPT(tiny_config())
    optimizer = make_optimizer(model, config)
    optimizer.load_state_dict(make_optimizer(model, config).state_dict())
    set_learning_rate(optimizer, config, 0.0)
    before = [p.clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("key", "values"),
    [
        *(
            (key, [-1e-9, math.inf, math.nan])
            for key in ("learning_rate", "muon_lr", "min_lr", "weight_decay")
        ),
        *((key, [-1e-9, math.inf, math.nan]) for key in ("grad_clip", "adam_eps")),
        *((key, [-0.1, 1.0, math.nan]) for key in ("beta1", "beta2")),
        *((key, [-1]) for key in ("max_iters", "warmup_iters")),
        ("warmup_iters", [2001]),
        ("optimizer", ["adam", ""]),
        ("schedule", ["step", ""]),
    ],
)
def test_what_can_not_be_run_is_one_fault_with_the_value(key, values):
    for value in values:
        (fault,) = OptimConfig(**{key: value}).faults()
        assert fault.startswith(f"{key}={value}: ")


def test_the_bounds_themselves_can_be_run():
    zeros = {"learning_rate": 0.0, "muon_lr": 0.0, "min_lr": 0.0, "weight_decay": 0.0, "grad_clip": 0.0}
    zeros |= {"adam_eps": 0.0, "beta1": 0.0, "beta2": 0.0, "warmup_iters": 0, "max_iters": 0}
    assert OptimConfig(**zeros).faults() == []
    assert OptimConfig(max_iters=100, warmup_iters=100).faults() == []


@pytest.mark.parametrize("rate", [-1e-3, math.nan, math.inf, None, torch.ones(2)])
def test_a_schedule_that_gives_no_rate_is_named_with_its_step(rate, monkeypatch):
    monkeypatch.setitem(SCHEDULES, "mine", lambda config, progress: rate if progress > 0.5 else 0)
    config = OptimConfig(schedule="mine", warmup_iters=0, max_iters=10)
    assert learning_rate(config, 5) == 0
    with pytest.raises(ValueError, match=r"schedule=mine: gives .* rate of step 6, must be") as told:
        learning_rate(config, 6)
    assert "\n" not in str(told.value)


def test_an_optimizer_of_other_groups_is_told_where_they_come_from(monkeypatch):
    monkeypatch.setitem(OPTIMIZERS, "mine", lambda model, config: torch.optim.SGD(model.parameters(), lr=1.0))
    with pytest.raises(ValueError, match=r"optimizer=mine: a group .* parameter_groups\(model"):
        make_optimizer(GPT(tiny_config()), OptimConfig(optimizer="mine"))


def test_a_run_that_compiles_nothing_does_not_import_torchs_compiler(dataset_folder, tmp_path):
    small = ["config/smoke.py", f"--dataset={dataset_folder}", "--n_layer=1", "--n_embd=16", "--block_size=8"]
    small += ["--max_iters=2", "--warmup_iters=1", "--eval_interval=2", "--sample_tokens=2", "--device=cpu"]
    runs = [
        [*small, f"--optimizer={name}", f"--out_dir={tmp_path / name}"]
        for name in ("adamw", "sgd", "adagrad", "muon")
    ]
    code = f"import sys, train; assert not any(map(train.main, {runs})); "
    run_python("-c", code + "assert 'torch._dynamo' not in sys.modules")
