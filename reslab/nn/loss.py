"""Cross-entropy over a vocabulary, whole or in chunks of tokens, so that large logits are never held."""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# Logits of more bytes than this, counted in float32, are not held. Cutting them up costs launches on a GPU,
# which has room; on a CPU it costs nothing, see docs/speed.md.
LARGE = {"cpu": 1 << 28, "cuda": 1 << 32}
IGNORED = -100  # a target that has no part in the loss, as everywhere in torch
CHUNK = 1 << 26  # bytes of the logits that are held at a time where they are not held whole


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Nats per token of logits (..., V) at targets (...); half precision is widened first.

    A target of IGNORED has a loss of 0, and the mean is that of the others.
    """
    half = logits.dtype in (torch.bfloat16, torch.float16)  # a softmax over V wants more digits
    logits = (logits.float() if half else logits).flatten(0, -2)  # (N, V)
    loss = F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction=reduction)
    return loss.view(targets.shape) if reduction == "none" else loss


def whole_loss(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss of targets (B, T), for x (B, T, C) and a head weight (V, C); all logits are held."""
    return cross_entropy(F.linear(x, weight), targets)


def chunk_loss(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The summed loss of some tokens: x (n, C), targets (n,)."""
    return cross_entropy(F.linear(x, weight), targets, "sum")


def is_large(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the logits of x (B, T, C) with a head weight (V, C) are too large to be held."""
    return x.shape[:-1].numel() * weight.shape[0] * 4 > LARGE.get(x.device.type, LARGE["cpu"])


def linear_cross_entropy(
    x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, one_chunk=chunk_loss
) -> torch.Tensor:
    """cross_entropy(x @ weight.T, targets) without ever holding the logits of all tokens.

    torch's own since 2.13, which computes the gradients in the forward pass. Before that, and in half
    precision, where torch's returns a loss of three digits, the logits of a chunk of tokens at a time,
    computed again in the backward pass.

    Args:
        x: (B, T, C); weight: (V, C); targets: (B, T).
        one_chunk: chunk_loss, or that compiled; the loop around it is not, since a compiler would unroll it.
    """
    x, targets = x.flatten(0, -2), targets.flatten()
    whole_digits = not torch.is_autocast_enabled(x.device.type) and x.dtype != torch.bfloat16
    if whole_digits and hasattr(F, "linear_cross_entropy"):
        # Its own choice of chunks is a few tokens each, and every chunk writes the whole gradient of weight.
        options = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=_chunk_size(weight), chunking_method=None
        )
        return F.linear_cross_entropy(x, weight, targets, ignore_index=IGNORED, options=options)
    plain = {"use_reentrant": False, "preserve_rng_state": False}  # nothing in it is random
    losses = [
        checkpoint(one_chunk, x[rows], weight, targets[rows], **plain) for rows in _chunks(len(x), weight)
    ]
    return torch.stack(losses).sum() / (targets != IGNORED).sum()


@torch.no_grad()
def token_losses(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The loss of each token in nats (B, T), for x (B, T, C), a chunk of logits at a time."""
    rows = x.flatten(0, -2), targets.flatten()
    losses = [
        cross_entropy(F.linear(rows[0][chunk], weight), rows[1][chunk], "none")
        for chunk in _chunks(len(rows[1]), weight)
    ]
    return torch.cat(losses).view(targets.shape)


@torch.no_grad()
def likeliest_tokens(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The id with the largest logit at each position (B, T), for x (B, T, C), a chunk of logits at a time."""
    rows = x.flatten(0, -2)
    ids = [F.linear(rows[chunk], weight).argmax(dim=-1) for chunk in _chunks(len(rows), weight)]
    return torch.cat(ids).view(x.shape[:-1])


def _chunks(count: int, weight: torch.Tensor) -> list[slice]:
    """Slices of `count` tokens, each with at most CHUNK bytes of logits."""
    size = _chunk_size(weight)
    return [slice(begin, begin + size) for begin in range(0, count, size)]


def _chunk_size(weight: torch.Tensor) -> int:
    return max(1, CHUNK // (4 * weight.shape[0]))
