"""Rotary positions of queries and keys (Su et al. 2021, arXiv 2104.09864).

A position becomes an angle:

    <R_t q, R_s k> = <q, R_(t-s) k>        R_t rotates pair j of channels by t w_j, w_j = base^(-2j / D)

so that the score of two tokens depends on their distance and not on where they stand. Channel j makes a pair
with j + D / 2, as in Llama.
"""

from contextlib import contextmanager

import torch
from torch import nn


class Rotary(nn.Module):
    """Turns queries and keys by their positions. Holds no weights, so all layers of a model can share one.

    Args:
        size: positions.
        D: head width, even.
        base: of the angles.
    """

    def __init__(self, size: int, D: int, base: float = 10_000.0):
        super().__init__()
        frequencies = 1 / base ** (torch.arange(0, D, 2) / D)
        angles = torch.outer(torch.arange(size), frequencies)  # (size, D / 2)
        cos_sin = torch.stack([angles.cos(), angles.sin()], dim=-1)  # (size, D / 2, 2)
        self.register_buffer("cos_sin", cos_sin, persistent=False)
        self._key = self._tables = None  # those used last: the next layer asks for the same

    def forward(
        self, q: torch.Tensor, k: torch.Tensor, start_pos: int = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """R_t q and R_t k of queries (B, H, T, D) and keys (B, n_kv_head, T, D), the first at start_pos."""
        H, T = q.shape[1:3]
        if torch.compiler.is_compiling():  # one loop, and its gradient another
            cos_sin = self.cos_sin[start_pos : start_pos + T]
            return rotate(q, cos_sin), rotate(k, cos_sin)
        key = start_pos, T, H, k.shape[1], q.dtype, q.device
        if key != self._key:
            cos_sin = self.cos_sin[start_pos : start_pos + T]
            # In half precision both are copied anyway, and attention wants one head after the other.
            by_head = q.element_size() == 2
            self._tables = [row_tables(cos_sin, 0 if by_head else x.shape[1]) for x in (q, k)]
            self._key = key
        return _Rotation.apply(q, k, self._tables, 1)


@contextmanager
def fresh_tables(model: nn.Module):
    """Context that shares no tables with what is outside: a recording has memory of its own."""
    layers = [module for module in model.modules() if isinstance(module, Rotary)]
    _forget(layers)
    try:
        yield
    finally:
        _forget(layers)


def _forget(layers: list[Rotary]) -> None:
    for layer in layers:
        layer._key = layer._tables = None


def rotate(x: torch.Tensor, cos_sin: torch.Tensor) -> torch.Tensor:
    """R_t x of x (B, H, T, D), as the formula says, for cos_sin (T, D / 2, 2)."""
    cos, sin = cos_sin.unbind(-1)  # (T, D / 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).type_as(x)


class _Rotation(torch.autograd.Function):
    """rotate() of queries and keys in few launches; its gradient is the inverse rotation."""

    @staticmethod
    def forward(ctx, q, k, tables, sign):
        ctx.tables, ctx.sign = tables, sign
        return rotate_rows(q, tables[0], sign), rotate_rows(k, tables[1], sign)

    @staticmethod
    def backward(ctx, q_gradient, k_gradient):
        return *_Rotation.apply(q_gradient, k_gradient, ctx.tables, -ctx.sign), None, None


@torch.no_grad()
def row_tables(cos_sin: torch.Tensor, heads: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What rotate_rows() multiplies by, for cos_sin (T, D / 2, 2) and rows of so many heads of a token (heads
    D), or, where heads is 0, of all tokens of a head (T D).

    Returns:
        cos of every channel; -sin where a channel takes from the one D / 2 after it, without the last D / 2;
        sin where it takes from the one before, without the first. Where a pair has no such channel, 0.
    """
    cos, sin = cos_sin.unbind(-1)  # (T, D / 2)
    zero, half = torch.zeros_like(sin), sin.shape[-1]
    tables = [torch.cat(pair * max(1, heads), dim=-1) for pair in ((cos, cos), (-sin, zero), (zero, sin))]
    cos, up, down = tables if heads else (table.flatten() for table in tables)
    return cos, up[..., :-half], down[..., half:]


def rotate_rows(x: torch.Tensor, tables: tuple[torch.Tensor, ...], sign: int) -> torch.Tensor:
    """rotate() of x (B, H, T, D) over long rows, see row_tables().

    The other channel of each pair is read by shifting a row by D / 2, one way and the other; where that
    brings a channel of another pair, the table holds 0.

    Args:
        sign: -1 rotates backwards.
    """
    cos, up, down = tables
    B, H, T, D = x.shape
    by_head, half = cos.dim() == 1, D // 2
    rows = x.reshape(B, H, T * D) if by_head else x.transpose(1, 2).reshape(B, T, H * D)
    if x.dtype != cos.dtype:
        rows = rows.to(torch.promote_types(x.dtype, cos.dtype))
    rest = rows.shape[-1] - half
    y = rows * cos
    y.narrow(2, 0, rest).addcmul_(rows.narrow(2, half, rest), up, value=sign)
    y.narrow(2, half, rest).addcmul_(rows.narrow(2, 0, rest), down, value=sign)
    y = y if y.dtype == x.dtype else y.to(x.dtype)
    return y.view(x.shape) if by_head else y.view(B, T, H, D).transpose(1, 2)
