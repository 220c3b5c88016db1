"""The model against GPT-2, and the algebra of its wirings."""

import pytest
import torch
from conftest import tiny_config, tiny_model
from torch import nn

from model import GPT
from reslab.kvcache import KVCache, context_start
from reslab.residual import WIRINGS
from reslab.sampling import pick_token

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

    logits, loss = ours(IDS, TARGETS)
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


def test_none_is_the_plain_composition():
    model = tiny_model(residual="none")
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    expected = x
    for block in model.blocks:
        expected = block.attn(block.attn_residual.norm(expected))
        expected = block.mlp(block.mlp_residual.norm(expected))
    assert torch.equal(nn.Sequential(*model.blocks)(x), expected)


def run_blocks(model, x):
    """x (B, T, C) through all blocks, without embeddings and head."""
    stream = model.blocks[0].attn_residual.open(x)
    for block in model.blocks:
        stream = block(stream)
    return model.blocks[-1].mlp_residual.close(stream)


IDENTITIES = [name for name, wiring in WIRINGS.items() if wiring.has_identity]


@pytest.mark.parametrize("wiring", IDENTITIES)
def test_silent_branches_make_the_stack_the_identity(wiring):
    """F = 0 gives y = x, bitwise: the easy default."""
    model = silence(GPT(tiny_config(residual=wiring)).double())
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    assert torch.equal(run_blocks(model, x), opened(model, x))


def silence(model):
    """F = 0 in every sublayer; where a norm follows a branch, its bias is part of F."""
    with torch.no_grad():
        for block in model.blocks:
            for residual in (block.attn_residual, block.mlp_residual):
                if hasattr(residual, "norm_out"):
                    residual.norm_out.bias.zero_()
            for branch in (block.attn, block.mlp):
                branch.c_proj.weight.zero_()
                branch.c_proj.bias.zero_()
    return model


def opened(model, x):
    """What the stream is before the first block, as the head would read it."""
    first, last = model.blocks[0].attn_residual, model.blocks[-1].mlp_residual
    return last.close(first.open(x))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("wiring", WIRINGS)
def test_a_silent_stack_is_what_its_equation_says_in_every_precision(wiring, dtype):
    """Products of matrices may be rounded inside a branch; the stream, its gates and its mixing may not."""
    model = silence(tiny_model(residual=wiring, n_layer=6))  # gates, scales and mixing are anything
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    expected = run_blocks(model, x)
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        out = run_blocks(model.float(), x.float())
    assert (out - expected).abs().max() <= 2e-5 * expected.abs().max()
    if WIRINGS[wiring].has_identity:
        fresh = silence(GPT(tiny_config(residual=wiring)))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            assert torch.equal(run_blocks(fresh, x.float()), opened(fresh, x.float()))


def test_what_silence_leaves_of_the_stream():
    """The equations with F = 0, written out: a highway closes by degrees, a mean over depth dilutes."""
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    highway = silence(GPT(tiny_config(residual="highway")).double())
    expected = x
    for block in highway.blocks:
        for residual in (block.attn_residual, block.mlp_residual):
            expected = (1 - torch.sigmoid(residual.gate(expected))) * expected
    assert torch.allclose(run_blocks(highway, x), expected, atol=1e-14)
    over_depth = silence(GPT(tiny_config(residual="attention_residual")).double())
    assert torch.allclose(run_blocks(over_depth, x), x / 7, atol=1e-14)  # of x and six zeros
    scaled = silence(GPT(tiny_config(residual="scaled", residual_scale=0.5)).double())
    assert torch.equal(run_blocks(scaled, x), x / 64)
    assert (run_blocks(silence(GPT(tiny_config(residual="none")).double()), x) == 0).all()


@pytest.mark.parametrize("wiring", ["x0", "dense", "hyper"])
def test_these_start_as_pre(wiring):
    x = torch.randn(2, 8, 16)
    other, pre = GPT(tiny_config(residual=wiring)), GPT(tiny_config(residual="pre"))
    assert torch.equal(run_blocks(other, x), run_blocks(pre, x))


@pytest.mark.parametrize("layers", [1, 100, 1000])
def test_a_zero_start_does_not_feel_depth(layers):
    """J = I exactly: loss and gradient at layer 0 are those of the model without blocks."""
    model = GPT(tiny_config(residual="rezero", n_layer=layers, n_embd=8))
    x = model.wte(IDS).detach().requires_grad_()
    _, loss = model.head(run_blocks(model, x), TARGETS)
    _, expected = model.head(x, TARGETS)
    assert loss.item() == expected.item()
    assert torch.equal(torch.autograd.grad(loss, x)[0], torch.autograd.grad(expected, x)[0])


def test_layerscale_with_gain_zero_is_the_identity():
    model = tiny_model(residual="layerscale")
    with torch.no_grad():
        for block in model.blocks:
            block.attn_residual.gain.zero_()
            block.mlp_residual.gain.zero_()
    x = torch.randn(2, 8, 16, dtype=torch.float64)
    assert torch.equal(run_blocks(model, x), x)


def test_deepnorm_has_the_papers_constants():
    deep, plain = (
        GPT(tiny_config(residual="deepnorm", n_layer=8)),
        GPT(tiny_config(residual="none", n_layer=8)),
    )
    assert deep.blocks[0].attn_residual.alpha == pytest.approx(2.0)  # (2 * 8) ** (1 / 4)
    for name, scaled in (("attn.c_proj", 1), ("mlp.c_fc", 1), ("mlp.c_proj", 1), ("attn.c_attn", 0)):
        ours, theirs = (m.blocks[3].get_submodule(name).weight for m in (deep, plain))
        beta = 64**-0.25
        if scaled:
            assert torch.allclose(ours, theirs * beta)
        else:  # of Q, K, V only V is scaled
            assert torch.equal(ours[:32], theirs[:32]) and torch.allclose(ours[32:], theirs[32:] * beta)


@pytest.mark.parametrize(
    ("wiring", "scale"),
    [("completep", 2 / 3), ("depth_scaled", None), ("sandwich", None), ("depth_mup", (4 / 3) ** 0.5)],
)
def test_scaled_branches_are_scaled(wiring, scale):
    block = tiny_model(residual=wiring).blocks[2]
    x, residual = torch.randn(1, 8, 16, dtype=torch.float64), block.mlp_residual
    expected = {
        "completep": lambda: x + scale * block.mlp(residual.norm(x)),
        "depth_mup": lambda: x + scale * block.mlp(residual.norm(x)),
        "depth_scaled": lambda: x + block.mlp(residual.norm(x) / 3**0.5),
        "sandwich": lambda: x + residual.norm_out(block.mlp(residual.norm(x))),
    }[wiring]()
    assert torch.allclose(residual(x, block.mlp), expected, atol=1e-14)


@pytest.mark.parametrize(("layers", "start"), [(2, 0.1), (18, 0.1), (19, 1e-5), (24, 1e-5), (25, 1e-6)])
def test_layerscale_starts_as_the_paper_says(layers, start):
    gain = GPT(tiny_config(residual="layerscale", n_layer=layers)).blocks[-1].mlp_residual.gain
    assert torch.equal(gain, torch.full((16,), start))


@pytest.mark.parametrize("wiring", ["post", "deepnorm", "sandwich", "depth_mup"])
def test_embeddings_enter_at_rms_one(wiring):
    """Whatever their scale; positions learned or not. The others take them as they are."""
    model = GPT(tiny_config(residual=wiring))
    for x in (model.embed(IDS), 50 * model.embed(IDS)):
        rms = model.blocks[0].attn_residual.open(x).square().mean(-1).sqrt()
        assert torch.allclose(rms, torch.ones(()), atol=0.02)
    x = model.embed(IDS)
    assert GPT(tiny_config()).blocks[0].attn_residual.open(x) is x


def test_the_queries_of_a_post_norm_stack_hear_the_loss_in_every_layer():
    """Embeddings of std 0.02 beside branches of rms 1 would leave layer 0 a thousandth of the others'."""
    model = GPT(tiny_config(residual="post", n_embd=64, n_layer=6))
    model(IDS, TARGETS)[1].backward()
    norms = [block.attn.c_attn.weight.grad[:128].norm() for block in model.blocks]
    assert norms[0] > 0.1 * max(norms)


@pytest.mark.parametrize("layers", [1, 4, 24])
def test_depth_mup_starts_as_the_model_without_blocks(layers):
    model = GPT(tiny_config(residual="depth_mup", n_layer=layers))
    x = torch.randn(2, 8, 16)
    assert torch.equal(run_blocks(model, x), opened(model, x))
    model(IDS, TARGETS)[1].backward()
    assert all(block.mlp.c_proj.weight.grad.norm() > 0 for block in model.blocks)  # one zero, so all wake


def test_a_silent_stack_is_one_model_at_every_depth():
    losses = [GPT(tiny_config(residual="silent", n_layer=n))(IDS, TARGETS)[1].item() for n in (1, 7)]
    assert losses[0] == losses[1]


def test_a_highway_starts_mostly_closed():
    block = GPT(tiny_config(residual="highway", n_embd=64)).blocks[0]
    with torch.no_grad():
        block.mlp_residual.gate.weight.zero_()
    x = torch.randn(4, 8, 64)
    share = 1 - torch.sigmoid(torch.tensor(-2.0))
    branch = block.mlp(block.mlp_residual.norm(x))
    assert torch.allclose(block.mlp_residual(x, block.mlp), share * x + (1 - share) * branch, atol=1e-6)


def test_dense_and_x0_reach_back():
    dense, first = tiny_model(residual="dense"), tiny_model(residual="x0")
    x = torch.randn(1, 8, 16, dtype=torch.float64)
    with torch.no_grad():
        last = dense.blocks[-1].mlp_residual.weights
        last.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))  # the embedding alone
        assert torch.allclose(run_blocks(dense, x), x)
        for block in first.blocks:
            for residual, branch in ((block.attn_residual, block.attn), (block.mlp_residual, block.mlp)):
                residual.keep.zero_(), residual.first.fill_(2.0)
                branch.c_proj.weight.zero_(), branch.c_proj.bias.zero_()
        assert torch.equal(run_blocks(first, x), 2 * x)


def test_attention_over_depth_starts_as_the_mean():
    model = GPT(tiny_config(residual="attention_residual", n_layer=1)).double()
    block, x = model.blocks[0], torch.randn(1, 8, 16, dtype=torch.float64)
    first = block.attn(block.attn_residual.norm(x))
    second = block.mlp(block.mlp_residual.norm((x + first) / 2))
    assert torch.allclose(run_blocks(model, x), (x + first + second) / 3, atol=1e-12)


def test_the_repaired_control_keeps_tokens_apart():
    """No skip, but attention starts as the identity: after 24 blocks the tokens are still apart."""

    def diversity(x):
        return ((x - x.mean(1, keepdim=True)).norm() / x.norm()).item()

    x = torch.randn(1, 32, 64)
    shape = {"n_layer": 24, "n_embd": 64, "block_size": 32}
    assert diversity(run_blocks(GPT(tiny_config(residual="identity_start", **shape)), x)) > 0.4
    assert diversity(run_blocks(GPT(tiny_config(residual="none", **shape)), x)) < 1e-4
    control = GPT(tiny_config(residual="identity_start", **shape)).blocks[5]
    v, out = control.attn.c_attn.weight[128:], control.attn.c_proj.weight
    for matrix in (v, out):
        assert torch.allclose(matrix @ matrix.T, torch.eye(64), atol=1e-5)
    assert (control.attn.c_attn.weight[:64] == 0).all()


def test_sublayers_that_carry_different_streams_are_refused():
    with pytest.raises(
        ValueError, match="one carries parallel streams, the other x; they must carry the same"
    ):
        GPT(tiny_config(attn_residual="hyper"))


def test_a_fresh_rezero_stack_is_the_identity_at_any_depth():
    x = torch.randn(2, 8, 16)
    assert torch.equal(nn.Sequential(*GPT(tiny_config(residual="rezero", n_layer=20)).blocks)(x), x)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize(("wiring", "skip"), [("pre", 1.0), ("none", 0.0), ("scaled", 0.5)])
@pytest.mark.parametrize("sublayer", ["attn", "mlp"])
def test_the_jacobian_is_the_skip_plus_that_of_the_branch(wiring, skip, sublayer):
    """dy/dx = skip I + dF/dx, on the same weights."""
    block = tiny_model(residual=wiring).blocks[1]
    residual, branch = getattr(block, f"{sublayer}_residual"), getattr(block, sublayer)
    x = torch.randn(1, 3, 16, dtype=torch.float64)
    whole = torch.func.jacrev(lambda x: residual(x, branch).flatten())(x).reshape(48, 48)
    of_branch = torch.func.jacrev(lambda x: branch(residual.norm(x)).flatten())(x).reshape(48, 48)
    assert (whole - skip * torch.eye(48, dtype=torch.float64) - of_branch).abs().max() < 1e-12
    assert of_branch.abs().max() > 1e-3


def test_post_ends_normalised():
    """N(x + F(x)): every position leaves a block with mean 0 and variance 1 when gamma is 1."""
    out = nn.Sequential(*GPT(tiny_config(residual="post")).blocks)(torch.randn(2, 8, 16) * 5)
    assert out.mean(-1).abs().max() < 1e-5
    assert (out.var(-1, unbiased=False) - 1).abs().max() < 1e-3


def test_one_kind_of_sublayer_can_lose_its_skip():
    model = tiny_model(residual="pre", mlp_residual="none")
    block, x = model.blocks[0], torch.randn(1, 8, 16, dtype=torch.float64)
    after = x + block.attn(block.attn_residual.norm(x))
    assert torch.equal(block(x), block.mlp(block.mlp_residual.norm(after)))


def test_arms_and_depths_start_from_the_same_draws():
    pre, none = GPT(tiny_config(n_layer=2), 5), GPT(tiny_config(residual="none", n_layer=4), 5)
    theirs = dict(none.named_parameters())
    for name, parameter in pre.named_parameters():
        scale = 2.0 if "c_proj.weight" in name else 1.0  # 1 / sqrt(2 * 2 layers), for pre alone
        assert torch.allclose(parameter * scale, theirs[name], rtol=1e-6), name
    other = GPT(tiny_config(n_layer=2), 6)
    assert not torch.equal(pre.wte.weight, other.wte.weight)
    assert not torch.equal(pre.blocks[0].attn.c_attn.weight, pre.blocks[1].attn.c_attn.weight)


@pytest.mark.parametrize(("wiring", "std"), [("pre", 0.02 / 200**0.5), ("none", 0.02), ("post", 0.02)])
def test_output_projections_start_as_the_wiring_says(wiring, std):
    model = GPT(tiny_config(residual=wiring, n_layer=100, n_embd=32))
    weights = torch.cat([block.mlp.c_proj.weight.flatten() for block in model.blocks])
    assert weights.std().item() == pytest.approx(std, rel=0.01)


def test_a_tied_head_is_one_matrix():
    tied, untied = GPT(tiny_config()), GPT(tiny_config(tie_weights=False))
    assert tied.head_weight is tied.wte.weight
    assert untied.count_parameters() - tied.count_parameters() == 19 * 16


def test_loss_is_nats_per_token():
    logits, loss = tiny_model()(IDS, TARGETS)
    expected = -logits.log_softmax(-1).gather(2, TARGETS[..., None]).mean()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_what_cannot_be_built_is_named():
    with pytest.raises(ValueError, match="n_head=3: must divide n_embd=16"):
        GPT(tiny_config(n_head=3))
    with pytest.raises(ValueError, match="residual=skip: allowed are pre, none"):
        GPT(tiny_config(residual="skip"))
    with pytest.raises(ValueError, match="9 tokens: block_size is 8"):
        tiny_model()(torch.zeros(1, 9, dtype=torch.long))


@pytest.mark.parametrize("wiring", WIRINGS)
def test_greedy_text_is_that_of_whole_passes(wiring):
    """What attention remembers changes no token, in fp32, whatever the wiring and beyond block_size."""
    model = tiny_model(residual=wiring).float()
    ids = IDS[:, :3]
    for token in model.generate(ids, 20, temperature=0):
        start = context_start(ids.shape[1], 8)
        assert torch.equal(token, model(ids[:, start:])[0][:, -1].argmax(-1))
        ids = torch.cat([ids, token[:, None]], dim=1)
    assert torch.equal(ids[:, 3:], torch.stack(list(model.generate(IDS[:, :3], 20, top_k=1)), dim=1))


def test_remembered_keys_and_values_in_bfloat16():
    """They are kept in float32 on a CPU, and one token at a time sees what a whole pass sees."""
    model = tiny_model().float().eval()
    caches = [KVCache(8) for _ in model.blocks]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        parts = [model.trunk(IDS[:, begin:end], caches) for begin, end in ((0, 6), (6, 7), (7, 8))]
        whole = model.trunk(IDS[:, :8])
    assert caches[0].keys.dtype == torch.float32
    assert (torch.cat(parts, dim=1) - whole).abs().max() < 0.02 * whole.abs().max()


@pytest.mark.parametrize("wiring", WIRINGS)
def test_remembered_keys_and_values_give_the_same_stream(wiring):
    model = tiny_model(residual=wiring)
    caches = [KVCache(8) for _ in model.blocks]
    parts = [
        model.trunk(IDS[:, begin:end], caches) for begin, end in ((0, 4), (4, 5), (5, 6), (6, 7), (7, 8))
    ]
    assert torch.allclose(torch.cat(parts, dim=1), model.trunk(IDS), atol=1e-12)


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
    assert torch.equal(token, model(ids[:, context_start(30, 8) :])[0][:, -1].argmax(-1))


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
        model(IDS, TARGETS)[1].backward()
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_top_k_and_top_p_keep_only_the_likeliest():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(4000, 4)

    def drawn(**limits):
        ids = pick_token(logits, generator=torch.Generator().manual_seed(0), **limits)
        return torch.bincount(ids, minlength=4) / 4000

    assert (drawn() > 0).all()
    assert (drawn(top_k=2) > 0).tolist() == [True, True, False, False]
    assert (drawn(top_p=0.81) > 0).tolist() == [True, True, True, False]
    assert (drawn(top_p=0.01) > 0).tolist() == [True, False, False, False]
    assert drawn(temperature=0.5)[0].item() == pytest.approx(0.25 / 0.365, abs=0.03)
