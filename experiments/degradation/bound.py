"""Two bounds with nothing fitted: on the rate, where one update may change a product of blocks by all of
itself, and on the depth, where the start leaves tokens alike.

A step of Muon changes a matrix W by lr s(W) in operator norm, s(W) = step_scale() of its shape. To first
order the relative changes of all matrices that a signal is multiplied by add up. In L blocks without a skip
they reach 1 at

    lr = 1 / (a L),        a = the sum of s(W) / norm(W) over the matrices of a fresh block

And where no skip goes around attention that is nearly uniform at the start, the difference between tokens is
that of a power of the uniform causal matrix (experiments/theory). A hundredth is too little, as in
experiments/dose.
"""

import functools
from dataclasses import replace
from pathlib import Path

import torch

from experiments.dose.table import FLOOR
from experiments.theory.measure import predicted_tokens
from reslab.model import GPT
from reslab.run.configfile import read_config_file
from reslab.run.fields import from_flat
from reslab.run.settings import TrainConfig
from reslab.training.muon import step_scale

CONFIG = Path(__file__).resolve().parents[2] / "config" / "degradation.py"
# Arms whose attention has neither a skip nor a start in which a token attends to itself.
UNIFORM = ("plain", "mlp-skip-only")
DEEPEST = 100  # that deepest() looks at
WITHOUT_SKIP = {"start": ("attn", "mlp"), "attention-skip-only": ("mlp",)}  # arm -> the branches


def bound(grid: str, layers: int) -> float | None:
    """That rate, for the arms of WITHOUT_SKIP; None for others."""
    return 1 / (of_block(grid) * layers) if grid in WITHOUT_SKIP else None


@functools.cache
def deepest(grid: str) -> int | None:
    """The most layers behind which the start leaves more than FLOOR of the difference between tokens, for the
    arms of UNIFORM; None for others."""
    if grid not in UNIFORM:
        return None
    left = predicted_tokens(read_config_file(str(CONFIG))["block_size"], DEEPEST)["token_diversity"]
    return max(layers for layers, diversity in enumerate(left) if diversity > FLOOR)


@functools.cache
def of_block(grid: str) -> float:
    """a of a fresh block of an arm, by its operator norms."""
    settings = read_config_file(str(CONFIG))
    arm = {key: values[0] for key, values in settings.pop("study")[grid].items()} | {"n_layer": 1}
    shape = from_flat(TrainConfig, settings | arm).model
    (block,) = GPT(replace(shape, vocab_size=2), seed=1).blocks
    with torch.no_grad():
        return sum(_step(w) for kind in WITHOUT_SKIP[grid] for w in _path(getattr(block, kind)))


def _path(branch) -> list[torch.Tensor]:
    """The matrices of a branch that a stream is multiplied by; Q and K only choose whose."""
    inside = branch.input_matrices()
    return [*(inside[2:] if branch.kind == "attn" else inside), branch.c_proj.weight]


def _step(matrix: torch.Tensor) -> float:
    """The size of a step at rate 1, relative to the matrix."""
    return step_scale(*matrix.shape) / torch.linalg.matrix_norm(matrix, 2).item()
