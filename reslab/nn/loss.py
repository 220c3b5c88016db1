"""Cross-entropy over a vocabulary, whole or in chunks of tokens, so that large logits are never held."""

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

# Logits of more bytes than this, counted in float32, are not held. Cutting them up costs launches on a GPU,
# which has room.
LARGE = {"cpu": 1 << 28, "cuda": 1 << 32}
# From these bytes on, and these tokens for each channel of the stream, a CPU takes less time for chunks: held
# logits are written to fresh pages, and each chunk goes through the gradient of the head; see docs/speed.md.
SLOW, MANY = 1 << 24, 4
HALF = torch.bfloat16, torch.float16
IGNORED = -100  # a target that has no part in the loss, as everywhere in torch
CHUNK = 1 << 26  # bytes of the logits that are held at a time where they are not held whole


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Nats per token of logits (..., V) at targets (...); half precision is widened first.

    A target of IGNORED has a loss of 0, and the mean is that of the others.
    """
    logits = (logits.float() if logits.dtype in HALF else logits).flatten(0, -2)  # (N, V)
    loss = F.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED, reduction=reduction)
    return loss.view(targets.shape) if reduction == "none" else loss


def whole_loss(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean loss of targets (B, T), for x (B, T, C) and a head weight (V, C); all logits are held."""
    return cross_entropy(F.linear(x, weight), targets)


def chunk_loss(x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The summed loss of some tokens: x (n, C), targets (n,)."""
    return cross_entropy(F.linear(x, weight), targets, "sum")


def is_large(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether the logits of x (B, T, C) with a head weight (V, C) are too large to be held, or slow to be."""
    tokens = x.shape[:-1].numel()
    size = 4 * tokens * weight.shape[0]
    slow = x.device.type == "cpu" and size > SLOW and tokens >= MANY * weight.shape[1]
    return slow or size > LARGE.get(x.device.type, LARGE["cpu"])


def linear_cross_entropy(
    x: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, one_chunk=chunk_loss
) -> torch.Tensor:
    """cross_entropy(x @ weight.T, targets) without ever holding the logits of all tokens.

    Args:
        x: (B, T, C); weight: (V, C); targets: (B, T).
        one_chunk: chunk_loss, or that compiled. A compiled one is called for a chunk at a time, and again in
            the backward pass; the loop around it is not compiled, since a compiler would unroll it.
    """
    x, targets = x.flatten(0, -2), targets.flatten()
    if not torch.is_grad_enabled():
        total = token_losses(x, weight, targets).sum()
    elif one_chunk is chunk_loss:
        total = _SummedLoss.apply(x, weight, targets)
    else:
        plain = {"use_reentrant": False, "preserve_rng_state": False}  # nothing in it is random
        chunks = _chunks(len(x), weight)
        losses = [checkpoint(one_chunk, x[rows], weight, targets[rows], **plain) for rows in chunks]
        total = torch.stack(losses).sum()
    return total / (targets != IGNORED).sum()


class _SummedLoss(torch.autograd.Function):
    """chunk_loss of all tokens; gradients are taken in the forward pass, while a chunk's logits are there.

    Nothing is computed twice, and every chunk writes into the same memory: on a CPU, pages that are asked for
    again and again cost more than the products of a narrow model. It has no second derivative.
    """

    @staticmethod
    def forward(context, x, weight, targets):
        """The sum () for x (N, C), a head weight (V, C) and targets (N,)."""
        device = x.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
        products = x.to(dtype), weight.to(dtype)
        room = x.new_empty(min(len(x), _chunk_size(weight)), len(weight), dtype=dtype)
        # A softmax over V wants more digits than half precision has.
        wide = torch.empty_like(room, dtype=torch.float32) if dtype in HALF else room
        total, dx, dweight = wide.new_zeros(()), torch.empty_like(products[0]), None
        for rows in _chunks(len(x), weight):
            inputs, wanted = products[0][rows], targets[rows, None]
            logits, each = room[: len(inputs)], wide[: len(inputs)]
            kept = wanted != IGNORED  # (n, 1)
            wanted = wanted.where(kept, 0)
            torch.mm(inputs, products[1].T, out=logits)
            torch.log_softmax(each.copy_(logits), dim=-1, out=each)
            total -= each.gather(1, wanted).where(kept, 0).sum()
            each.exp_().scatter_add_(1, wanted, each.new_full(wanted.shape, -1))  # d sum / d logits
            each.mul_(kept)
            torch.mm(logits.copy_(each), products[1], out=dx[rows])
            if context.needs_input_grad[1]:
                # A sum over tokens may be too large for float16; a power of 2 keeps all digits.
                share = 2.0 ** -len(inputs).bit_length()
                part = torch.mm(logits.T, inputs * share).to(weight.dtype).div_(share)
                dweight = part if dweight is None else dweight.add_(part)
        context.save_for_backward(dx, dweight)
        return total

    @staticmethod
    def backward(context, gradient):
        """gradient: () of the sum, which holds 1 / N and the scale of float16, so that neither is rounded."""
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("a loss that is taken in chunks has no second derivative")
        dx, dweight = context.saved_tensors
        return gradient * dx.to(gradient.dtype), None if dweight is None else gradient * dweight, None


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
