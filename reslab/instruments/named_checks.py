"""Whether a recorded forward pass was what the names of a model's parts say."""

import torch

from reslab.instruments.parts import Join, Record

BRANCHES = ("attn", "mlp")
WRONG_SUM = (
    "y is not x plus what the named modules give; name what gives the part that is added, or say "
    "parallel=True or norm_first=False"
)


def as_stream(x: torch.Tensor, record: Record, k: int, does: str) -> torch.Tensor:
    """x in the shape of the stream (B, T, C). Raises ValueError where it has another number of entries."""
    if 0 not in record.resid:
        raise ValueError("attention or MLP as named are called before the first block")
    shape = record.resid[0].shape
    if x.numel() != shape.numel():
        raise ValueError(
            f"block {k // 2}: its {BRANCHES[k % 2]} as named {does} {tuple(x.shape)}, and the stream is "
            f"{tuple(shape)}; {WRONG_SUM}"
        )
    return x.reshape(shape)


def ids_of(kind: str, args: tuple, kwargs: dict) -> torch.Tensor:
    """The token ids (B, T) that a model is called with. Raises ValueError where there are none."""
    for value in (kwargs.get("input_ids"), *args, *kwargs.values()):
        if torch.is_tensor(value) and value.dim() == 2 and not value.is_floating_point():
            return value
    raise ValueError(
        f"call {kind} with token ids (B, T) first, so that the names of its parts can be compared"
    )


def fault_of_sum(record: Record, join: Join) -> str | None:
    """What is not as in y = x + F(N(x)): branches read x, and y is x plus what they add, but for rounding."""
    x, y = record.resid[join.before], record.resid[join.after]
    for k in join.sublayers:
        if not torch.equal(record.branch_input[k].reshape(x.shape), x):
            kind = BRANCHES[k % 2]
            return f"{kind} does not read x; name its norm with {kind}_norm, or see norm_first and parallel"
    return None if _cancel(y, -x, *(-record.added[k] for k in join.sublayers)) else WRONG_SUM


def fault_of_norm(record: Record, join: Join) -> str | None:
    """What is not as in y = N(x + F(x)): the norm reads x plus what F gives, and gives y."""
    (k,) = join.sublayers
    x, y = record.resid[join.before], record.resid[join.after]
    summed, normed = record.outer_norm[k]
    if _cancel(summed, -x, -record.added[k]) and torch.equal(normed, y):
        return None
    kind = BRANCHES[k % 2]
    return (
        f"y is not {kind}_norm of x plus what {kind} gives, so the model as named is not post-norm; leave "
        "norm_first=False out, or name other modules"
    )


def _cancel(*terms: torch.Tensor) -> bool:
    """Whether terms sum to 0 but for rounding."""
    size = max(term.double().abs().max() for term in terms)
    rounding = 8 * torch.finfo(terms[0].dtype).eps * size
    return bool(sum(term.double() for term in terms).abs().max() <= rounding)
