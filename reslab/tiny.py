"""Tiny models of one wiring in float64, and what runs through them: check.py measures these."""

from unittest import mock

import torch

from reslab.model import GPT
from reslab.residual import WIRINGS, Residual
from reslab.run.settings import GPTConfig

SHAPE = {"block_size": 8, "vocab_size": 19, "n_layer": 3, "n_head": 2, "n_embd": 16}
B, T, C = 2, 8, SHAPE["n_embd"]


def build(wiring: type[Residual], moved: bool = False, seed: int = 0, **changes) -> GPT:
    """A tiny model with this wiring in every sublayer; moved: far from its start, by draws of this seed."""
    with mock.patch.dict(WIRINGS, {"pre": wiring}):  # settings allow the names of the file alone
        model = GPT(GPTConfig(**SHAPE | changes), seed=0).double().eval()
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters() if moved else ():
        parameter.data += 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return model


def draw(seed: int = 1) -> torch.Tensor:
    """Some x (B, T, C)."""
    return torch.randn(B, T, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def token_ids(seed: int) -> torch.Tensor:
    """Some token ids (B, T)."""
    return torch.randint(SHAPE["vocab_size"], (B, T), generator=torch.Generator().manual_seed(seed))


def trace(model: GPT) -> tuple[list[tuple], object]:
    """(wiring, branch, the stream that it gets) of each sublayer, and the stream behind the last one."""
    stream, steps = model.stack.open(draw().to(model.wte.weight.dtype)), []
    for residual, branch in (pair for block in model.blocks for pair in block.sublayers()):
        steps.append((residual, branch, stream))
        stream = residual(stream, branch)
    return steps, stream
