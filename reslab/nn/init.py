"""Starting weights of a block's branches: what its wiring says, or one rule for all wirings.

Every rule gets matrices drawn normal with std STD and changes them in place, so that two arms stay
functions of the same random draws.
"""

import hashlib

import torch
from torch import nn

STD = 0.02  # of every matrix that is drawn (Radford et al. 2019)


def generator_of(name: str) -> torch.Generator:
    """A random stream of its own for each name, on the CPU, so all devices start alike."""
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


def copy_tensors(source: nn.Module, target: nn.Module) -> None:
    """Give the parameters and buffers of one module the values of another of the same kind."""
    for tensors in (nn.Module.named_parameters, nn.Module.named_buffers):
        values = dict(tensors(source))
        for name, tensor in tensors(target):
            tensor.data.copy_(values[name])


def orthogonal(draw: torch.Tensor) -> torch.Tensor:
    """A matrix with orthonormal rows or columns, a function of the same random draw."""
    tall = draw.shape[0] >= draw.shape[1]
    q, r = torch.linalg.qr(draw if tall else draw.T)
    q = q * r.diagonal().sign()  # else the signs would be qr's and not the draw's
    return q if tall else q.T


def _wiring(config, residual, branch):
    """What the wiring's paper says."""
    residual.init(branch)


def _unscaled(config, residual, branch):
    """All matrices alike, std 0.02."""


def _scaled(config, residual, branch):
    """GPT-2's: output projections divided by sqrt(2L)."""
    branch.c_proj.weight.mul_((2 * config.n_layer) ** -0.5)


def _fan_in(config, residual, branch):
    """std 1 / sqrt(inputs) for every matrix (LeCun et al. 1998): a linear stack keeps its variance."""
    for layer in (module for module in branch.modules() if isinstance(module, nn.Linear)):
        layer.weight.mul_(layer.in_features**-0.5 / STD)


def _orthogonal(config, residual, branch):
    """Every matrix orthogonal (Saxe et al. 2014, arXiv 1312.6120); Q, K and V apart."""
    for matrix in (*branch.input_matrices(), branch.c_proj.weight):
        matrix.copy_(orthogonal(matrix))


def _self(config, residual, branch):
    """Each token attends to itself: W_Q = W_K = c times one orthogonal matrix, all others orthogonal.

    A query's product with its own key is then c^2 |P x|^2, P a projection on the D channels of a head, and
    with other keys the product of two vectors that have nothing in common. Heads that share a key share its
    matrix. With qk_norm, which would divide c away, the gains of both norms carry it. Close to mimetic
    starts (Trockman & Kolter 2023, arXiv 2305.09828); c is init_qk_scale.
    """
    _orthogonal(config, residual, branch)
    if branch.kind == "attn":
        _share_key(config, branch)


def _shared_qk(config, residual, branch):
    """W_Q and W_K of `self`, and all other matrices as the wiring says: half of that repair."""
    residual.init(branch)
    if branch.kind == "attn":
        _, key, _ = branch.input_matrices()
        key.copy_(orthogonal(key))
        _share_key(config, branch)


def _share_key(config, branch):
    """W_Q = W_K = c times the matrix that W_K is."""
    query, key, _ = branch.input_matrices()
    heads = key.unflatten(0, (branch.n_kv_head, -1))  # (n_kv_head, D, C)
    query.copy_(heads.repeat_interleave(branch.n_head // branch.n_kv_head, dim=0).flatten(0, 1))
    scaled = (branch.q_norm.weight, branch.k_norm.weight) if config.qk_norm else (query, key)
    for tensor in scaled:
        tensor.mul_(config.init_qk_scale)


INITS = {
    "wiring": _wiring,
    "unscaled": _unscaled,
    "scaled": _scaled,
    "fan_in": _fan_in,
    "orthogonal": _orthogonal,
    "self": _self,
    "shared_qk": _shared_qk,
}
