"""The model against GPT-2, and the algebra of its wirings."""

import pytest
import torch
from conftest import tiny_config, tiny_model
from stacks_by_hand import run_blocks
from torch import nn

from reslab.model import GPT
from reslab.nn.attention import KVCache
from reslab.nn.generate import context_start
from reslab.residual import WIRINGS

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))

# Our parameter names and GPT-2's in transformers; its linear layers keep their matrices transposed.
GPT2_NAMES = {
    "attn_residual.norm": "ln_1",
    "attn.c_attn": "attn.c_attn",
    "attn.c_proj": "attn.c_proj",
    "mlp_residual.norm": "ln_2",
    "mlp.c_fc": "mlp.c_fc",
    "mlp.c_proj": "mlp.c_proj",
}


def gpt2_name(name: str) -> str:
    """blocks.0.attn.c_attn.weight -> transformer.h.0.attn.c_attn.weight"""
    parts = name.split(".")
    if parts[0] != "blocks":
        return f"transformer.{name}"
    return ".".join(["transformer.h", parts[1], GPT2_NAMES[".".join(parts[2:4])], parts[4]])


def test_logits_and_gradients_are_gpt2s():
    from transformers import GPT2Config, GPT2LMHeadModel

    ours = tiny_model()
    shape = {"n_positions": 8, "vocab_size": 19, "n_layer": 3, "n_head": 2, "n_embd": 16}
    theirs = GPT2LMHeadModel(GPT2Config(**shape, attn_implementation="eager")).double().eval()
    parameters = dict(theirs.named_parameters())
    transposed = {name for name in parameters if ".c_" in name and name.endswith("weight")}
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            there = gpt2_name(name)
            parameters[there].copy_(parameter.T if there in transposed else parameter)

    logits, loss = ours(IDS), ours.loss(IDS, TARGETS)
    expected = theirs(IDS).logits
    assert (logits - expected).abs().max() < 1e-10
    loss.backward()
    nn.functional.cross_entropy(expected.flatten(0, 1), TARGETS.flatten()).backward()
    seen = set()
    for name, parameter in ours.named_parameters():
        there = gpt2_name(name)
        gradient = parameters[there].grad
        assert (parameter.grad - (gradient.T if there in transposed else gradient)).abs().max() < 1e-10, name
        seen.add(there)
    assert seen == set(parameters)  # no parameter of either was left out


@pytest.mark.parametrize("wiring", WIRINGS)
def test_the_future_has_no_gradient(wiring):
    model = tiny_model(residual=wiring)
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    out = run_blocks(model, x)
    for t in range(8):
        (gradient,) = torch.autograd.grad(out[0, t].square().sum(), x, retain_graph=True)
        assert (gradient[0, t + 1 :] == 0).all()
        assert (gradient[0, t] != 0).any()


def test_arms_and_depths_start_from_the_same_draws():
    pre, none = GPT(tiny_config(n_layer=2), 5), GPT(tiny_config(residual="none", n_layer=4), 5)
    theirs = dict(none.named_parameters())
    for name, parameter in pre.named_parameters():
        scale = 2.0 if "c_proj.weight" in name else 1.0  # 1 / sqrt(2 * 2 layers), for pre alone
        assert torch.allclose(parameter * scale, theirs[name], rtol=1e-6), name
    other = GPT(tiny_config(n_layer=2), 6)
    assert not torch.equal(pre.wte.weight, other.wte.weight)
    assert not torch.equal(pre.blocks[0].attn.c_attn.weight, pre.blocks[1].attn.c_attn.weight)


def test_a_tied_head_is_one_matrix():
    tied, untied = GPT(tiny_config()), GPT(tiny_config(tie_weights=False))
    assert tied.head_weight is tied.wte.weight
    assert untied.count_parameters() - tied.count_parameters() == 19 * 16


def test_loss_is_nats_per_token():
    model = tiny_model()
    logits, loss = model(IDS), model.loss(IDS, TARGETS)
    expected = -logits.log_softmax(-1).gather(2, TARGETS[..., None]).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_what_cannot_be_built_is_named():
    with pytest.raises(ValueError, match="n_head=3: must divide n_embd=16"):
        GPT(tiny_config(n_head=3))
    with pytest.raises(ValueError, match="residual=skip: allowed are pre"):
        GPT(tiny_config(residual="skip"))
    with pytest.raises(ValueError, match="9 tokens: block_size is 8"):
        tiny_model()(torch.zeros(1, 9, dtype=torch.long))
    model = tiny_model()
    caches = [KVCache(20) for _ in model.blocks]
    model.hidden_states(IDS, caches)
    with pytest.raises(ValueError, match="9 tokens: block_size is 8"):
        model.hidden_states(IDS[:, :1], caches)


@pytest.mark.parametrize("wiring", WIRINGS)
def test_greedy_text_is_that_of_whole_passes(wiring):
    """What attention remembers changes no token, in fp32, whatever the wiring and beyond block_size."""
    model = tiny_model(residual=wiring).float()
    ids = IDS[:, :3]
    for token in model.generate(ids, 20, temperature=0):
        start = context_start(ids.shape[1], 8)
        assert torch.equal(token, model(ids[:, start:])[:, -1].argmax(-1))
        ids = torch.cat([ids, token[:, None]], dim=1)
    assert torch.equal(ids[:, 3:], torch.stack(list(model.generate(IDS[:, :3], 20, top_k=1)), dim=1))


def test_remembered_keys_and_values_in_bfloat16():
    """They are kept in float32 on a CPU, and one token at a time sees what a whole pass sees."""
    model = tiny_model().float().eval()
    caches = [KVCache(8) for _ in model.blocks]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = [model.hidden_states(IDS[:, begin:end], caches) for begin, end in ((0, 6), (6, 7), (7, 8))]
        expected = model.hidden_states(IDS[:, :8])
    assert caches[0].keys.dtype == torch.float32
    assert (torch.cat(parts, dim=1) - expected).abs().max() < 0.02 * expected.abs().max()


@pytest.mark.parametrize("wiring", WIRINGS)
def test_remembered_keys_and_values_give_the_same_stream(wiring):
    model = tiny_model(residual=wiring)
    caches = [KVCache(8) for _ in model.blocks]
    parts = [
        model.hidden_states(IDS[:, begin:end], caches)
        for begin, end in ((0, 4), (4, 5), (5, 6), (6, 7), (7, 8))
    ]
    assert torch.allclose(torch.cat(parts, dim=1), model.hidden_states(IDS), atol=1e-12)


def test_a_context_is_whole_while_it_fits_and_three_quarters_full_after():
    starts = [context_start(length, 8) for length in range(1, 40)]
    assert starts[:8] == [0] * 8
    seen = [length - start for length, start in enumerate(starts, 1)][8:]
    assert set(seen) == {7, 8}
    assert {length - context_start(length, 100) for length in range(101, 400)} == set(range(76, 101))
    assert [length - context_start(length, 1) for length in range(1, 5)] == [1] * 4


def test_a_long_prompt_is_cropped():
    model = tiny_model()
    ids = torch.randint(19, (1, 30))
    (token,) = model.generate(ids, 1, temperature=0)
    assert torch.equal(token, model(ids[:, context_start(30, 8) :])[:, -1].argmax(-1))


def test_padding_of_the_vocabulary_is_never_chosen():
    model = tiny_model()
    with torch.no_grad():
        model.wte.weight[12:] *= 100
    assert max(int(t.max()) for t in model.generate(IDS, 10)) >= 12
    assert max(int(t.max()) for t in model.generate(IDS, 10, vocab_size=12)) < 12


@pytest.mark.parametrize("wiring", WIRINGS)
def test_activations_computed_again_change_no_bit(wiring):
    model = tiny_model(residual=wiring, dropout=0.2, n_layer=5).train()
    gradients = []
    for checkpointing in (False, True):
        model.activation_checkpointing = checkpointing
        torch.manual_seed(5)
        model.zero_grad()
        model.loss(IDS, TARGETS).backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
