"""Growth of a model of another program: a silent block is inserted, and the logits stay what they were.

A copy of a block whose output projections are 0 adds F = 0, so y = x + F(x) hands x on. Our own runs grow
with --init_from, see reslab/training/growth.py; skips are stripped with Anatomy.stripped().
"""

import copy

import torch
from torch import nn

from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.named_parts import NamedAnatomy
from reslab.instruments.names import find


@torch.no_grad()
def insert_silent(model, after: int) -> None:
    """Insert a copy of a block behind it whose attention and MLP add 0, in place.

    A config of transformers is told, so that the grown model can be saved, loaded and generate.

    Args:
        model: of transformers, or what generic() gives.
        after: the block that is copied, 0 .. L - 1.

    Raises:
        ValueError: a silent block would not hand x on, or it is not known which matrices give what is added.
    """
    anatomy = anatomy_of(model)
    if not isinstance(anatomy, NamedAnatomy):
        raise ValueError("a run of reslab grows with --init_from=RUN --n_layer=N")
    if not 0 <= after < len(anatomy.blocks):
        raise ValueError(f"after={after}: must be a block, 0 to {len(anatomy.blocks) - 1}")
    names = anatomy.names
    if not names.norm_first:
        raise ValueError("a norm stands on its skip, so a silent block does not hand x on")
    if not isinstance(anatomy.blocks, nn.ModuleList) or not {"o", "w2"} <= names.matrices.keys():
        raise ValueError("blocks must be a ModuleList, and matrices must name o and w2")
    block = copy.deepcopy(anatomy.blocks[after])
    for name in (*names.matrices["o"], *names.matrices["w2"]):
        module = find(block, name if isinstance(name, str) else name[0])
        for parameter in module.parameters():
            parameter.zero_()
    anatomy.blocks.insert(after + 1, block)
    _tell_config(anatomy.model, anatomy.blocks, after)


def _tell_config(model: nn.Module, blocks: nn.ModuleList, after: int) -> None:
    """What transformers keeps beside its blocks: their number, their kinds, and the place of each."""
    config = getattr(model, "config", None)
    if hasattr(config, "num_hidden_layers"):
        config.num_hidden_layers = len(blocks)
    for name in ("layer_types", "no_rope_layers"):
        kinds = getattr(config, name, None)
        if isinstance(kinds, list):
            setattr(config, name, [*kinds[: after + 1], *kinds[after:]])
    for layer, block in enumerate(blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                module.layer_idx = layer
