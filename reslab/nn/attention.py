"""The attention kernel: softmax(q k^T / sqrt(D)) v, by whatever computes it fastest here."""

import math

import torch
import torch.nn.functional as F

SHORT = 512  # tokens up to which scores (T, T) are cheap to hold


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, dropout: float) -> torch.Tensor:
    """Attention of queries (B, H, T, D) over keys and values (B, H, S, D): (B, H, T, D).

    torch's kernel, but on a CPU in bfloat16 (docs/speed.md). There its backward pass takes two to five times
    as long as the plain products of matrices, so short sequences take those; and without a backward pass
    it is slower than in float32, which keys and values that are remembered come in.

    Args:
        causal: query t sees the keys up to t; S is T then.
        dropout: share of the attention weights that is dropped.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16:
        if not q.requires_grad:
            with torch.autocast("cpu", enabled=False):
                q, k, v = q.float(), k.float(), v.float()
                return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)
        if causal and q.shape[-2] <= SHORT:
            return _by_products(q, k, v, dropout)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)


def _by_products(q, k, v, dropout):
    """Causal attention that holds its scores (B H, T, T) in the precision of q."""
    B, H, T, D = q.shape
    q, k, v = (x.reshape(B * H, T, D) for x in (q, k, v))
    future = torch.full((T, T), -torch.inf, dtype=q.dtype, device=q.device).triu(1)
    with torch.autocast(q.device.type, enabled=False):  # else the softmax would be widened and copied
        scores = torch.baddbmm(future, q, k.transpose(1, 2), alpha=1 / math.sqrt(D))  # (B H, T, T)
        weights = F.dropout(scores.softmax(dim=-1), dropout, training=dropout > 0)
        return torch.bmm(weights, v).view(B, H, T, D)
