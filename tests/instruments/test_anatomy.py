"""Probes on models of transformers, one of each family, against hooks that are written out."""

import pytest
import torch
from foreign_models import IDS, PARALLEL, POST, PRE, SETTINGS, TARGETS, by_hand, close, loss_of, make_foreign

from reslab.instruments.anatomy import FAMILIES, anatomy_of
from reslab.instruments.probes import PROBES, measure, measure_batch
from reslab.instruments.snapshot import snapshot

transformers = pytest.importorskip("transformers")


@pytest.fixture(autouse=True)
def no_float32(monkeypatch):
    """transformers computes norms and softmax in float32 whatever the model's precision: in float64 here."""
    monkeypatch.setattr(torch, "float32", torch.float64)
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_snapshot_is_what_hooks_by_hand_give_and_leaves_nothing(name):
    model = make_foreign(name)
    loss = loss_of(model)
    model.train()
    for module in [module for module in model.modules() if "Attention" in type(module).__name__]:
        module.eval()
    modes = [module.training for module in model.modules()]
    seen = snapshot(model, IDS, TARGETS)
    assert modes == [module.training for module in model.modules()]
    assert all(p.grad is None and not p._backward_hooks for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    hand = by_hand(name, model.eval())
    assert torch.equal(hand["loss"], loss)
    for k in range(7):
        if name in PARALLEL and k % 2:
            assert seen.resid[k] is None and seen.resid_gradients[k] is None
            continue
        assert seen.resid[k].shape == seen.resid_gradients[k].shape == (6, 8, 32)
        assert close(seen.resid[k], hand["streams"][k])
        assert close(seen.resid_gradients[k], hand["gradients"][k])
    for k in range(6):
        assert close(seen.branch[k], hand["branches"][k])
        if name in POST:
            assert seen.added(k) is None and seen.branch_gradients[k] is None
        else:
            assert close(seen.added(k), hand["added"][k])
    assert hand["weights"].keys() == seen.gradients.keys()
    assert all(close(seen.gradients[n], g) for n, g in hand["weights"].items())


@pytest.mark.parametrize("name", PRE)
def test_skip_and_branches_carry_the_whole_gradient(name):
    model = make_foreign(name)
    seen = snapshot(model, IDS, TARGETS)
    for join in anatomy_of(model).joins:
        grad_in, grad_out = (seen.resid_gradients[place] for place in (join.before, join.after))
        by_branches = [seen.branch_gradients[k] for k in join.sublayers]
        assert min(g.abs().max() for g in by_branches) > 1e-8
        assert close(grad_in, grad_out + sum(by_branches))


def test_the_probes_of_matrices_are_those_of_the_parameters_with_these_names():
    """Q, K and V of fused matrices, from what a model with q, k and v of its own says."""
    rows = {}
    for name in ("llama", "gpt2", "gpt_neox", "opt"):
        model = make_foreign(name)
        seen = snapshot(model, IDS, TARGETS)
        rows[name] = measure(seen), seen.gradients
    row, g = rows["llama"]
    layer1 = {n.removeprefix("model.layers.1."): v for n, v in g.items() if "layers.1." in n}
    norm = lambda *names: sum(layer1[f"{n}.weight"].square().sum() for n in names).sqrt().item()  # noqa: E731
    assert row["probe/qk_gradient"][1] == pytest.approx(norm("self_attn.q_proj", "self_attn.k_proj"))
    assert row["probe/v_gradient"][1] == pytest.approx(norm("self_attn.v_proj"))
    assert row["probe/o_gradient"][1] == pytest.approx(norm("self_attn.o_proj"))
    assert row["probe/w1_gradient"][1] == pytest.approx(norm("mlp.gate_proj", "mlp.up_proj"))
    assert row["probe/w2_gradient"][1] == pytest.approx(norm("mlp.down_proj"))
    row, g = rows["gpt2"]
    assert row["probe/qk_gradient"][0] == pytest.approx(
        g["transformer.h.0.attn.c_attn.weight"][:, :64].norm().item()
    )
    row, g = rows["gpt_neox"]
    heads = g["gpt_neox.layers.0.attention.query_key_value.weight"].view(4, 3, 8, 32)
    assert row["probe/qk_gradient"][0] == pytest.approx(heads[:, :2].norm().item())
    assert row["probe/v_gradient"][0] == pytest.approx(heads[:, 2].norm().item())


@pytest.mark.parametrize("name", SETTINGS)
def test_every_probe_gives_a_number_or_none_where_there_is_nothing(name):
    model = make_foreign(name)
    row = measure_batch(model, IDS[:2], TARGETS[:2])
    lacking = {n for n in PROBES if None in (row[f"probe/{n}"] or [None])}
    if name in POST:
        assert lacking == {"skip_gradient", "branch_gradient", "added_rms", "added_cosine"}
    elif name in PARALLEL:
        assert lacking == {"resid_gradient", "resid_rms"}  # there is no stream between attention and MLP
    else:
        assert lacking == set()
    assert row["probe/layers_that_learn"] == 3


def test_attention_that_gives_no_weights_has_no_entropy():
    row = measure_batch(make_foreign("llama", "sdpa"), IDS[:1], TARGETS[:1])
    assert row["probe/attention_entropy"] == [None] * 3
    eager = measure_batch(make_foreign("llama"), IDS[:1], TARGETS[:1])["probe/attention_entropy"]
    assert all(0 < value < 1 for value in eager)


def test_a_window_is_what_a_row_may_see():
    model = make_foreign("mistral")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "q_proj" in name:
                parameter.zero_()
    assert measure_batch(model, IDS[:1], TARGETS[:1])["probe/attention_entropy"] == pytest.approx([1.0] * 3)


def test_a_frozen_model_has_streams_and_no_gradients_of_weights():
    model = make_foreign("gpt2").requires_grad_(False)
    seen = snapshot(model, IDS, TARGETS)
    assert close(seen.resid_gradients[0], by_hand("gpt2", make_foreign("gpt2"))["gradients"][0])
    assert seen.gradients == {} and measure(seen)["probe/qk_gradient"] == [None] * 3
    assert measure(seen)["probe/layers_that_learn"] is None


def test_what_is_not_known_is_refused_by_name():
    config = transformers.AutoConfig.for_model(
        "bloom", vocab_size=19, hidden_size=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
    )
    with pytest.raises(ValueError, match=r"BloomForCausalLM: model_type=bloom: .* gpt2, llama, .*generic"):
        anatomy_of(transformers.AutoModelForCausalLM.from_config(config))
    with pytest.raises(ValueError, match="GPT2Model has no head"):
        anatomy_of(make_foreign("gpt2").transformer)
    with pytest.raises(ValueError, match="Linear: it is not known here"):
        anatomy_of(torch.nn.Linear(2, 2))
    assert set(FAMILIES) == {name.split()[0] for name in SETTINGS}
