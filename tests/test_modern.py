"""The options of a modern decoder: against Llama and Qwen3, by their own properties, and in every wiring."""

import math

import pytest
import torch
from conftest import tiny_config, tiny_model
from torch import nn

from model import GPT
from reslab import dissection
from reslab.inits import INITS
from reslab.probes import attention_entropy, measure, snapshot
from reslab.residual import WIRINGS
from reslab.rotary import rotate, rotations

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))
LLAMA = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope", "n_kv_head": 2, "tie_weights": False}
MODERN = LLAMA | {"qk_norm": True, "n_head": 4, "bias": False}
SINGLE = [name for name, wiring in WIRINGS.items() if wiring.stream == "x"]


def theirs_and_pairs(ours, kind: str):
    """transformers' model of the same shape and weights, and pairs (our matrix, its matrices)."""
    import transformers

    config = ours.config
    shape = {
        "vocab_size": config.vocab_size,
        "hidden_size": config.n_embd,
        "intermediate_size": ours.blocks[0].mlp.c_proj.in_features,
        "num_hidden_layers": config.n_layer,
        "num_attention_heads": config.n_head,
        "num_key_value_heads": config.n_kv_head,
        "head_dim": config.n_embd // config.n_head,
        "max_position_embeddings": config.block_size,
        "rms_norm_eps": config.norm_eps,
        "attention_bias": config.bias,
        "tie_word_embeddings": config.tie_weights,
        "attn_implementation": "sdpa",
    }
    shape |= {"mlp_bias": config.bias} if kind == "Llama" else {}
    settings = getattr(transformers, f"{kind}Config")(**shape)
    theirs = getattr(transformers, f"{kind}ForCausalLM")(settings).double().eval()
    pairs = [
        (ours.wte.weight, [theirs.model.embed_tokens.weight]),
        (ours.ln_f.weight, [theirs.model.norm.weight]),
    ]
    pairs += [(ours.lm_head.weight, [theirs.lm_head.weight])]
    for block, layer in zip(ours.blocks, theirs.model.layers, strict=True):
        attn = layer.self_attn
        modules = [
            (block.attn_residual.norm, [layer.input_layernorm]),
            (block.attn.c_attn, [attn.q_proj, attn.k_proj, attn.v_proj]),
            (block.attn.c_proj, [attn.o_proj]),
            (block.mlp_residual.norm, [layer.post_attention_layernorm]),
            (block.mlp.c_fc, [layer.mlp.gate_proj, layer.mlp.up_proj]),
            (block.mlp.c_proj, [layer.mlp.down_proj]),
        ]
        if config.qk_norm:
            modules += [(block.attn.q_norm, [attn.q_norm]), (block.attn.k_norm, [attn.k_norm])]
        for mine, others in modules:
            for name, parameter in mine.named_parameters():
                pairs.append((parameter, [getattr(other, name) for other in others]))
    with torch.no_grad():
        for mine, others in pairs:
            for other, part in zip(others, mine.split([len(o) for o in others]), strict=True):
                other.copy_(part)
    return theirs, pairs


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("Llama", {"bias": False}),
        ("Llama", {"bias": True, "n_kv_head": 1}),
        ("Qwen3", {"bias": False, "qk_norm": True}),
    ],
)
def test_logits_and_gradients_are_llamas_and_qwens(kind, changes, monkeypatch):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from transformers.models.qwen3.modeling_qwen3 import Qwen3RMSNorm

    for norm in (LlamaRMSNorm, Qwen3RMSNorm):  # theirs round to float32; float32 itself is compared below
        monkeypatch.setattr(
            norm,
            "forward",
            lambda self, x: nn.functional.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon),
        )
    ours = tiny_model(**LLAMA | {"n_head": 4, "n_embd": 24} | changes)
    theirs, pairs = theirs_and_pairs(ours, kind)
    logits, loss = ours(IDS, TARGETS)
    expected = theirs(IDS).logits
    assert (logits - expected).abs().max() < 1e-10
    loss.backward()
    nn.functional.cross_entropy(expected.flatten(0, 1), TARGETS.flatten()).backward()
    for mine, others in pairs:
        assert (mine.grad - torch.cat([other.grad for other in others])).abs().max() < 1e-10
    count = sum(p.numel() for p in theirs.parameters())
    assert ours.count_parameters() == count  # no parameter of either was left out


def test_in_float32_nothing_of_llama_is_replaced():
    ours = tiny_model(**LLAMA | {"n_head": 4, "n_embd": 24, "bias": False})
    theirs, _ = theirs_and_pairs(ours, "Llama")
    assert (ours.float()(IDS)[0] - theirs.float()(IDS).logits).abs().max() < 1e-4


def test_rotated_queries_and_keys_see_only_their_distance():
    turns = rotations(64, 8).double()
    q, k = torch.randn(2, 8, dtype=torch.float64)

    def score(t, s):
        return (rotate(q[None], turns[t : t + 1]) @ rotate(k[None], turns[s : s + 1]).T).item()

    assert score(5, 3) == pytest.approx(score(41, 39), abs=1e-5)  # the table holds float32
    assert abs(score(5, 3) - score(5, 4)) > 1e-3
    assert torch.equal(rotate(q[None], turns[:1]), q[None])


def test_rope_has_no_embedding_of_places_and_still_knows_them():
    model = tiny_model(pos="rope")
    assert model.wpe is None and not [name for name in model.state_dict() if "turns" in name]
    swapped = IDS[:1].clone()
    swapped[0, [0, 1]] = swapped[0, [1, 0]]
    assert (model(IDS[:1])[0][0, -1] - model(swapped)[0][0, -1]).abs().max() > 1e-6


def test_normed_queries_and_keys_ignore_their_size():
    model = tiny_model(qk_norm=True, bias=False, norm_eps=1e-300)
    before = model(IDS)[0]
    with torch.no_grad():
        for block in model.blocks:
            q, k, _ = block.attn.parts()
            q.mul_(7.0), k.mul_(0.1)
    assert torch.allclose(model(IDS)[0], before, atol=1e-9)
    q, k, _ = model.blocks[0].attn.qkv(torch.randn(1, 8, 16, dtype=torch.float64))
    gain = model.blocks[0].attn.q_norm.weight
    assert (q / gain).square().mean(-1).allclose(torch.ones((), dtype=torch.float64))


def test_squared_relu_and_both_gelus_have_their_values():
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    for name, act in (
        ("relu2", lambda h: h.clamp(min=0) ** 2),
        ("gelu_erf", lambda h: h * torch.special.ndtr(h)),
    ):
        mlp = tiny_model(mlp=name).blocks[0].mlp
        assert torch.allclose(mlp(x), mlp.c_proj(act(mlp.c_fc(x))), atol=1e-12), name
    assert 0 < (tiny_model(mlp="gelu_erf")(IDS)[0] - tiny_model()(IDS)[0]).abs().max() < 0.1


@pytest.mark.parametrize("width", [64, 384, 768])
def test_a_gated_mlp_has_as_many_weights(width):
    plain, gated = (
        GPT(tiny_config(n_embd=width, mlp=mlp, n_layer=1, bias=False)).blocks[0].mlp
        for mlp in ("gelu", "swiglu")
    )
    count = [sum(p.numel() for p in mlp.parameters()) for mlp in (plain, gated)]
    assert count[1] == pytest.approx(count[0], rel=0.02) and gated.c_proj.in_features % 8 == 0


def test_shared_keys_are_those_of_a_model_that_repeats_them():
    few, many = tiny_model(n_head=4, n_kv_head=2), tiny_model(n_head=4)
    state = few.state_dict()
    for layer in range(3):
        for kind in ("weight", "bias"):
            name = f"blocks.{layer}.attn.c_attn.{kind}"
            q, k, v = state[name].split([16, 8, 8])
            k, v = (part.unflatten(0, (2, 4)).repeat_interleave(2, 0).flatten(0, 1) for part in (k, v))
            state[name] = torch.cat([q, k, v])
    many.load_state_dict(state)
    assert torch.allclose(few(IDS)[0], many(IDS)[0], atol=1e-12)
    seen = [attention_entropy(snapshot(model, IDS, TARGETS)) for model in (few, many)]
    assert seen[0] == pytest.approx(seen[1])


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_wiring_takes_every_option(wiring):
    """The future has no gradient, every probe measures, every init starts, text is what the logits say."""
    model = tiny_model(residual=wiring, **MODERN)
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    stream = model.blocks[0].attn_residual.open(x)
    for block in model.blocks:
        stream = block(stream)
    out = model.blocks[-1].mlp_residual.close(stream)
    for t in (0, 3):
        (gradient,) = torch.autograd.grad(out[0, t].square().sum(), x, retain_graph=True)
        assert (gradient[0, t + 1 :] == 0).all() and (gradient[0, t] != 0).any()
    row = measure(snapshot(model, IDS, TARGETS))
    assert all(
        v is None or math.isfinite(v)
        for values in row.values()
        for v in (values if isinstance(values, list) else [values])
    )
    ids = IDS[:1, :3]
    for token in model.generate(ids, 5, temperature=0):  # with remembered keys, against the whole pass
        assert torch.equal(token, model(ids)[0][:, -1].argmax(-1))
        ids = torch.cat([ids, token[:, None]], dim=1)
    for init in INITS:
        assert GPT(tiny_config(residual=wiring, init=init, **MODERN))(IDS, TARGETS)[1].isfinite()


@pytest.mark.parametrize("wiring", [name for name in SINGLE if WIRINGS[name].skip is not None])
def test_paths_and_lesions_of_a_modern_model(wiring):
    model = tiny_model(residual=wiring, **MODERN)
    report = dissection.path_lengths(model, IDS[:1], TARGETS[:1])
    assert report["error"] < 1e-10 * max(1.0, report["total"])
    shorter = tiny_model(residual=wiring, **MODERN)
    del shorter.blocks[1]
    found = dissection.lesions(model, IDS, TARGETS)["block"][1]["delta"]
    whole = dissection.window_losses(model, IDS, TARGETS)
    expected = (dissection.window_losses(shorter, IDS, TARGETS) - whole).mean().item()
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mlp", ["swiglu", "relu2"])
def test_a_silent_modern_block_is_the_identity(mlp):
    model = GPT(tiny_config(**MODERN | {"mlp": mlp})).double()
    with torch.no_grad():
        for branch in (model.blocks[1].attn, model.blocks[1].mlp):
            branch.c_proj.weight.zero_()
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    assert torch.equal(model.blocks[1](x), x)


def test_inits_know_the_parts_of_shared_and_gated_matrices():
    shape = {"n_embd": 48, "n_head": 4}
    control = GPT(tiny_config(residual="identity_start", **MODERN | shape)).blocks[0]
    q, _, v = control.attn.parts()
    assert q.shape == (48, 48) and v.shape == (24, 48) and (q == 0).all()
    assert torch.allclose(v @ v.T, torch.eye(24), atol=1e-5)
    gate, value = control.mlp.parts()
    for matrix in (gate, value):
        assert torch.allclose(matrix.T @ matrix, torch.eye(48), atol=1e-5)
    plain, deep = (
        GPT(tiny_config(residual=name, **MODERN | shape)).blocks[0] for name in ("none", "deepnorm")
    )
    beta = (8 * 3) ** -0.25
    for branch in ("attn", "mlp"):
        *others, value = getattr(plain, branch).parts()
        *scaled_others, scaled = getattr(deep, branch).parts()
        assert torch.allclose(scaled, value * beta)
        assert all(torch.equal(a, b) for a, b in zip(others, scaled_others, strict=True))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"n_kv_head": 3, "n_head": 4}, "n_kv_head=3: must be 0 or divide n_head=4"),
        ({"n_kv_head": -1}, "n_kv_head=-1: must be at least 0"),
        (
            {"pos": "rope", "n_head": 16},
            "pos=rope: rotates pairs of channels, and n_embd / n_head = 1 is odd",
        ),
        ({"norm": "batch"}, "norm=batch: allowed are layernorm, rmsnorm"),
        ({"mlp": "relu"}, "mlp=relu: allowed are gelu, gelu_erf, relu2, swiglu"),
        ({"pos": "alibi"}, "pos=alibi: allowed are learned, rope"),
        ({"init": "zero"}, "init=zero: allowed are wiring, unscaled"),
    ],
)
def test_what_can_not_be_built_is_named(changes, fault):
    with pytest.raises(ValueError, match=fault):
        GPT(tiny_config(**changes))
