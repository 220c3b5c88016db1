"""Muon: momentum whose matrices are made orthogonal before they are applied (Jordan et al. 2024)."""

import math
from collections import defaultdict

import torch

# The quintic of Jordan et al. 2024: steep at zero, so five rounds bring most singular values near 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """torch.optim.Muon, with all matrices of one shape handled together.

        m = momentum m + (1 - momentum) g       u = momentum m + (1 - momentum) g       (Nesterov)
        W = (1 - lr weight_decay) W - lr scale(W) orthogonal(u)

    A stack of L blocks then costs the launches of one block.

    Args:
        params: matrices.
        lr: a number; a group may hold a tensor () for it, which a recorded step reads anew.
        rows: of a parameter that holds several matrices, one below the other, how many rows each has; they
            are made orthogonal apart. The norm of their steps together is that of one matrix of all rows.
        match_adamw: scale the step to the size of AdamW's, 0.2 sqrt(max(rows, columns)) (Liu et al. 2025,
            arXiv 2502.16982); if not, sqrt(max(1, rows / columns)) as in Jordan et al.
    """

    def __init__(
        self,
        params,
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
        match_adamw: bool = False,
        rows: dict[torch.Tensor, list[int]] | None = None,
    ):
        self.match_adamw, self.rows = match_adamw, rows or {}
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self) -> None:
        for group in self.param_groups:
            parameters = [p for p in group["params"] if p.grad is not None]
            if not parameters:
                continue
            directions = self._momentum(parameters, group["momentum"])
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            alike = defaultdict(list)  # shape -> pairs (matrix, its direction)
            for parameter, direction in zip(parameters, directions, strict=True):
                rows = self.rows.get(parameter, [len(parameter)])
                for pair in zip(parameter.split(rows), direction.split(rows), strict=True):
                    alike[pair[0].shape].append(pair)
            for shape, pairs in alike.items():
                matrices, directions = map(list, zip(*pairs, strict=True))
                updates = list(orthogonal(torch.stack(directions)).unbind())
                rate = -group["lr"] * step_scale(*shape, self.match_adamw)
                if torch.is_tensor(rate):
                    torch._foreach_mul_(updates, rate)
                    rate = 1
                torch._foreach_add_(matrices, updates, alpha=rate)

    def _momentum(self, parameters, momentum: float) -> list[torch.Tensor]:
        """Take the gradients into the memory; returns the direction of the next step."""
        gradients = [p.grad for p in parameters]
        for p in parameters:
            if "momentum_buffer" not in self.state[p]:
                self.state[p]["momentum_buffer"] = torch.zeros_like(p)
        buffers = [self.state[p]["momentum_buffer"] for p in parameters]
        torch._foreach_lerp_(buffers, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, buffers, momentum)


def step_scale(rows: int, columns: int, match_adamw: bool = False) -> float:
    """What the step of a matrix is multiplied by, see Muon's match_adamw."""
    if match_adamw:
        return 0.2 * math.sqrt(max(rows, columns))
    return math.sqrt(max(1, rows / columns))


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Near U V^T for each U S V^T of matrices (n, rows, columns), by Newton-Schulz rounds in bfloat16.

    Not quite: singular values end between about 0.7 and 1.2, and those below 0.0015 of the matrix's norm
    smaller, since five rounds lift the smallest 485-fold.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.bfloat16()
    x = x.mT.contiguous() if tall else x
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ROUNDS):
        gram = torch.bmm(x, x.mT)
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)
