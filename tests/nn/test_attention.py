"""The attention kernels agree, and what is compiled once serves every layer."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_config

from reslab.model import GPT
from reslab.nn import attention
from reslab.system import device


def run(kernel, dtype, dropout=0.0):
    """Output and gradients of one draw of q, k and v, in float64."""
    generator = torch.Generator().manual_seed(1)
    qkv = [torch.randn(2, 3, 33, 16, generator=generator, dtype=torch.float64) for _ in range(4)]
    q, k, v = (x.to(dtype).requires_grad_() for x in qkv[:3])
    y = kernel(q, k, v, True, dropout)
    gradients = torch.autograd.grad(y, (q, k, v), qkv[3].to(dtype))
    return torch.cat([x.double().flatten() for x in (y, *gradients)])


def torchs(q, k, v, causal, dropout):
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)


def test_products_of_matrices_are_the_attention_of_torch():
    exact = run(torchs, torch.float64)
    assert (
        run(lambda q, k, v, c, p: attention.attention_by_products(q, k, v, p), torch.float64) - exact
    ).abs().max() < 1e-13
    errors = [
        (run(kernel, torch.bfloat16) - exact).norm() / exact.norm()
        for kernel in (torchs, attention.attention)
    ]
    assert errors[1] < 2 * errors[0] < 0.02
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(run(attention.attention, torch.bfloat16), run(attention.attention, torch.bfloat16))


@pytest.mark.parametrize("size", [1, 8])
@pytest.mark.parametrize("common", [0, 30])
def test_large_scores_and_values_cost_products_no_digits(size, common):
    """Scores up to about 200, and values of which all tokens share most."""
    generator = torch.Generator().manual_seed(1)
    q, k, v, g = (torch.randn(2, 3, 33, 16, generator=generator).bfloat16() for _ in range(4))
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        qkv = [x.to(dtype).requires_grad_() for x in (size * q, size * k, v + common)]
        y = attention.attention_by_products(*qkv, dropout=0.0)
        found.append([y, *torch.autograd.grad(y, qkv, g.to(dtype))])
    for exact, rounded in zip(*found, strict=True):
        assert (rounded.double() - exact).norm() < 0.006 * exact.norm()


def test_dropped_weights_are_dropped_from_the_gradient_too(monkeypatch):
    """With the same weights dropped, by the plain way in float64."""
    generator = torch.Generator().manual_seed(1)
    q, k, v, g = (torch.randn(2, 3, 33, 16, generator=generator).bfloat16() for _ in range(4))
    kept = torch.rand(6, 33, 33, generator=generator).lt(0.75) / 0.75
    monkeypatch.setattr(torch.Tensor, "bernoulli_", lambda self, p: self.copy_(kept * p))
    monkeypatch.setattr(F, "dropout", lambda weights, p, training: weights * kept)
    found = []
    for dtype in (torch.float64, torch.bfloat16):
        qkv = [x.to(dtype).requires_grad_() for x in (q, k, v + 3)]
        y = attention.attention_by_products(*qkv, dropout=0.25)
        found.append([y, *torch.autograd.grad(y, qkv, g.to(dtype))])
    for exact, rounded in zip(*found, strict=True):
        assert (rounded.double() - exact).norm() < 0.02 * exact.norm()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.parametrize(("T", "S"), [(1, 1), (1, 5), (2, 2), (7, 7)])
@pytest.mark.parametrize("short", [512, 3])
def test_whatever_is_fastest_computes_the_same(monkeypatch, dtype, learns, T, S, short):
    """Several queries see what is before them, one alone sees all keys; by plain loops."""
    monkeypatch.setattr(attention, "products_up_to", {torch.bfloat16: short})
    q, k, v = (torch.randn(2, 3, size, 8, dtype=torch.float64).to(dtype) for size in (T, S, S))
    y = attention.attention(q.clone().requires_grad_(learns), k, v, T > 1, 0.0)
    for b, h, t in itertools.product(range(2), range(3), range(T)):
        seen = range(t + 1) if T > 1 else range(S)
        scores = [(q[b, h, t].double() @ k[b, h, s].double()).item() / 8**0.5 for s in seen]
        weights = torch.tensor(scores, dtype=torch.float64).softmax(0)
        expected = sum(w * v[b, h, s].double() for w, s in zip(weights, seen, strict=True))
        assert torch.allclose(y[b, h, t].double(), expected, atol=0.03 if dtype == torch.bfloat16 else 1e-5)


def test_float32_keeps_its_digits_where_products_replace_the_kernel():
    """Inside of the context and after an error in it; on a CPU with AMX its products would round."""
    exact, kernel = run(torchs, torch.float64), run(attention.attention, torch.float32)
    before, lengths = torch.backends.mkldnn.matmul.fp32_precision, dict(attention.products_up_to)
    with pytest.raises(KeyError), attention.cpu_kernels(torch.float32, 33, onednn=True):
        products = run(attention.attention, torch.float32)
        raise KeyError
    assert torch.backends.mkldnn.matmul.fp32_precision == before and attention.products_up_to == lengths
    with attention.cpu_kernels(torch.float32, 32, onednn=True):
        assert not torch.equal(run(attention.attention, torch.float32), products)
    with device.training_kernels("cpu", "float32"):
        trained = run(attention.attention, torch.float32)
    assert not torch.equal(products, kernel)  # it is another way
    assert all((x - exact).norm() < 1e-6 * exact.norm() for x in (kernel, trained))


def test_of_contexts_that_overlap_the_last_one_to_close_ends_them():
    """As those of two threads do, which train side by side."""
    before, lengths = torch.backends.mkldnn.matmul.fp32_precision, dict(attention.products_up_to)
    one = attention.cpu_kernels(torch.float32, 64, onednn=True)
    other = attention.cpu_kernels(torch.float32, 64, onednn=True)
    one.__enter__()
    other.__enter__()
    one.__exit__(None, None, None)
    assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
    assert attention.products_up_to[torch.float32] == 64
    other.__exit__(None, None, None)
    assert torch.backends.mkldnn.matmul.fp32_precision == before and attention.products_up_to == lengths


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropped_weights_are_as_many_as_asked_for(dtype):
    q, k, v = (torch.full((1, 1, 400, 4), value, dtype=dtype) for value in (0, 0, 1))
    y = attention.attention_by_products(q, k, v, 0.5)[0, 0, 200:, 0].float()
    assert y.mean() == pytest.approx(1, abs=0.02) and y.std() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("wiring", ["pre", "deepnorm", "hyper", "depth_scaled", "dense"])
def test_a_region_is_compiled_once_for_all_layers(wiring, monkeypatch):
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph.forward

    real = torch.nn.Module.compile
    monkeypatch.setattr(
        torch.nn.Module, "compile", lambda self, **kwargs: real(self, backend=backend, **kwargs)
    )
    ids = torch.randint(19, (2, 8))
    torch._dynamo.reset()
    plain, compiled = (GPT(tiny_config(residual=wiring, n_layer=10)) for _ in range(2))
    device.compile_model(compiled, "True", "cpu")
    assert torch.equal(plain(ids), compiled(ids))
    assert 1 <= len(graphs) <= 2  # a block, or attention and MLP
    graphs.clear()
    with device.uncompiled():
        assert torch.equal(plain(ids), compiled(ids))
    assert not graphs
    torch._dynamo.reset()
