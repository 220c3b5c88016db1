"""Rotary positions of queries and keys (Su et al. 2021, arXiv 2104.09864).

A position becomes an angle:

    <R_t q, R_s k> = <q, R_(t-s) k>        R_t rotates pair j of channels by t w_j, w_j = base^(-2j / D)

so that the score of two tokens depends on their distance and not on where they stand. Channel j makes a pair
with j + D / 2, as in Llama.
"""

from collections.abc import Sequence
from contextlib import contextmanager

import torch
from torch import nn

Heads = tuple[torch.Tensor, ...]  # queries (B, H, T, D), keys and values (B, n_kv_head, T, D)


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

    def forward(self, heads: torch.Tensor, counts: Sequence[int], start_pos: int = 0) -> Heads:
        """R_t q and R_t k, and v as it is, of the heads (B, H + 2 n_kv_head, T, D) of a projection.

        Args:
            counts: heads of queries, keys and values.
            start_pos: position of the first token.
        """
        T = heads.shape[2]
        if torch.compiler.is_compiling():  # one loop, and its gradient another
            q, k, v = heads.split(list(counts), dim=1)
            cos_sin = self.cos_sin[start_pos : start_pos + T]
            return rotate(q, cos_sin), rotate(k, cos_sin), v
        key = start_pos, T, self.cos_sin.device, self.cos_sin.dtype
        if key != self._key:
            self._tables, self._key = row_tables(self.cos_sin[start_pos : start_pos + T]), key
        return _Rotation.apply(heads, tuple(counts), self._tables)


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
    """turn() in few launches; its gradient is the inverse rotation."""

    @staticmethod
    def forward(ctx, heads, counts, tables):
        ctx.tables = tables
        return turn(heads, counts, tables)

    @staticmethod
    def backward(ctx, *gradients):
        # A call of apply takes as long as some launches, and most gradients have none themselves.
        back = _Inverse.apply if torch.is_grad_enabled() else turn_back
        return back(*gradients, ctx.tables), None, None


class _Inverse(torch.autograd.Function):
    """turn_back(), whose own gradient turns forwards again."""

    @staticmethod
    def forward(ctx, q, k, v, tables):
        ctx.counts, ctx.tables = tuple(x.shape[1] for x in (q, k, v)), tables
        return turn_back(q, k, v, tables)

    @staticmethod
    def backward(ctx, gradient):
        return *_Rotation.apply(gradient, ctx.counts, ctx.tables), None


def turn(heads: torch.Tensor, counts: Sequence[int], tables: tuple[torch.Tensor, ...]) -> Heads:
    """Queries and keys of heads (B, H + 2 n_kv_head, T, D), both turned, and the values."""
    H, K, _ = counts
    # One copy, whether the precision changes or not.
    both = heads[:, : H + K].to(wide_of(heads, tables), memory_format=torch.contiguous_format).contiguous()
    q, k = rotate_rows(both, tables, 1).split([H, K], dim=1)
    return q.to(heads.dtype), k.to(heads.dtype), heads[:, H + K :]


def turn_back(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, tables: tuple[torch.Tensor, ...]
) -> torch.Tensor:
    """The inverse of turn(): heads (B, H + 2 n_kv_head, T, D), laid out as a projection gives them."""
    (B, H, T, D), turned = q.shape, q.shape[1] + k.shape[1]
    both = q.new_empty(B, turned, T, D, dtype=wide_of(q, tables))
    both[:, :H].copy_(q)
    both[:, H:].copy_(k)
    heads = v.new_empty(B, T, turned + v.shape[1], D).transpose(1, 2)
    heads[:, :turned].copy_(rotate_rows(both, tables, -1))
    heads[:, turned:].copy_(v)
    return heads


def wide_of(heads: torch.Tensor, tables: tuple[torch.Tensor, ...]) -> torch.dtype:
    """The precision in which heads are turned: their own, or that of the angles if it is wider."""
    return torch.promote_types(heads.dtype, tables[0].dtype)


@torch.no_grad()
def row_tables(cos_sin: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What rotate_rows() multiplies by, for cos_sin (T, D / 2, 2): all tokens of a head are one row.

    Returns:
        cos of every channel (T D); -sin where a channel takes from the one D / 2 after it, without the last
        D / 2; sin where it takes from the one before, without the first. Where a pair has no such channel, 0.
    """
    cos, sin = cos_sin.unbind(-1)  # (T, D / 2)
    zero, half = torch.zeros_like(sin), sin.shape[-1]
    cos, up, down = (torch.cat(pair, dim=-1).flatten() for pair in ((cos, cos), (-sin, zero), (zero, sin)))
    return cos, up[:-half], down[half:]


def rotate_rows(x: torch.Tensor, tables: tuple[torch.Tensor, ...], sign: int) -> torch.Tensor:
    """rotate() of contiguous x (B, H, T, D) over long rows, see row_tables().

    The other channel of each pair is read by shifting a row by D / 2, one way and the other; where that
    brings a channel of another pair, the table holds 0.

    Args:
        sign: -1 rotates backwards.
    """
    cos, up, down = tables
    rows, rest, half = x.flatten(2), len(up), len(cos) - len(up)
    y = rows * cos
    y.narrow(2, 0, rest).addcmul_(rows.narrow(2, half, rest), up, value=sign)
    y.narrow(2, half, rest).addcmul_(rows.narrow(2, 0, rest), down, value=sign)
    return y.view(x.shape)
