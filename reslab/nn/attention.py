"""What attention is made of: the kernel, and the keys and values that are remembered.

`attention` computes softmax(q k^T / sqrt(D)) v by whatever is fastest on this device.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Precision -> tokens up to which a CPU trains by plain products, which hold their scores (T, T).
PRODUCTS = {torch.bfloat16: 512, torch.float32: 0}
AT_ONCE = 2**21  # bytes of scores
products_up_to = dict(PRODUCTS)  # of now, see cpu_kernels()
_open = []  # what was before the first of the open contexts of cpu_kernels(), once for each of them
_lock = threading.Lock()


def attention(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool, dropout: float
) -> torch.Tensor:
    """Attention of queries (B, H, T, D) over keys and values (B, H, S, D): (B, H, T, D), as precise as q.

    torch's kernel, but on a CPU in bfloat16 (docs/speed.md). There its backward pass takes two to five times
    as long as the plain products of matrices, so short sequences take those; and without a backward pass
    it is slower than in float32, the precision of the keys and values in a cache. Inside of
    cpu_kernels() short sequences may take the products in float32 too.

    Args:
        causal: query t attends to the keys up to t; S is T then.
        dropout: share of the attention weights that is dropped.
    """
    on_cpu = q.device.type == "cpu"
    if on_cpu and q.requires_grad and causal and q.shape[-2] <= products_up_to.get(q.dtype, 0):
        return attention_by_products(q, k, v, dropout)
    if on_cpu and q.dtype == torch.bfloat16 and not q.requires_grad:
        with torch.autocast("cpu", enabled=False):
            heads = (x.float() for x in (q, k, v))
            y = F.scaled_dot_product_attention(*heads, is_causal=causal, dropout_p=dropout)
            return y.to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal, dropout_p=dropout)


def attention_by_products(q, k, v, dropout):
    """Causal attention that holds its scores (B H, T, T) in the precision of q."""
    B, H, T, D = q.shape
    q, k, v = (x.reshape(B * H, T, D) for x in (q, k, v))
    with torch.autocast(q.device.type, enabled=False):  # else the softmax would be widened and copied
        if q.dtype == torch.bfloat16:
            y = _InBfloat16.apply(q, k, v, dropout)
        else:
            scores = torch.baddbmm(_future(q), q, k.transpose(1, 2), alpha=1 / math.sqrt(D))
            weights = F.dropout(scores.softmax(dim=-1), dropout, training=dropout > 0)
            y = torch.bmm(weights, v)
        return y.view(B, H, T, D)


def _future(q: torch.Tensor) -> torch.Tensor:
    """What hides later tokens from the queries (B H, T, D): (T, T)."""
    return torch.full((q.shape[1],) * 2, -torch.inf, dtype=q.dtype, device=q.device).triu(1)


class _InBfloat16(torch.autograd.Function):
    """Causal attention in bfloat16 that bears large scores and values, as a stream without norms has.

    Both differences are taken before they are rounded: those of a query's scores to the highest, so that a
    weight is off by a share of that and not of the score itself; and those of its weights' gradients g to
    their mean, sum(g w) = dy . y, which changes nothing where weights sum to 1, and rounded ones don't.
    """

    @staticmethod
    def forward(context, q, k, v, dropout):
        future, y, scale = _future(q), torch.empty_like(q), 1 / math.sqrt(q.shape[-1])
        weights = future.new_empty(len(q), *future.shape)
        kept = torch.empty_like(weights).bernoulli_(1 - dropout).div_(1 - dropout) if dropout else None
        for part in _parts(len(q), q.shape[1]):
            keys = k[part].transpose(1, 2)
            scores = torch.baddbmm(future, q[part], keys, alpha=scale)
            torch.sub(future, scores.amax(dim=-1, keepdim=True), out=scores)
            scores.baddbmm_(q[part], keys, alpha=scale)
            torch.softmax(scores, dim=-1, out=weights[part])
            torch.bmm(weights[part] * kept[part] if dropout else weights[part], v[part], out=y[part])
        context.save_for_backward(q, k, v, weights, kept, y)
        return y

    @staticmethod
    @once_differentiable
    def backward(context, dy):
        q, k, v, weights, kept, y = context.saved_tensors
        mean = (dy * y).sum(dim=-1, keepdim=True)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        scaled = {"beta": 0, "alpha": 1 / math.sqrt(q.shape[-1])}
        for part in _parts(len(q), q.shape[1]):
            w = used = weights[part]
            if kept is None:
                gradient = torch.baddbmm(mean[part], dy[part], v[part].transpose(1, 2), beta=-1)
            else:
                used = w * kept[part]
                gradient = kept[part] * torch.bmm(dy[part], v[part].transpose(1, 2)) - mean[part]
            torch.bmm(used.transpose(1, 2), dy[part], out=dv[part])
            scores = torch._softmax_backward_data(gradient, w, -1, w.dtype)
            torch.baddbmm(dq[part], scores, k[part], **scaled, out=dq[part])
            torch.baddbmm(dk[part], scores.transpose(1, 2), q[part], **scaled, out=dk[part])
        return dq, dk, dv, None


def _parts(heads: int, T: int) -> list[slice]:
    """All heads of all sequences, so many at once that their scores in bfloat16 stay in a core's cache."""
    size = max(1, AT_ONCE // (2 * T * T))
    return [slice(begin, begin + size) for begin in range(0, heads, size)]


@contextmanager
def cpu_kernels(dtype: torch.dtype, products: int, onednn: bool = False) -> Iterator[None]:
    """Context in which a CPU trains by these kernels. Threads share it: the last one to leave it ends it.

    Args:
        dtype: precision of the products.
        products: tokens up to which attention in that precision is made of products.
        onednn: float32 is multiplied by oneDNN, and not by what torch takes. torch offers it as the
            permission to round to bfloat16, of which oneDNN makes use on CPUs with AMX alone; on others
            products keep all digits of float32. torch's attention kernel takes up to five times as long.
    """
    matmul = torch.backends.mkldnn.matmul
    with _lock:
        _open.append(_open[0] if _open else matmul.fp32_precision)
        products_up_to[dtype] = products
        if onednn:
            matmul.fp32_precision = "bf16"
    try:
        yield
    finally:
        with _lock:
            before = _open.pop()
            if not _open:
                products_up_to.update(PRODUCTS)
                matmul.fp32_precision = before


class KVCache:
    """Keys and values of one attention layer, for up to `size` tokens; on a CPU in float32, see attention().

    Attention is the only place where tokens meet, so whatever the wiring, a new token goes through the stack
    alone and finds the others here. Keys and values belong to positions 0, 1, 2, ... of a context.
    """

    def __init__(self, size: int):
        self.size, self.length = size, 0
        self.keys = self.values = None

    def extend(self, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Add those of new tokens (B, H, T, D); returns those of all tokens so far (B, H, length, D).

        The first call may bring any T, each later one brings T = 1.
        """
        B, H, T, D = k.shape
        if self.keys is None:
            dtype = torch.float32 if k.device.type == "cpu" and k.dtype == torch.bfloat16 else k.dtype
            self.keys, self.values = (x.new_empty(B, H, self.size, D, dtype=dtype) for x in (k, v))
        begin, self.length = self.length, self.length + T
        self.keys[:, :, begin : self.length] = k
        self.values[:, :, begin : self.length] = v
        return self.keys[:, :, : self.length], self.values[:, :, : self.length]
