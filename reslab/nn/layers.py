"""Norms and nonlinearities: the small functions that a model's settings choose by name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Activation:
    """The nonlinearity of an MLP."""

    function: Callable[[torch.Tensor], torch.Tensor]
    """(B, T, width) -> (B, T, width); a gated one takes (B, T, 2 width), the gate first."""
    gated: bool = field(default=False, kw_only=True)
    """Half of its input is a gate: an MLP has a third matrix, and 2/3 of the width, so as many weights."""


def check_layers(config) -> None:
    """Raises ValueError where the norm or the activation of a GPTConfig does not fit into a model."""
    activation, width = ACTIVATIONS[config.mlp], config.mlp_width
    if not isinstance(activation, Activation):
        raise ValueError(f"mlp={config.mlp}: a bare {type(activation).__name__}; write Activation(function)")
    if activation.gated != config.gated:
        raise ValueError(f"mlp={config.mlp}: write gated=True, in these words, in the lines of ACTIVATIONS")
    _check_shape(f"norm={config.norm}", make_norm(config), config.n_embd, config.n_embd)
    inside = 2 * width if config.gated else width
    _check_shape(f"mlp={config.mlp}", activation.function, inside, width)


@torch.no_grad()
def _check_shape(name: str, function: Callable, before: int, after: int) -> None:
    """Give a function some x (B, T, before), and see that it gives (B, T, after)."""
    given, wanted = (2, 3, before), (2, 3, after)
    try:
        y = function(torch.ones(given))
    except Exception as error:
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        fault = f"fails on x {given} ({type(error).__name__}: {reason})"
        raise ValueError(f"{name}: {fault}, must give {wanted}") from error
    got = tuple(y.shape) if torch.is_tensor(y) else type(y).__name__
    if got != wanted:
        raise ValueError(f"{name}: gives {got} for x {given}, must give {wanted}")


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
# GPTConfig reads the names, and which have gated=True, from the lines of this dict.
ACTIVATIONS = {
    "gelu": Activation(partial(F.gelu, approximate="tanh")),
    "gelu_erf": Activation(F.gelu),
    "relu2": Activation(_relu2),
    "swiglu": Activation(_swiglu, gated=True),
}
