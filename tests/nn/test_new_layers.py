"""A norm or an activation of one's own that does not fit is told when the model is built."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_config

from reslab.model import GPT
from reslab.nn.layers import ACTIVATIONS, NORMS, Activation
from reslab.run.settings import GPTConfig

LAYERS_AMISS = [
    ({"norm": lambda config: torch.nn.Identity()}, None),
    (
        {"norm": lambda config: torch.nn.LayerNorm(5)},
        r"norm=mine: fails on x \(2, 3, 16\) \(RuntimeError: ",
    ),
    (
        {"norm": lambda config: torch.nn.Linear(16, 8)},
        r"norm=mine: gives \(2, 3, 8\) for x \(2, 3, 16\), m",
    ),
    ({"mlp": F.relu}, r"mlp=mine: a bare function; write Activation\(function\)"),
    (
        {"mlp": Activation(lambda x: x[..., :5])},
        r"mlp=mine: gives \(2, 3, 5\) for x \(2, 3, 64\), must",
    ),
    (
        {"mlp": Activation(lambda x: x, gated=True)},
        "mlp=mine: write gated=True, in these words",
    ),
]


@pytest.mark.parametrize(("entry", "fault"), LAYERS_AMISS)
def test_a_layer_of_another_shape_is_told_when_the_model_is_built(entry, fault, monkeypatch):
    ((setting, layer),) = entry.items()
    monkeypatch.setitem({"norm": NORMS, "mlp": ACTIVATIONS}[setting], "mine", layer)
    monkeypatch.setattr(GPTConfig, "faults", lambda self: [])  # settings allow the names of the file alone
    with pytest.raises(ValueError, match=fault) if fault else nullcontext():
        GPT(tiny_config(**{setting: "mine"}))


def test_a_gate_is_said_by_its_name():
    with pytest.raises(TypeError):
        Activation(F.relu, True)
