"""Rotary positions: a token's place as an angle of its queries and keys (Su et al. 2021, arXiv 2104.09864).

    <R_t q, R_s k> = <q, R_(t-s) k>        R_t turns pair j of channels by t w_j, w_j = base^(-2j / D)

What two tokens say to each other then depends on their distance and not on where they stand.
"""

import torch


def rotations(T: int, D: int, base: float = 10_000.0) -> torch.Tensor:
    """Cosine and sine of t w_j for places t and pairs j of a head's D channels: (T, D / 2, 2)."""
    speeds = 1 / base ** (torch.arange(0, D, 2) / D)
    angles = torch.outer(torch.arange(T), speeds)  # (T, D / 2)
    return torch.stack([angles.cos(), angles.sin()], dim=-1)


def rotate(x: torch.Tensor, turns: torch.Tensor) -> torch.Tensor:
    """R_t x of x (B, H, T, D) , turns (T, D / 2, 2); channel j makes a pair with j + D / 2, as in Llama."""
    cos, sin = turns.unbind(-1)  # (T, D / 2)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1).type_as(x)
