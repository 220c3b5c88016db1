"""The model as any torch module: copied, pickled, cast, moved through meta, compiled whole, exported."""

import copy
import importlib
import pickle
import shutil

import pytest
import torch
from conftest import tiny_config, tiny_model

from reslab.model import GPT
from reslab.nn import loss as loss_module
from reslab.nn.attention import KVCache
from reslab.nn.layers import ACTIVATIONS
from reslab.residual import WIRINGS

IDS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(2))
MODERN = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope", "n_kv_head": 1, "qk_norm": True}
VARIANTS = [
    *({"residual": wiring} for wiring in WIRINGS),
    *({"mlp": name} for name in ACTIVATIONS),
    MODERN | {"tie_weights": False},
]


def tensors(model) -> dict[str, torch.Tensor]:
    return dict(model.named_parameters()) | dict(model.named_buffers())


def equal(one, other) -> bool:
    a, b = tensors(one), tensors(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("again", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_computes_the_same_and_shares_nothing(changes, again):
    model = tiny_model(**changes)
    other = again(model)
    assert equal(model, other) and torch.equal(model(IDS), other(IDS))
    with torch.no_grad():
        other.wte.weight.add_(1.0)
    assert not torch.equal(model.wte.weight, other.wte.weight)
    assert (other.head_weight is other.wte.weight) == model.config.tie_weights


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_all_of_it_in_bfloat16(changes):
    """Logits, loss and a gradient; without one, on a CPU, attention takes another way."""
    wide = tiny_model(**changes).float()
    half = copy.deepcopy(wide).bfloat16()
    with torch.no_grad():
        logits, expected = half(IDS), wide(IDS)
        loss = half.loss(IDS, TARGETS)
        caches = [KVCache(8) for _ in half.blocks]
        parts = [half.hidden_states(IDS[:, t : t + 1], caches) for t in range(8)]
    assert logits.dtype == torch.bfloat16 == parts[-1].dtype
    assert (logits - expected).abs().max() < 0.1 * expected.abs().max()
    assert loss.item() == pytest.approx(wide.loss(IDS, TARGETS).item(), rel=0.05)
    half.loss(IDS, TARGETS).backward()
    assert half.wte.weight.grad.dtype == torch.bfloat16


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
@pytest.mark.parametrize("begins_there", [True, False])
def test_a_model_of_the_meta_device_gets_the_starting_weights_of_its_seed(changes, begins_there):
    config = tiny_config(init="self", **changes)
    if begins_there:
        with torch.device("meta"):
            model = GPT(config, seed=7)
    else:
        model = GPT(config, seed=7).to("meta")
    assert all(tensor.device.type == "meta" for tensor in tensors(model).values())
    model.to_empty(device="cpu")
    with torch.no_grad():
        for tensor in tensors(model).values():
            tensor.fill_(torch.nan)  # what empty memory may hold
    before = torch.get_rng_state()
    model.reset_parameters(seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(model, GPT(config, seed=7)) and not equal(model, GPT(config, seed=8))


PATHS = ["whole", "chunks", "compiled chunks", "chunks in bfloat16", "compiled chunks in bfloat16"]


@pytest.mark.parametrize("path", PATHS)
def test_an_ignored_target_has_no_part_in_any_path_of_the_loss(monkeypatch, path):
    """The loss and every gradient are those of the other tokens alone, and their mean is over those."""
    if path != "whole":
        monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
        monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
    targets = TARGETS.clone()
    targets[0, :5] = targets[2, 3] = -100
    model = tiny_model().float()
    if "compiled" in path:  # what stands where a compiled one would
        model.chunk_loss = lambda *parts: loss_module.chunk_loss(*parts)
    with torch.autocast("cpu", torch.bfloat16, enabled="bfloat16" in path):
        loss = model.loss(IDS, targets)
        each = model.token_losses(IDS, TARGETS)
        with_ignored = model.token_losses(IDS, targets)
    kept = targets != -100
    digits = 1e-2 if "bfloat16" in path else 1e-5
    assert loss.item() == pytest.approx(each[kept].mean().item(), rel=digits)
    assert torch.equal(with_ignored, each * kept)
    (gradient,) = torch.autograd.grad(loss, model.wte.weight)
    logits = model(IDS).log_softmax(-1)
    mean = -logits.gather(2, TARGETS[..., None])[kept].mean()
    (expected,) = torch.autograd.grad(mean, model.wte.weight)
    assert (gradient - expected).abs().max() < 3 * digits * expected.abs().max()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, MODERN, {"residual": "hyper"}], ids=str)
def test_the_whole_model_is_one_graph(changes):
    """Forward and loss, in training and in evaluation: dynamo raises where it would have to break."""
    torch._dynamo.reset()
    model = tiny_model(dropout=0.1, n_layer=2, **changes)
    for training in (True, False):
        model.train(training)
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        loss = torch.compile(model.loss, fullgraph=True, backend="eager")
        assert compiled(IDS).shape == (3, 8, 19)
        if not training:
            assert torch.allclose(compiled(IDS), model(IDS), atol=1e-12)
            assert torch.allclose(loss(IDS, TARGETS), model.loss(IDS, TARGETS), atol=1e-12)
        loss(IDS, TARGETS).backward()
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_the_code_that_is_generated_for_one_graph_computes_the_same():
    torch._dynamo.reset()
    model = tiny_model(n_layer=1).float()
    compiled = torch.compile(model, fullgraph=True)
    assert torch.allclose(compiled(IDS), model(IDS), atol=1e-5)
    torch._dynamo.reset()


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, MODERN, {"residual": "attention_residual"}], ids=str)
@pytest.mark.parametrize("strict", [True, False])
def test_an_exported_model_takes_every_length_up_to_block_size(changes, strict):
    model = tiny_model(n_layer=2, **changes)
    lengths = torch.export.Dim("T", min=2, max=8)
    program = torch.export.export(
        model, (IDS[:, :6].clone(),), dynamic_shapes={"idx": {1: lengths}}, strict=strict
    )
    for T in (2, 5, 8):
        assert torch.allclose(program.module()(IDS[:, :T]), model(IDS[:, :T]), atol=1e-12)
    kernels = [node for node in program.graph.nodes if "dot_product" in str(node.target)]
    assert kernels and all(True in (*node.args, *node.kwargs.values()) for node in kernels)  # is_causal


def test_the_file_beside_the_doors_and_the_package_hold_the_same_classes():
    assert importlib.import_module("model").GPT is GPT
