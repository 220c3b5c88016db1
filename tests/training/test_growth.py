"""Growing a model changes nothing that it says, and lets it go on learning."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import update

from reslab.data.dataset import open_dataset
from reslab.model import GPT
from reslab.residual import WIRINGS
from reslab.run import checkpoint
from reslab.run.log import read_run
from reslab.training.growth import PLACES, placement, start_from
from reslab.training.loop import train
from reslab.training.optimizer import make_optimizer
from reslab.training.step import make_state

GROWING = [name for name, wiring in WIRINGS.items() if wiring.can_grow()]
REFUSED = ["none", "post", "deepnorm", "keel", "resi_dual", "completep", "depth_scaled", "depth_mup"]
REFUSED += ["stochastic_depth", "block_skip", "partial_skips", "mhc"]


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
    state = make_state(config, dataset.vocab_size)
    message = start_from(
        str(tmp_path / "run"), state.model, state.optimizer, where, dataset.tokenizer.to_json()
    )
    assert "2 blocks carried over, 3 silent ones inserted" in message
    assert torch.equal(state.model(ids), small(ids))
    if wiring == "silent":
        return
    before = {name: p.clone() for name, p in state.model.named_parameters()}
    for state.step in range(3):
        update(state, config, dataset)
    still = [name for name, p in state.model.named_parameters() if torch.equal(p, before[name])]
    assert not [name for name in still if "weight" in name]  # every matrix moves within three updates


def test_the_optimizer_remembers(train_config, tmp_path):
    short = train_config(max_iters=4, n_layer=2)
    train(short)
    dataset = open_dataset(short.dataset, 16, 1)
    old = GPT(replace(short.model, vocab_size=dataset.vocab_size))
    memory = make_optimizer(old, short.optim)
    memory.load_state_dict(checkpoint.load_optimizer(tmp_path / "run" / "checkpoint" / "last")["optimizer"])
    state = make_state(train_config(n_layer=4), dataset.vocab_size)
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
    state = make_state(train_config(n_layer=4, optimizer=optimizer), dataset.vocab_size)
    saved = checkpoint.load_optimizer(tmp_path / "run" / "checkpoint" / "last")["optimizer"]
    kept = (saved["muon"] if optimizer == "muon" else saved)["state"]
    message = start_from(tmp_path / "run", state.model, state.optimizer, "end", dataset.tokenizer.to_json())
    inner = state.optimizer.muon if optimizer == "muon" else state.optimizer
    first = state.model.blocks[0].attn.c_attn.weight
    buffer = inner.state[first]["momentum_buffer"]
    assert any(torch.equal(buffer, one["momentum_buffer"]) for one in kept.values())
    assert "the optimizer remembers" in message and "0 of" not in message
    other = make_state(train_config(n_layer=4, optimizer="adamw"), dataset.vocab_size)
    message = start_from(tmp_path / "run", other.model, other.optimizer, "end", dataset.tokenizer.to_json())
    assert "the optimizer, another one, starts afresh" in message


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


@pytest.mark.parametrize("wiring", REFUSED)
def test_wirings_without_an_identity_are_refused(train_config, tmp_path, wiring):
    train(train_config(max_iters=1, n_layer=2, residual=wiring, probes=False))
    with pytest.raises(ValueError, match=f"attn_residual={wiring}: can't grow, because a silent block"):
        train(
            train_config(
                n_layer=4, residual=wiring, init_from=str(tmp_path / "run"), out_dir=str(tmp_path / "grown")
            )
        )


def sizes(config, dataset):
    return replace(config.model, vocab_size=dataset.vocab_size)


@pytest.fixture
def short_run(train_config, tmp_path):
    """A run of two blocks of 16 places, far from its start; its best checkpoint is not its last."""
    config = train_config(max_iters=4, n_layer=2, learning_rate=0.1)
    train(config)
    dataset = open_dataset(config.dataset, 16, 1)
    last = tmp_path / "run" / "checkpoint" / "last"
    model = GPT(sizes(config, dataset))
    checkpoint.load_model(last, model)
    memory = make_optimizer(model, config.optim)
    memory.load_state_dict(checkpoint.load_optimizer(last)["optimizer"])
    best = GPT(sizes(config, dataset), seed=99)
    where = last.with_name("best")
    checkpoint.save(where, best, checkpoint.load_optimizer(last), checkpoint.load_state(last))
    return model, memory, dataset


def grown(short_run, config, tmp_path):
    _, _, dataset = short_run
    state = make_state(config, dataset.vocab_size)
    start_from(str(tmp_path / "run"), state.model, state.optimizer, "middle", dataset.tokenizer.to_json())
    return state


def test_every_parameter_and_its_memory_are_the_first_rows_of_the_old(short_run, train_config, tmp_path):
    """Deeper, and with half the context: whatever is carried comes from its own block and its own rows."""
    old, memory, _ = short_run
    state = grown(short_run, train_config(n_layer=5, block_size=8, bias=True), tmp_path)
    there = dict(old.named_parameters())
    place = [0, None, None, None, 1]
    for name, parameter in state.model.named_parameters():
        if name.startswith("blocks."):
            _, layer, rest = name.split(".", 2)
            if place[int(layer)] is None:
                assert parameter not in state.optimizer.state
                if "c_proj" in name:
                    assert (parameter == 0).all()
                continue
            name = f"blocks.{place[int(layer)]}.{rest}"
        source = there[name]
        rows = slice(0, 8) if name == "wpe.weight" else slice(None)
        assert torch.equal(parameter, source[rows]), name
        before, now = memory.state[source], state.optimizer.state[parameter]
        assert before.keys() == now.keys() and before["step"] == now["step"] == 4
        for moment in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(now[moment], before[moment][rows]) and now[moment].shape == parameter.shape
            assert now[moment].abs().max() > 0, name
    count = sum(p in state.optimizer.state for p in state.model.parameters())
    assert count == len(there)


def test_a_silent_block_of_rezero_keeps_its_matrices(train_config, tmp_path):
    """Zero alone would never wake from a = 0 and O = 0 together."""
    config = train_config(max_iters=2, n_layer=1, residual="rezero")
    train(config)
    dataset = open_dataset(config.dataset, 16, 1)
    state = make_state(train_config(n_layer=2, residual="rezero"), dataset.vocab_size)
    start_from(str(tmp_path / "run"), state.model, state.optimizer, "end", dataset.tokenizer.to_json())
    assert state.model.blocks[0].attn_residual.alpha != 0
    block = state.model.blocks[1]
    assert block.attn_residual.alpha == block.mlp_residual.alpha == 0
    assert (block.attn.c_proj.weight != 0).any() and (block.mlp.c_proj.weight != 0).any()


def test_another_tokenizer_can_not_read_the_weights(short_run, train_config, tmp_path):
    _, _, dataset = short_run
    state = make_state(train_config(n_layer=3), dataset.vocab_size)
    other = dataset.tokenizer.to_json()
    other["chars"] = other["chars"][::-1]
    with pytest.raises(ValueError, match="it was trained with another tokenizer; use its dataset"):
        start_from(str(tmp_path / "run"), state.model, state.optimizer, "end", other)


CHANGES = {
    "dropout": ({"dropout": 0.3, "n_layer": 3}, None),
    "init": ({"init": "fan_in", "n_layer": 3}, None),
    "a shorter context": ({"block_size": 4}, None),
    "no skips": ({"residual": "none"}, None),
    "no skips, a shorter context": ({"residual": "none", "block_size": 4}, None),
    "no skips of one kind": ({"mlp_residual": "none"}, None),
    "weaker skips": ({"residual": "scaled", "residual_scale": 0.9}, None),
    "widths that are said": ({"n_kv_head": 2, "head_dim": 8, "n_inner": 64, "n_layer": 3}, None),
    "another MLP": ({"n_inner": 40}, "n_inner=40: the model in .* has 0"),
    "a longer context": ({"block_size": 32}, "block_size=32: the model in .* has 16"),
    "another epsilon": ({"norm_eps": 1e-6}, "norm_eps=1e-06: the model in .* has 1e-05"),
    "more parameters": ({"residual": "layerscale"}, "residual=layerscale: the model in .* has pre"),
    "other streams": ({"residual": "x0"}, "residual=x0: the model in .* has pre"),
    "deeper without skips of one kind": (
        {"mlp_residual": "none", "n_layer": 3},
        "mlp_residual=none: can't grow, because a silent block",
    ),
    "fewer layers": ({"n_layer": 1}, "n_layer=1: the model in .* has 2 layers already"),
    "another nonlinearity": ({"mlp": "relu2"}, "mlp=relu2: the model in .* has gelu"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_may_change_and_what_may_not(short_run, train_config, tmp_path, change):
    changes, fault = CHANGES[change]
    if fault is None:
        old = short_run[0]
        state = grown(short_run, train_config(**changes), tmp_path)
        assert torch.equal(state.model.blocks[0].attn.c_attn.weight, old.blocks[0].attn.c_attn.weight)
        assert torch.equal(state.model.wpe.weight, old.wpe.weight[: state.model.config.block_size])
        return
    with pytest.raises(ValueError, match=fault):
        grown(short_run, train_config(**changes), tmp_path)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 4), (2, 3), (4, 9), (3, 8), (5, 5), (3, 30)])
def test_places_keep_the_order_and_leave_nothing_out(where, old, new):
    place = placement(old, new, where)
    assert len(place) == new and [k for k in place if k is not None] == list(range(old))
    first = place.index(None) if None in place else new
    silent = [i for i, k in enumerate(place) if k is None]
    if where == "end":
        assert silent == list(range(old, new))
    elif where == "middle":
        assert silent == list(range(-(-old // 2), -(-old // 2) + new - old))
    else:
        assert first >= 1 and place[0] == 0
        behind = [sum(k is None for k in place[place.index(b) :][: 1 + new]) for b in range(old)]
        shares = [a - b for a, b in zip(behind, [*behind[1:], 0], strict=True)]
        assert max(shares) - min(shares) <= 1
