"""Norms and nonlinearities: the small functions that a model's settings choose by name."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Activation(NamedTuple):
    """The nonlinearity of an MLP."""

    function: Callable[[torch.Tensor], torch.Tensor]
    """(B, T, width) -> (B, T, width); a gated one takes (B, T, 2 width), the gate first."""
    gated: bool = False
    """Half of its input is a gate: an MLP has a third matrix, and 2/3 of the width, so as many weights."""


def make_norm(config) -> nn.Module:
    """N of the equations, over the channels, with a learned gain: see NORMS."""
    return NORMS[config.norm](config)


def _layer_norm(config):
    """N(x) = g (x - mean x) / sqrt(var x + eps) + b (Ba et al. 2016, arXiv 1607.06450)."""
    return nn.LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias)


def _rms_norm(config):
    """N(x) = g x / sqrt(mean x^2 + eps) (Zhang & Sennrich 2019, arXiv 1910.07467); it has no bias."""
    return nn.RMSNorm(config.n_embd, eps=config.norm_eps)


def _relu2(x: torch.Tensor) -> torch.Tensor:
    return F.relu(x).square()


def _swiglu(x: torch.Tensor) -> torch.Tensor:
    gate, value = x.chunk(2, dim=-1)
    return F.silu(gate) * value


NORMS = {"layernorm": _layer_norm, "rmsnorm": _rms_norm}
# GPTConfig reads the names, and which are gated, from the lines of this dict.
ACTIVATIONS = {
    "gelu": Activation(partial(F.gelu, approximate="tanh")),
    "gelu_erf": Activation(F.gelu),
    "relu2": Activation(_relu2),
    "swiglu": Activation(_swiglu, gated=True),
}
