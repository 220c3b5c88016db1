"""The options of a modern decoder: against Llama and Qwen3, by their own properties, and in every wiring."""

import math

import pytest
import torch
from conftest import tiny_config, tiny_model
from torch import nn

from reslab.instruments import dissection
from reslab.instruments.probes import measure
from reslab.instruments.snapshot import snapshot
from reslab.model import GPT
from reslab.nn.init import INITS
from reslab.residual import WIRINGS

IDS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (2, 8), generator=torch.Generator().manual_seed(2))
LLAMA = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope", "n_kv_head": 2, "tie_weights": False}
MODERN = LLAMA | {"qk_norm": True, "n_head": 4, "bias": False}
SINGLE = [name for name, wiring in WIRINGS.items() if wiring.single_tensor]


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
    pairs = weight_pairs(ours, theirs)
    with torch.no_grad():
        for parameter, others in pairs:
            for other, part in zip(others, parameter.split([len(o) for o in others]), strict=True):
                other.copy_(part)
    return theirs, pairs


def weight_pairs(ours, theirs):
    """(our matrix, its matrices in theirs) of the whole model."""
    pairs = [
        (ours.wte.weight, [theirs.model.embed_tokens.weight]),
        (ours.ln_f.weight, [theirs.model.norm.weight]),
        (ours.lm_head.weight, [theirs.lm_head.weight]),
    ]
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
        if ours.config.qk_norm:
            modules += [(block.attn.q_norm, [attn.q_norm]), (block.attn.k_norm, [attn.k_norm])]
        for module, others in modules:
            for name, parameter in module.named_parameters():
                pairs.append((parameter, [getattr(other, name) for other in others]))
    return pairs


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
    logits, loss = ours(IDS), ours.loss(IDS, TARGETS)
    expected = theirs(IDS).logits
    assert (logits - expected).abs().max() < 1e-10
    loss.backward()
    nn.functional.cross_entropy(expected.flatten(0, 1), TARGETS.flatten()).backward()
    for parameter, others in pairs:
        assert (parameter.grad - torch.cat([other.grad for other in others])).abs().max() < 1e-10
    count = sum(p.numel() for p in theirs.parameters())
    assert ours.count_parameters() == count  # no parameter of either was left out


def test_in_float32_nothing_of_llama_is_replaced():
    ours = tiny_model(**LLAMA | {"n_head": 4, "n_embd": 24, "bias": False})
    theirs, _ = theirs_and_pairs(ours, "Llama")
    assert (ours.float()(IDS) - theirs.float()(IDS).logits).abs().max() < 1e-4


def test_rope_has_no_embedding_of_places_and_still_knows_them():
    model = tiny_model(pos="rope")
    assert model.wpe is None and not [name for name in model.state_dict() if "rope" in name]
    swapped = IDS[:1].clone()
    swapped[0, [0, 1]] = swapped[0, [1, 0]]
    assert (model(IDS[:1])[0, -1] - model(swapped)[0, -1]).abs().max() > 1e-6


@pytest.mark.parametrize("width", [64, 384, 768])
def test_a_gated_mlp_has_as_many_weights(width):
    plain, gated = (
        GPT(tiny_config(n_embd=width, mlp=mlp, n_layer=1, bias=False)).blocks[0].mlp
        for mlp in ("gelu", "swiglu")
    )
    count = [sum(p.numel() for p in mlp.parameters()) for mlp in (plain, gated)]
    assert count[1] == pytest.approx(count[0], rel=0.02) and gated.c_proj.in_features % 8 == 0


@pytest.mark.parametrize("wiring", WIRINGS)
def test_every_wiring_takes_every_option(wiring):
    """The future has no gradient, every probe measures, every init starts, text is what the logits say."""
    model = tiny_model(residual=wiring, **MODERN)
    x = torch.randn(1, 8, 16, dtype=torch.float64, requires_grad=True)
    stream = model.stack.open(x)
    for block in model.blocks:
        stream = block(stream)
    out = model.stack.close(stream)
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
        assert torch.equal(token, model(ids)[:, -1].argmax(-1))
        ids = torch.cat([ids, token[:, None]], dim=1)
    for init in INITS:
        assert GPT(tiny_config(residual=wiring, init=init, **MODERN)).loss(IDS, TARGETS).isfinite()


@pytest.mark.parametrize("wiring", [name for name in SINGLE if WIRINGS[name].skip is not None])
def test_paths_and_lesions_of_a_modern_model(wiring):
    model = tiny_model(residual=wiring, **MODERN)
    report = dissection.path_lengths(model, IDS[:1], TARGETS[:1])
    assert report["error"] < 1e-10 * max(1.0, report["total"])
    reached = snapshot(model, IDS[:1], TARGETS[:1]).stream_gradients[0].norm().item()
    assert report["total"] == pytest.approx(reached, rel=1e-9)  # of the model as it is run
    shorter = tiny_model(residual=wiring, **MODERN)
    del shorter.blocks[1]
    delta = dissection.lesions(model, IDS, TARGETS)["block"][1]["delta"]
    base_losses = dissection.sequence_losses(model, IDS, TARGETS)
    expected = (dissection.sequence_losses(shorter, IDS, TARGETS) - base_losses).mean().item()
    assert delta == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("mlp", ["swiglu", "relu2"])
def test_a_silent_modern_block_is_the_identity(mlp):
    model = GPT(tiny_config(**MODERN | {"mlp": mlp})).double()
    with torch.no_grad():
        for branch in (model.blocks[1].attn, model.blocks[1].mlp):
            branch.c_proj.weight.zero_()
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    assert torch.equal(model.blocks[1](x), x)


def test_deepnorm_scales_the_values_and_not_the_gate():
    """Of shared and gated matrices: V and W1 alone, since a gate scaled too would shrink a product twice."""
    shape = {"n_embd": 48, "n_head": 4}
    plain, deep = (
        GPT(tiny_config(residual=name, **MODERN | shape)).blocks[0] for name in ("none", "deepnorm")
    )
    beta = (8 * 3) ** -0.25
    for branch in ("attn", "mlp"):
        *others, value = getattr(plain, branch).input_matrices()
        *scaled_others, scaled = getattr(deep, branch).input_matrices()
        xavier = [(2 / sum(matrix.shape)) ** 0.5 / 0.02 for matrix in (*others, value)]
        assert torch.allclose(scaled, value * xavier.pop() * beta)
        assert all(torch.allclose(a * x, b) for a, b, x in zip(others, scaled_others, xavier, strict=True))


@pytest.mark.parametrize(
    "changes",
    [
        {"norm": "rmsnorm", "pos": "rope", "bias": False},
        {"n_kv_head": 1, "pos": "rope"},
        {"n_kv_head": 2, "n_head": 4},
        {"qk_norm": True, "pos": "rope"},
        {"n_head": 1, "mlp": "swiglu"},
        {"n_head": 2, "head_dim": 48, "n_kv_head": 1},
    ],
)
def test_init_self_makes_a_token_see_itself(changes):
    """Scores peak on the own position, on any input, however heads share keys."""
    shape = {"n_embd": 64, "block_size": 32, "init": "self", "residual": "none"}
    block = GPT(tiny_config(**shape | changes)).blocks[1]
    x = torch.nn.functional.rms_norm(torch.randn(4, 32, 64), (64,))
    q, k, v = block.attn.qkv(x)  # (B, H, T, D)
    k, v = (heads.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for heads in (k, v))
    scores = (q @ k.mT) / q.shape[-1] ** 0.5  # (B, H, T, T)
    assert (scores.argmax(-1) == torch.arange(32)).all()
    weights = scores.masked_fill(torch.ones(32, 32).triu(1).bool(), -torch.inf).softmax(-1)
    assert weights.diagonal(dim1=2, dim2=3).mean() > 0.99


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_init_self_is_orthogonal(scale):
    """Q = K = c R, and R, V, O, W1 and W2 are orthogonal; depth and wiring change no draw."""
    shape = {"n_embd": 48, "n_head": 4, "mlp": "swiglu", "init": "self"}
    block = GPT(tiny_config(**shape, init_qk_scale=scale)).blocks[2]
    q, k, v = block.attn.input_matrices()
    assert torch.equal(q, k)
    for matrix, size in ((q, scale), (v, 1), (block.attn.c_proj.weight, 1)):
        assert torch.allclose(matrix @ matrix.T, size**2 * torch.eye(48), atol=1e-4)
    for matrix in (*block.mlp.input_matrices(), block.mlp.c_proj.weight.T):
        assert torch.allclose(matrix.T @ matrix, torch.eye(48), atol=1e-4)
    deeper = GPT(tiny_config(**shape, init_qk_scale=scale, n_layer=5, residual="none")).blocks[2]
    assert torch.equal(deeper.attn.c_attn.weight, block.attn.c_attn.weight)


@pytest.mark.parametrize("changes", [{"n_head": 2, "n_kv_head": 1}, {"n_head": 4, "qk_norm": True}])
def test_init_shared_qk_has_the_queries_and_keys_of_self_and_all_else_of_the_wiring(changes):
    shape = {"n_embd": 48, "residual": "pre", "n_layer": 2} | changes
    shared, by_self, wired = (GPT(tiny_config(**shape, init=i)) for i in ("shared_qk", "self", "wiring"))
    for one, repaired, plain in zip(shared.blocks, by_self.blocks, wired.blocks, strict=True):
        (q, k, v), (q1, k1, _) = one.attn.input_matrices(), repaired.attn.input_matrices()
        assert torch.equal(q, q1) and torch.equal(k, k1)
        assert torch.equal(v, plain.attn.input_matrices()[-1])
        left = {n: p for n, p in one.named_parameters() if "c_attn.weight" not in n and "_norm" not in n}
        assert all(torch.equal(p, dict(plain.named_parameters())[n]) for n, p in left.items())


def test_init_self_keeps_the_tokens_of_a_plain_stack_apart():
    """Behind 12 blocks without a skip, where GPT-2's start has made them one."""
    shape = {"n_layer": 12, "n_embd": 64, "block_size": 64, "residual": "none"}
    shape |= {"norm": "rmsnorm", "pos": "rope", "bias": False}
    ids = torch.randint(19, (2, 64), generator=torch.Generator().manual_seed(1))

    def diversity(init):
        x = GPT(tiny_config(**shape, init=init)).hidden_states(ids)
        return ((x - x.mean(1, keepdim=True)).norm() / x.norm()).item()

    assert diversity("self") > 0.3
    assert diversity("wiring") < 0.01


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"init_qk_scale": 0.0}, "init_qk_scale=0.0: must be finite and above 0"),
        ({"n_kv_head": 3, "n_head": 4}, "n_kv_head=3: must be 0 or divide n_head=4"),
        ({"n_kv_head": -1}, "n_kv_head=-1: must be at least 0"),
        (
            {"pos": "rope", "n_head": 16},
            "pos=rope: rotates pairs of channels, and n_embd / n_head = 1 is odd",
        ),
        ({"norm": "batch"}, "norm=batch: allowed are"),
        ({"mlp": "relu"}, "mlp=relu: allowed are"),
        ({"pos": "alibi"}, "pos=alibi: allowed are learned, rope"),
        ({"init": "zero"}, "init=zero: allowed are"),
    ],
)
def test_what_can_not_be_built_is_named(changes, fault):
    with pytest.raises(ValueError, match=fault):
        GPT(tiny_config(**changes))
