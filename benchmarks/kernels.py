"""The parts that a step is made of, each beside its rival: why the means of docs/speed.md were kept or not.

Times are medians of CPU seconds of this process over some calls in turns, so that other processes do not
enter; on a GPU seconds on the clock.
"""

import time

import torch
import torch.nn.functional as F

from benchmarks.turns import summary
from reslab.nn.attention import attention_by_products
from reslab.system import device
from reslab.training.muon import Muon


def kernels(quick: bool) -> dict:
    """Milliseconds, or GFLOP/s, of each way, each with its spread (see turns.summary)."""
    where = device.pick_device("auto")
    device.prepare_torch(where)
    turns = 3 if quick else 9
    tables = {"matrix products, GFLOP/s": products(where, turns)}
    tables["attention forward + backward, ms"] = attention(where, turns)
    tables["GELU forward + backward, ms"] = gelus(where, turns)
    return tables | {"optimizer step, ms": optimizers(where, turns)}


def compare(ways: dict, turns: int, where: str) -> dict:
    """Name -> median seconds of a call, and their spread."""
    clock = time.process_time if where == "cpu" else time.perf_counter
    spent = {name: [] for name in ways}
    for turn in range(turns + 1):
        for name, way in ways.items():
            begin = clock()
            way()
            device.synchronize(where)
            if turn:
                spent[name].append(clock() - begin)
    told = {name: summary(seconds) for name, seconds in spent.items()}
    return {name: (one["median_s"], one["spread"]) for name, one in told.items()}


def products(where: str, turns: int) -> dict:
    speeds = {}
    for M, K, N in ((768, 128, 512), (4096, 384, 1536)):
        a, b = torch.randn(M, K, device=where), torch.randn(N, K, device=where)
        half = a.bfloat16(), b.bfloat16()
        ways = {"float32": lambda a=a, b=b: F.linear(a, b), "bfloat16": lambda half=half: F.linear(*half)}
        seconds = compare(ways, turns, where)
        giga = 2 * M * K * N / 1e9
        speeds[f"({M}, {K}) x ({K}, {N})"] = {
            name: (round(giga / s, 1), spread) for name, (s, spread) in seconds.items()
        }
    return speeds


def attention(where: str, turns: int) -> dict:
    def torchs(q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)

    def ours(q, k, v):
        return attention_by_products(q, k, v, 0.0)

    medians = {}
    for B, H, T, D in ((12, 4, 64, 32), (16, 6, 256, 64), (4, 12, 512, 64)):
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(B, T, 3 * H, D, device=where, dtype=dtype).transpose(1, 2).requires_grad_()
            ways = {
                name: lambda way=way, x=x: way(*x.chunk(3, dim=1)).sum().backward()
                for name, way in (("torch's", torchs), ("products", ours))
            }
            seconds = compare(ways, turns, where)
            medians[f"B{B} H{H} T{T} D{D} {str(dtype)[6:]}"] = milliseconds(seconds)
    return medians


def gelus(where: str, turns: int) -> dict:
    medians = {}
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(768, 512, device=where, dtype=dtype, requires_grad=True)
        ways = {
            f"{kind}": lambda x=x, form=form: F.gelu(x, approximate=form).sum().backward()
            for kind, form in (("by tanh", "tanh"), ("exact", "none"))
        }
        medians[f"(768, 512) {str(dtype)[6:]}"] = milliseconds(compare(ways, turns, where))
    return medians


def optimizers(where: str, turns: int) -> dict:
    medians = {}
    for L, C in ((4, 128), (48, 128)):
        shapes = [shape for _ in range(L) for shape in ((3 * C, C), (C, C), (4 * C, C), (C, 4 * C))]
        weights = [torch.nn.Parameter(torch.randn(shape, device=where) * 0.02) for shape in shapes]
        for weight in weights:
            weight.grad = torch.randn_like(weight)
        ways = {
            "AdamW": torch.optim.AdamW(weights, foreach=True).step,
            "fused AdamW": torch.optim.AdamW(weights, fused=True).step,
            "torch's Muon": torch.optim.Muon(weights, lr=1e-3).step,
            "our Muon": Muon(weights, lr=1e-3, weight_decay=0.1).step,
        }
        medians[f"{L} layers, width {C}"] = milliseconds(compare(ways, turns, where))
    return medians


def milliseconds(seconds: dict) -> dict:
    return {name: (round(s * 1e3, 2), spread) for name, (s, spread) in seconds.items()}
