"""Text from a model, one token at a time: the context it reads, and one id drawn from each row of logits."""

from collections.abc import Iterator

import torch

from reslab.nn.attention import KVCache

HOP_SHARE = 4  # a full context drops the oldest quarter
COLDEST = 1e-30  # logits divided by less are not finite


@torch.no_grad()
def generate(
    model,
    idx: torch.Tensor,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    generator: torch.Generator | None = None,
    vocab_size: int | None = None,
) -> Iterator[torch.Tensor]:
    """Continue a prompt; contexts are cropped, see context_start.

    Args:
        model: the GPT.
        idx: prompt (B, T), T at least 1.
        temperature: divides the logits; 0 takes the likeliest token (greedy).
        top_k: keep the k likeliest tokens.
        top_p: keep the likeliest tokens that together hold at least this probability.
        vocab_size: ids from here on pad the vocabulary and are never chosen.

    Yields:
        the next ids (B,).
    """
    caches, begin = None, 0
    for _ in range(max_new_tokens):
        start = context_start(idx.shape[1], model.config.block_size)
        if caches is None or start != begin:
            caches, begin = [KVCache(model.config.block_size) for _ in model.blocks], start
        x = model.hidden_states(idx[:, begin + caches[0].length :], caches)[:, -1:]  # (B, 1, C)
        logits = model.head(x)[:, 0, :vocab_size]  # (B, V)
        token = sample_next_token(logits.float(), temperature, top_k, top_p, generator)
        idx = torch.cat([idx, token[:, None]], dim=1)
        yield token


def context_start(length: int, block_size: int) -> int:
    """The first token that is read when the token after `length` others is chosen.

    All are read while they fit into block_size. A cache can't slide by one token, since every position would
    change; so a full context drops its oldest quarter and grows again. It holds between three quarters of
    block_size and all of it, and most tokens cost one step and not a whole pass.
    """
    if length <= block_size:
        return 0
    hop = max(1, block_size // HOP_SHARE)
    return -(-(length - block_size) // hop) * hop


def sample_next_token(logits, temperature=1.0, top_k=None, top_p=None, generator=None) -> torch.Tensor:
    """Draw one id per row from logits (B, V) -> (B,)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / max(temperature, COLDEST)
    if top_k is not None and top_k < logits.shape[-1]:
        kth = logits.topk(top_k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True)
        probs = ordered.softmax(dim=-1)
        # A token stays when those before it hold less than top_p, so the first one always stays.
        ordered = ordered.masked_fill(probs.cumsum(dim=-1) - probs >= top_p, -torch.inf)
        logits = torch.full_like(logits, -torch.inf).scatter(1, order, ordered)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]
