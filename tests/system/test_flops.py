"""The arithmetic of a step: the formula of the settings against the matrices of a real model."""

import pytest
from conftest import tiny_config
from torch import nn

from reslab.model import GPT
from reslab.nn.flops import flops_per_token, matrix_parameters

SHAPES = {
    "tied head": {},
    "untied head": {"tie_weights": False},
    "shared keys": {"n_head": 4, "n_kv_head": 2},
    "gated MLP": {"mlp": "swiglu", "n_embd": 40},
    "all": {"mlp": "swiglu", "norm": "rmsnorm", "pos": "rope", "n_head": 4, "n_kv_head": 1, "bias": False},
    "wide heads, a narrow MLP": {"head_dim": 12, "n_inner": 24, "n_kv_head": 1},
    "a large untied head": {"n_layer": 6, "n_embd": 24, "vocab_size": 5000, "tie_weights": False},
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_formula_counts_the_matrices_of_the_model(name):
    config = tiny_config(**SHAPES[name])
    model = GPT(config)
    inside = sum(m.weight.numel() for m in model.blocks.modules() if isinstance(m, nn.Linear))
    head = config.vocab_size * config.n_embd  # used once, tied or not
    heads = model.blocks[0].attn.c_proj.in_features  # channels of all heads
    attention = 12 * config.n_layer * heads * config.block_size
    assert flops_per_token(config) == 6 * (inside + head) + attention


def test_the_vocabulary_may_be_the_dataset_s():
    assert flops_per_token(tiny_config(vocab_size=0), 65) == flops_per_token(tiny_config(vocab_size=65))
    assert flops_per_token(tiny_config(vocab_size=0)) == flops_per_token(tiny_config(vocab_size=0), 0)
    head = matrix_parameters(tiny_config(vocab_size=1)) - matrix_parameters(tiny_config(vocab_size=0))
    assert head == tiny_config().n_embd, "who asks without a vocabulary gets the blocks alone"
    assert flops_per_token(tiny_config(vocab_size=80), 65) == flops_per_token(tiny_config(vocab_size=80))
