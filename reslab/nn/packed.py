"""Weights kept in the layout of a CPU's bfloat16 kernels while text is generated."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def packed(model: nn.Module) -> Iterator[None]:
    """Context in which a GPT's products take weights that are rearranged once, and not for each token again.

    Of use under autocast to bfloat16 on a CPU, where one token's products take half the time, and give the
    same bits; elsewhere nothing is changed. Weights must not change inside, and nothing has a gradient.
    """
    if not _can_pack(model.head_weight):
        yield
        return
    layers = [module for module in model.blocks.modules() if isinstance(module, nn.Linear)]
    try:
        for layer in layers:
            layer.forward = _linear(layer.weight, layer.bias)
        head = _linear(model.head_weight, None)
        model.head = lambda x: head(model.ln_f(x))
        yield
    finally:
        for module, name in [(layer, "forward") for layer in layers] + [(model, "head")]:
            module.__dict__.pop(name, None)


def _can_pack(weight: torch.Tensor) -> bool:
    if weight.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    ops = torch.ops.mkldnn  # not part of torch's public interface, so it may be gone
    wanted = ("_reorder_linear_weight", "_linear_pointwise", "_is_mkldnn_bf16_supported")
    if not all(hasattr(ops, name) for name in wanted):
        return False
    return torch.get_autocast_dtype("cpu") == torch.bfloat16 and ops._is_mkldnn_bf16_supported()


@torch.no_grad()
def _linear(weight: torch.Tensor, bias: torch.Tensor | None) -> Callable[[torch.Tensor], torch.Tensor]:
    """x -> F.linear(x, weight, bias) in bfloat16, for the rows of one token or of a prompt."""
    weight = torch.ops.mkldnn._reorder_linear_weight(weight.bfloat16(), 1)
    bias = None if bias is None else bias.bfloat16()
    product = torch.ops.mkldnn._linear_pointwise.default
    return lambda x: product(x.bfloat16(), weight, bias, "none", [], "")
