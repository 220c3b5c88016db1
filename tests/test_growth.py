"""Growing a model changes nothing that it says, and lets it go on learning."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from model import GPT
from reslab import checkpoint
from reslab.dataset import open_dataset
from reslab.growth import PLACES, placement, start_from
from reslab.optimizer import make_optimizer
from reslab.residual import WIRINGS
from reslab.runlog import read_run
from reslab.training.loop import train
from reslab.training.step import make_state, train_step

GROWING = [name for name, wiring in WIRINGS.items() if wiring.has_identity]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("end", [0, 1, 2, None, None, None, None]),
        ("middle", [0, 1, None, None, None, None, 2]),
        ("between", [0, None, 1, None, 2, None, None]),
    ],
)
def test_where_blocks_go(where, expected):
    assert placement(3, 7, where) == expected


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("wiring", GROWING)
def test_a_grown_model_says_the_same_and_wakes(train_config, tmp_path, wiring, where):
    short = train_config(residual=wiring, max_iters=4, n_layer=2)
    train(short)
    dataset = open_dataset(short.dataset, 16, 1)
    ids, _ = dataset.batch("train", 0, 2)
    small = GPT(replace(short.model, vocab_size=dataset.vocab_size))
    checkpoint.load_model(tmp_path / "run" / "checkpoint" / "last", small)
    config = train_config(residual=wiring, n_layer=5, warmup_iters=0)
    state = make_state(config, dataset.vocab_size, "cpu")
    said = start_from(str(tmp_path / "run"), state.model, state.optimizer, where, dataset.tokenizer.to_json())
    assert "2 blocks carried over, 3 silent ones inserted" in said
    assert torch.equal(state.model(ids)[0], small(ids)[0])
    if wiring == "silent":
        return
    before = {name: p.clone() for name, p in state.model.named_parameters()}
    for state.step in range(3):
        train_step(state, config, dataset)
    still = [name for name, p in state.model.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in still if "weight" in name]  # every matrix moves within three updates


def test_the_optimizer_remembers(train_config, tmp_path):
    short = train_config(max_iters=4, n_layer=2)
    train(short)
    dataset = open_dataset(short.dataset, 16, 1)
    old = GPT(replace(short.model, vocab_size=dataset.vocab_size))
    memory = make_optimizer(old, short.optim)
    memory.load_state_dict(checkpoint.load_optimizer(tmp_path / "run" / "checkpoint" / "last")["optimizer"])
    state = make_state(train_config(n_layer=4), dataset.vocab_size, "cpu")
    start_from(str(tmp_path / "run"), state.model, state.optimizer, "between", dataset.tokenizer.to_json())
    for theirs, ours in (
        (old.wte, state.model.wte),
        (old.blocks[1].mlp.c_fc, state.model.blocks[2].mlp.c_fc),
    ):
        a, b = memory.state[theirs.weight], state.optimizer.state[ours.weight]
        assert torch.equal(a["exp_avg"], b["exp_avg"]) and torch.equal(a["exp_avg_sq"], b["exp_avg_sq"])
        assert a["step"] == b["step"] == 4
    assert state.model.blocks[1].mlp.c_fc.weight not in state.optimizer.state


@pytest.mark.parametrize("optimizer", ["muon", "sgd"])
def test_other_optimizers_remember_too(train_config, tmp_path, optimizer):
    short = train_config(max_iters=4, n_layer=2, optimizer=optimizer)
    train(short)
    dataset = open_dataset(short.dataset, 16, 1)
    state = make_state(train_config(n_layer=4, optimizer=optimizer), dataset.vocab_size, "cpu")
    saved = checkpoint.load_optimizer(tmp_path / "run" / "checkpoint" / "last")["optimizer"]
    kept = (saved["muon"] if optimizer == "muon" else saved)["state"]
    said = start_from(tmp_path / "run", state.model, state.optimizer, "end", dataset.tokenizer.to_json())
    inner = state.optimizer.muon if optimizer == "muon" else state.optimizer
    first = state.model.blocks[0].attn.c_attn.weight
    buffer = inner.state[first]["momentum_buffer"]
    assert any(torch.equal(buffer, one["momentum_buffer"]) for one in kept.values())
    assert "the optimizer remembers" in said and "0 of" not in said
    other = make_state(train_config(n_layer=4, optimizer="adamw"), dataset.vocab_size, "cpu")
    said = start_from(tmp_path / "run", other.model, other.optimizer, "end", dataset.tokenizer.to_json())
    assert "the optimizer, another one, starts afresh" in said


def test_a_grown_run_starts_at_the_loss_that_was_reached(train_config, tmp_path):
    train(train_config(max_iters=6, n_layer=2))
    reached = read_run(tmp_path / "run").last("val/loss")
    grown = train_config(n_layer=4, init_from=str(tmp_path / "run"), out_dir=str(tmp_path / "grown"))
    train(grown)
    assert read_run(Path(grown.out_dir)).series("val/loss")[1][0] == pytest.approx(reached, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"residual": "none"}, "residual=none: the model in .* has pre, and only n_layer can grow"),
        ({"n_layer": 1}, "n_layer=1: the model in .* has 2 layers already"),
        ({"n_embd": 32}, "n_embd=32: the model in .* has 16, and only n_layer can grow"),
    ],
)
def test_what_can_not_grow_is_refused(train_config, tmp_path, changes, fault):
    train(train_config(max_iters=1, n_layer=2))
    settings = {"n_layer": 4, "init_from": str(tmp_path / "run"), "out_dir": str(tmp_path / "grown")}
    with pytest.raises(ValueError, match=fault):
        train(train_config(**settings | changes))
    assert not (tmp_path / "grown").exists()


@pytest.mark.parametrize("wiring", ["none", "post", "deepnorm", "completep", "depth_scaled", "depth_mup"])
def test_wirings_without_an_identity_are_refused(train_config, tmp_path, wiring):
    train(train_config(max_iters=1, n_layer=2, residual=wiring, probes=False))
    with pytest.raises(ValueError, match=f"attn_residual={wiring}: can't grow, because a silent block"):
        train(
            train_config(
                n_layer=4, residual=wiring, init_from=str(tmp_path / "run"), out_dir=str(tmp_path / "grown")
            )
        )
