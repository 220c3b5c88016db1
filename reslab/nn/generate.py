"""From the logits of the next token to one of the tokens."""

import torch


def pick_token(logits, temperature=1.0, top_k=None, top_p=None, generator=None) -> torch.Tensor:
    """Draw one id per row from logits (B, V) -> (B,)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
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
