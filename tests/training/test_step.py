"""One update, computed a second time by hand: plain torch, a formula per line."""

import math
from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from conftest import update

from reslab.data.dataset import TokenDataset, find_folder
from reslab.system.distributed import DistContext
from reslab.system.parallel import DDP, FSDP, Single
from reslab.training.captured import WARM
from reslab.training.evaluate import evaluate
from reslab.training.muon import orthogonal
from reslab.training.optimizer import OPTIMIZERS, learning_rate
from reslab.training.step import Diverged, make_state

PECULIAR = {
    "dtype": "float64",
    "beta1": 0.8,
    "beta2": 0.7,
    "adam_eps": 1e-3,
    "weight_decay": 2.0,
    "learning_rate": 0.02,
    "min_lr": 0.005,
    "warmup_iters": 2,
    "max_iters": 4,
    "grad_clip": 0.3,
    "batch_size": 2,
    "gradient_accumulation_steps": 3,
}


def begun(config):
    """A fresh state and its dataset."""
    dataset = TokenDataset(find_folder(config.dataset), config.model.block_size, config.seed)
    return make_state(config, dataset.vocab_size), dataset


class SameBatch:
    """A dataset that gives the same sequences at every step."""

    def __init__(self, dataset, count: int):
        self.inputs, self.targets = dataset.batch("train", 0, count)

    def batch(self, split, step, count, part):
        return self.inputs, self.targets


def decays(model, name: str) -> bool:
    """Whether a parameter is the matrix of a linear layer or of an embedding, or what a wiring names."""
    owner, _, kind = name.rpartition(".")
    is_matrix = type(model.get_submodule(owner)) in (torch.nn.Linear, torch.nn.Embedding)
    return (kind == "weight" and is_matrix) or kind in ("weights", "maps")  # dense, dynamic_hyper


def adamw(config, lr, decay, weight, gradient, memory):
    m = memory["m"] = config.beta1 * memory.get("m", 0) + (1 - config.beta1) * gradient
    v = memory["v"] = config.beta2 * memory.get("v", 0) + (1 - config.beta2) * gradient**2
    t = memory["t"] = memory.get("t", 0) + 1
    m, v = m / (1 - config.beta1**t), v / (1 - config.beta2**t)
    return (1 - lr * decay) * weight - lr * m / (v.sqrt() + config.adam_eps)


def sgd(config, lr, decay, weight, gradient, memory):
    gradient = gradient + decay * weight
    m = memory["m"] = config.beta1 * memory["m"] + gradient if "m" in memory else gradient
    return weight - lr * m


def adagrad(config, lr, decay, weight, gradient, memory):
    gradient = gradient + decay * weight
    total = memory["sum"] = memory.get("sum", 0) + gradient**2
    return weight - lr * gradient / (total.sqrt() + 1e-10)


def muon(config, lr, decay, weight, gradient, memory):
    """Of one matrix: Q, K and V are three, a gate and W1 are two, whatever tensor holds them."""
    m = memory["m"] = 0.95 * memory.get("m", 0) + 0.05 * gradient
    rows, columns = weight.shape
    count = rows // columns if rows == 3 * columns else 2 if memory["gated"] else 1
    directions = [orthogonal(part[None])[0] for part in (0.95 * m + 0.05 * gradient).chunk(count)]
    scale = 0.2 * max(rows // count, columns) ** 0.5
    if config.muon_lr:
        lr = lr * config.muon_lr / config.learning_rate
        scale = max(1, rows / count / columns) ** 0.5
    return (1 - lr * decay) * weight - lr * scale * torch.cat(directions)


@pytest.mark.parametrize(
    ("optimizer", "changes"),
    [
        ("adamw", {}),
        ("adamw", {"grad_clip": 0.0, "residual": "hyper"}),
        ("adamw", {"tie_weights": False, "residual": "highway"}),
        ("adamw", {"residual": "dynamic_hyper"}),
        ("sgd", {"residual": "dense"}),
        ("adagrad", {"residual": "rezero", "tie_weights": False}),
        ("muon", {"muon_lr": 0.05, "tie_weights": False}),
        ("muon", {"mlp": "swiglu", "norm": "rmsnorm", "residual": "attention_residual"}),
    ],
)
def test_three_updates_are_those_computed_by_hand(train_config, optimizer, changes):
    """Warmup and decay, averages and their corrections, weight decay, clipping and accumulation at once."""
    config = train_config(**PECULIAR | changes, optimizer=optimizer)
    (state, dataset), (other, _) = begun(config), begun(config)
    weights, memory = dict(other.model.named_parameters()), {}
    for step in range(3):
        metrics = update(state, config, dataset)
        inputs, targets = dataset.batch("train", step, 6)  # one batch as large as all
        loss = other.model.loss(inputs, targets)
        gradients = dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))
        norm = sum(g.square().sum() for g in gradients.values()).sqrt().item()
        clip = min(1, config.optim.grad_clip / norm) if config.optim.grad_clip else 1
        lr = learning_rate(config.optim, step)
        assert metrics["batch/loss"] == pytest.approx(loss.item(), rel=1e-9)
        assert metrics["batch/grad_norm"] == pytest.approx(norm, rel=1e-9) and norm > 0.3
        assert metrics["learning_rate"] == lr
        for name, weight in weights.items():
            rule = {"sgd": sgd, "adagrad": adagrad}.get(optimizer, adamw)
            if optimizer == "muon" and "blocks" in name and decays(other.model, name):
                rule = muon
            decay = config.optim.weight_decay if decays(other.model, name) else 0
            before = weight.detach().clone()
            with torch.no_grad():
                gated = "c_fc" in name and config.model.mlp == "swiglu"
                args = (weight, clip * gradients[name], memory.setdefault(name, {"gated": gated}))
                weight.copy_(rule(config.optim, lr, decay, *args))
            there, moved = state.model.get_parameter(name), (weight - before).norm()
            near = 0.02 if rule is muon else 1e-4  # orthogonal() computes in bfloat16; clipping adds 1e-6
            assert (there - weight).norm() <= near * moved, (name, step)
            with torch.no_grad():
                weight.copy_(there)


def test_dropout_is_a_function_of_seed_step_and_rank(train_config):
    """The same batch and weights each time: only what is dropped can change the loss."""
    config = train_config(dropout=0.5, learning_rate=0.0, min_lr=0.0)
    state, dataset = begun(config)
    repeated = SameBatch(dataset, config.batch_size)

    def loss(step=3, rank=0, seed=config.seed) -> float:
        torch.manual_seed(torch.seed())
        state.model.eval()
        state.step = step
        return update(state, replace(config, seed=seed), repeated, Single(dist=DistContext(rank=rank)))[
            "batch/loss"
        ]

    assert loss() == loss()
    losses = [loss(), loss(step=4), loss(step=0), loss(rank=1), loss(rank=2), loss(seed=1)]
    assert len(set(losses)) == len(losses)
    assert loss(step=3, seed=4) != loss(step=4, seed=3)
    state.model.eval()
    assert loss() != pytest.approx(state.model.loss(repeated.inputs, repeated.targets).item(), abs=1e-4)


@pytest.mark.parametrize(("world", "accumulation"), [(1, 3), (2, 3), (2, 2), (4, 1), (8, 1)])
def test_all_ranks_together_read_the_batch_of_one_process(train_config, world, accumulation):
    config = train_config(batch_size=8, gradient_accumulation_steps=accumulation)
    state, dataset = begun(config)
    batch, _ = dataset.batch("train", 5, 8 * accumulation)
    seen = []
    state.model.wte.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    for rank in range(world):
        state.step = 5
        update(state, config, dataset, Single(dist=DistContext(rank, world)))
    assert torch.equal(torch.cat(seen), batch)
    assert len({len(part) for part in seen}) == 1 and max(len(part) for part in seen) <= 8


def everything(state) -> dict:
    """All that a checkpoint holds, as values of its own."""
    optimizer, scaler = state.optimizer.state_dict(), state.scaler.state_dict()
    plain = {key: value for key, value in vars(state).items() if isinstance(value, bool | int | float)}
    return deepcopy({"model": state.model.state_dict(), "optimizer": optimizer, "scaler": scaler} | plain)


def same(one, other) -> bool:
    """Whether two trees are bitwise equal."""
    if torch.is_tensor(one):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [("adamw", "float32"), ("sgd", "float16"), ("adagrad", "float16"), ("muon", "float32")],
)
def test_a_step_that_diverges_leaves_everything_as_it_was(train_config, monkeypatch, optimizer, dtype, what):
    """Weights, moments, rate, scale and step, bitwise; the same batch, once it is good, is learned from."""
    config = train_config(optimizer=optimizer, dtype=dtype, dropout=0.1)
    (state, dataset), (other, _) = begun(config), begun(config)
    for one in (state, other):
        update(one, config, dataset)
    before, good = everything(state), state.model.loss

    def poisoned(*args):
        loss = good(*args)
        if what == "gradient":
            loss.register_hook(lambda gradient: gradient * math.inf)
        return loss * (math.inf if what == "loss" else 1)

    monkeypatch.setattr(state.model, "loss", poisoned)
    with pytest.raises(Diverged) as caught:
        update(state, config, dataset)
    assert math.isfinite(caught.value.metrics["batch/loss"]) == (what == "gradient")
    assert not math.isfinite(caught.value.metrics["batch/grad_norm"])
    assert same(everything(state), before)
    assert all(p.grad is None for p in state.model.parameters())
    monkeypatch.undo()
    assert update(state, config, dataset) == update(other, config, dataset)
    assert state.step == 2 and same(everything(state), everything(other))


def test_a_step_leaves_no_gradient_behind(train_config):
    for optimizer in OPTIMIZERS:
        state, dataset = begun(config := train_config(optimizer=optimizer))
        update(state, config, dataset)
        assert all(p.grad is None for p in state.model.parameters())


@pytest.mark.parametrize(
    ("dtype", "half"), [("float32", None), ("bfloat16", torch.bfloat16), ("float64", None)]
)
def test_products_of_matrices_run_in_the_precision_that_was_asked_for(train_config, dtype, half):
    """In updates and in evaluations alike."""
    config = train_config(dtype=dtype)
    state, dataset = begun(config)
    seen = []
    state.model.blocks[0].mlp.register_forward_hook(lambda module, x, y: seen.append(y.dtype))
    update(state, config, dataset)
    evaluate(state, config, dataset)
    assert set(seen) == {half or next(state.model.parameters()).dtype} and len(seen) > 2


def test_activation_checkpointing_computes_blocks_twice_and_changes_no_number(train_config):
    losses = []
    for again in (False, True):
        config = train_config(activation_checkpointing=again, dropout=0.2)
        state, dataset = begun(config)
        calls = []
        state.model.blocks[0].attn.register_forward_hook(lambda *args, calls=calls: calls.append(1))
        losses.append((update(state, config, dataset), len(calls)))
    assert losses[0][0] == losses[1][0] and [calls for _, calls in losses] == [1, 2]


@pytest.mark.parametrize("wanted", ["True", "False", "auto"])
def test_a_run_is_compiled_when_it_asks_for_it(train_config, monkeypatch, wanted):
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: compiled.append(module))
    state, _ = begun(train_config(compile=wanted))
    assert compiled == (list(state.model.blocks) if wanted == "True" else [])


@pytest.mark.parametrize(
    ("changes", "may"),
    [
        ({}, True),
        ({"optimizer": "muon"}, True),
        ({"cuda_graph": False}, False),
        ({"optimizer": "sgd"}, False),
        ({"optimizer": "adagrad"}, False),
        ({"dtype": "float16"}, False),
        ({"activation_checkpointing": True}, False),
        ({"profile": True}, False),
    ],
)
def test_an_update_may_be_recorded_where_nothing_in_it_asks_the_gpu_or_a_rank(train_config, changes, may):
    """What recording does is in test_cuda.py; on a CPU nothing is recorded."""
    config = train_config(**changes)
    state, dataset = begun(config)
    assert state.may_capture is may
    several = Single()
    several.can_capture = False  # as DDP and FSDP say it
    assert not make_state(config, dataset.vocab_size, several).may_capture
    assert not DDP.can_capture and not FSDP.can_capture
    for _ in range(WARM + 2):
        update(state, config, dataset)
    assert state.captured is None
