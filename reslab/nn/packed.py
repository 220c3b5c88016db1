"""Weights kept in the layout of the CPU's own kernels while text is generated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

LARGE = 1 << 18  # weights of a matrix from which packing pays in float32; smaller ones stay in a cache


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Context in which a GPT's products take weights that are rearranged once, and not for each token again.

    On a CPU, in float32 or under autocast to bfloat16, where one token's products then take about half the
    time; in bfloat16 they have the same bits. Elsewhere nothing is changed. Weights must not change inside,
    and nothing has a gradient.
    """
    dtype = _dtype(model.head_weight)
    if dtype is None:
        yield
        return
    least = LARGE if dtype == torch.float32 else 0
    layers = [m for m in model.blocks.modules() if isinstance(m, nn.Linear) and m.weight.numel() >= least]
    try:
        for layer in layers:
            layer.forward = packed_linear(layer.weight, layer.bias, dtype)
        if model.head_weight.numel() >= least:
            head = packed_linear(model.head_weight, None, dtype)
            model.head = lambda x: head(model.ln_f(x))
        yield
    finally:
        for module, name in [(layer, "forward") for layer in layers] + [(model, "head")]:
            module.__dict__.pop(name, None)


def _dtype(weight: torch.Tensor) -> torch.dtype | None:
    """What the weights are packed in, if they can be."""
    half = torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if half else weight.dtype
    packs = weight.device.type == "cpu" and (half or dtype == torch.float32) and can_pack(dtype)
    return dtype if packs else None


def can_pack(dtype: torch.dtype) -> bool:
    """Whether this CPU and this build of torch have kernels for packed weights of a precision."""
    ops = torch.ops.mkldnn  # not part of torch's public interface, so it may be gone
    wanted = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if dtype not in (torch.float32, torch.bfloat16) or not all(hasattr(ops, name) for name in wanted):
        return False
    return dtype == torch.float32 or ops._is_mkldnn_bf16_supported()


@torch.no_grad()
def packed_linear(weight: torch.Tensor, bias: torch.Tensor | None, dtype: torch.dtype) -> Callable:
    """x -> F.linear(x, weight, bias) in that dtype, for the rows of one token or of a prompt."""
    weight = torch.ops.mkldnn._reorder_linear_weight(weight.to(dtype), 1)
    bias = None if bias is None else bias.to(dtype)
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x.to(dtype), weight, bias, "none", [], "")
