"""A finished model on the table: what each layer does for it, and how its gradient travels.

Every function takes a model in eval mode and token sequences, and returns plain numbers. The model is the
same afterwards. Lesions follow Veit et al. 2016 (arXiv 1605.06431), block influence ShortGPT (Men et al.
2024, arXiv 2403.03853), the logit lens nostalgebraist 2020.
"""

import itertools
from contextlib import contextmanager

import torch

from reslab.instruments.snapshot import snapshot
from reslab.nn.loss import likeliest_tokens, token_losses


def sequence_losses(model, inputs, targets, batch: int = 32) -> torch.Tensor:
    """Mean loss of each sequence (N,), fp64, nats per token."""
    pairs = zip(inputs.split(batch), targets.split(batch), strict=True)
    return torch.cat([model.token_losses(x, y).mean(dim=1).double() for x, y in pairs])


def wirings(model) -> list:
    """The wiring of every sublayer, from the input on."""
    return [residual for block in model.blocks for residual, _ in block.sublayers()]


def can_lesion(model) -> bool:
    """Whether a block can be left out: not where each adds an entry to what the next ones read."""
    return not any(residual.stream_grows for residual in wirings(model))


def has_jacobians(model) -> bool:
    """Whether a block is a function from x to x, so that it has one Jacobian."""
    return all(residual.single_tensor for residual in wirings(model))


def paths_split(model) -> bool:
    """Whether every skip is x times a constant, so that a gradient splits by the branches it has passed."""
    return all(residual.skip is not None for residual in wirings(model))


@contextmanager
def without(modules):
    """Blocks, or residuals of sublayers, that hand their stream on as it came."""
    for module in modules:
        module.forward = lambda stream, branch=None: stream
    try:
        yield
    finally:
        for module in modules:
            del module.forward  # the class's own forward is back


def lesions(model, inputs, targets, draws: int = 3, seed: int = 0) -> dict:
    """What the loss rises by when something is taken away, in nats per token, paired by sequence.

    Args:
        draws: random sets of blocks for each number of removed blocks.

    Returns:
        "block", "attn", "mlp": one {"delta", "se"} per layer; "random": for k = 1 .. L blocks removed at
        random, over draws; "loss": of the whole model.
    """
    base_losses = sequence_losses(model, inputs, targets)

    def cost(context) -> dict:
        with context:
            return _mean_se(sequence_losses(model, inputs, targets) - base_losses)

    blocks, layers = list(model.blocks), len(model.blocks)
    generator = torch.Generator().manual_seed(seed)
    random = []
    for k in range(1, layers + 1):
        sets = [
            torch.randperm(layers, generator=generator)[:k].tolist()
            for _ in range(draws if k < layers else 1)
        ]
        costs = [cost(without([blocks[i] for i in chosen])) for chosen in sets]
        deltas = torch.tensor([c["delta"] for c in costs])
        spread = deltas.std().item() / len(costs) ** 0.5 if len(costs) > 1 else costs[0]["se"]
        random.append({"removed": k, "delta": deltas.mean().item(), "se": spread})
    return {
        "loss": _mean_se(base_losses),
        "block": [cost(without([block])) for block in blocks],
        "attn": [cost(without([block.attn_residual])) for block in blocks],
        "mlp": [cost(without([block.mlp_residual])) for block in blocks],
        "random": random,
    }


def block_influence(model, inputs, targets) -> list[float]:
    """1 - mean cosine between the stream before and after each block (L). Not comparable across wirings."""
    streams = snapshot(model, inputs, targets).streams
    return [
        1 - torch.cosine_similarity(a.double(), b.double(), dim=-1).mean().item()
        for a, b in itertools.pairwise(streams)
    ]


def logit_lens(model, inputs, targets) -> tuple[list[float], torch.Tensor]:
    """The head applied to the stream before each block and after the last (L + 1).

    Returns:
        the loss it would have there, and its likeliest token at each position (L + 1, B, T).
    """
    losses, tokens = [], []
    with torch.no_grad():
        for stream in snapshot(model, inputs, targets).streams:
            x = model.ln_f(stream)
            losses.append(token_losses(x, model.head_weight, targets).mean().item())
            tokens.append(likeliest_tokens(x, model.head_weight))
    return losses, torch.stack(tokens)


def perturbation(model, inputs) -> list[list[float]]:
    """Change one input token and see which outputs move (T, T).

    Row p, column t: norm of the change of the logits at t when the token at p becomes its neighbour in the
    vocabulary, relative to the norm of the logits; a mean over the sequences. Where t < p it is 0.
    """
    vocabulary = model.config.vocab_size
    rows = []
    with torch.no_grad():
        logits = model(inputs)
        size = logits.norm(dim=-1)
        for p in range(inputs.shape[1]):
            other = inputs.clone()
            other[:, p] = (other[:, p] + 1) % vocabulary
            moved = (model(other) - logits).norm(dim=-1)  # (B, T)
            rows.append((moved / size).mean(dim=0).tolist())
    return rows


def jacobians(model, inputs) -> list[dict]:
    """The Jacobian of each block at the stream it reads, in the model's precision; use fp64 and a tiny T.

    Args:
        inputs: token ids (1, T); a Jacobian has (T C)^2 entries.

    Returns:
        for each block "smallest", "median" and "largest" singular value of its Jacobian, and "product",
        the same three of the product of all Jacobians up to it.
    """
    if not has_jacobians(model):
        raise ValueError(
            f"residual={model.config.residual}: a block carries more than x, so it has no single Jacobian"
        )
    streams = snapshot(model, inputs, inputs).streams
    product, spectra = None, []
    for block, x in zip(model.blocks, streams, strict=False):
        J = block_jacobian(block, x)
        product = J if product is None else J @ product
        spectra.append(_spectrum(J) | {"product": _spectrum(product)})
    return spectra


def block_jacobian(block, x) -> torch.Tensor:
    """dy/dx of a block at x (1, T, C) -> (T C, T C). A skip block's is I + J_F on the same weights."""
    n = x.numel()
    return torch.autograd.functional.jacobian(lambda x: block(x), x).reshape(n, n)


def path_lengths(model, inputs, targets) -> dict:
    """dL/dx_0, x_0 what block 0 reads, split by how many branches the gradient has passed (Veit et al. 2016).

    A sublayer y = s x + F(x), s its wiring's `skip`, sends a gradient g on as s g, which passes nothing,
    plus J_F^T g, which passes one more branch. Carried down through all 2L sublayers this gives 2L + 1
    parts whose sum is the true gradient. For s = 0 all of it has passed all branches.

    Returns:
        "norms": of the parts 0 .. 2L; "total": norm of dL/dx_0; "error": largest difference between the sum
        of the parts and the gradient that autograd gives.
    """
    if not paths_split(model):
        raise ValueError(
            f"residual={model.config.residual}: its skip is not x times a constant, so paths don't split"
        )
    first = model.stack.open(model.embed(inputs)).detach()
    x = first.clone().requires_grad_()
    stream = x
    for block in model.blocks:
        stream = block(stream)
    (true,) = torch.autograd.grad(model.head_loss(stream, targets), x)
    parts = _gradient_by_branches_passed(model, first, targets)
    return {
        "norms": [part.norm().item() for part in parts],
        "total": true.norm().item(),
        "error": (sum(parts) - true).abs().max().item(),
    }


def _gradient_by_branches_passed(model, x, targets) -> list[torch.Tensor]:
    """The parts 0 .. 2L of dL/dx, of the x (B, T, C) that block 0 reads."""
    sublayers = []
    with torch.no_grad():
        for residual, branch in (pair for block in model.blocks for pair in block.sublayers()):
            sublayers.append((residual, branch, x))
            x = residual(x, branch)
    x = x.requires_grad_()
    (gradient,) = torch.autograd.grad(model.head_loss(x, targets), x)
    parts = [gradient]
    for residual, branch, x in reversed(sublayers):
        s = residual.skip
        products = [_vjp(residual, branch, x, g) for g in parts]
        passed = [w - s * g for w, g in zip(products, parts, strict=True)]
        zero = torch.zeros_like(gradient)
        parts = [s * g + p for g, p in zip([*parts, zero], [zero, *passed], strict=True)]
    return parts


def _vjp(residual, branch, x, gradient):
    x = x.clone().requires_grad_()
    (back,) = torch.autograd.grad(residual(x, branch), x, gradient)
    return back


def _spectrum(J) -> dict:
    values = torch.linalg.svdvals(J)
    return {"smallest": values[-1].item(), "median": values.median().item(), "largest": values[0].item()}


def _mean_se(values: torch.Tensor) -> dict:
    return {"delta": values.mean().item(), "se": (values.std() / len(values) ** 0.5).item()}
