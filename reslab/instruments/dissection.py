"""A finished model on the table: what each layer does for it, and how its gradient travels.

Every function takes a model in eval mode (a GPT, one of transformers, or what generic() gives) and token
sequences, and returns plain numbers. The model is the same afterwards. Lesions follow Veit et al. 2016
(arXiv 1605.06431), block influence ShortGPT (Men et al. 2024, arXiv 2403.03853), the logit lens
nostalgebraist 2020.
"""

import itertools

import torch

from reslab.instruments import parts
from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.parts import Anatomy
from reslab.instruments.snapshot import snapshot


def sequence_losses(model, inputs, targets, batch: int = 32) -> torch.Tensor:
    """Mean loss of each sequence (N,), fp64, nats per token."""
    anatomy, pairs = anatomy_of(model), zip(inputs.split(batch), targets.split(batch), strict=True)
    return torch.cat([anatomy.token_losses(x, y).mean(dim=1).double() for x, y in pairs])


def _able(model, what: str) -> Anatomy:
    """The anatomy of a model of which this can be had; a ValueError says why it can't."""
    anatomy = anatomy_of(model)
    if reason := anatomy.cannot(what):
        raise ValueError(reason)
    return anatomy


def lesions(model, inputs, targets, draws: int = 3, seed: int = 0) -> dict:
    """What the loss rises by when something is taken away, in nats per token, paired by sequence.

    Args:
        draws: random sets of blocks for each number of removed blocks.

    Returns:
        "block", "attn", "mlp": one {"delta", "se"} per layer, the last two None where it is not known what
        they are; "random": for k = 1 .. L blocks removed at random, over draws; "skips": without all skips,
        None where they are not x times a constant; "loss": of the whole model. "se" is None of one sequence.

    Raises:
        ValueError: no block can be left out.
    """
    anatomy = _able(model, parts.LESIONS)
    base_losses = sequence_losses(anatomy, inputs, targets)

    def cost(context) -> dict:
        with context:
            return _mean_se(sequence_losses(anatomy, inputs, targets) - base_losses)

    def costs_of(kind: int) -> list[dict] | None:
        if anatomy.cannot(parts.SUBLAYERS):
            return None
        return [cost(anatomy.without(sublayers=[2 * layer + kind])) for layer in range(layers)]

    layers, random = len(anatomy.blocks), []
    for sets in _random_sets(layers, draws, seed):
        costs = [cost(anatomy.without(chosen)) for chosen in sets]
        deltas = torch.tensor([c["delta"] for c in costs])
        spread = deltas.std().item() / len(costs) ** 0.5 if len(costs) > 1 else costs[0]["se"]
        random.append({"removed": len(sets[0]), "delta": deltas.mean().item(), "se": spread})
    return {
        "loss": _mean_se(base_losses),
        "block": [cost(anatomy.without([layer])) for layer in range(layers)],
        "attn": costs_of(0),
        "mlp": costs_of(1),
        "random": random,
        "skips": None if anatomy.cannot(parts.PATHS) else cost(anatomy.stripped()),
    }


def _random_sets(layers: int, draws: int, seed: int) -> list[list[list[int]]]:
    """For k = 1 .. L: sets of k blocks, of which there is one for all of them."""
    generator = torch.Generator().manual_seed(seed)
    return [
        [torch.randperm(layers, generator=generator)[:k].tolist() for _ in range(draws if k < layers else 1)]
        for k in range(1, layers + 1)
    ]


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
    anatomy, losses, tokens = anatomy_of(model), [], []
    for stream in snapshot(anatomy.model, inputs, targets, anatomy=anatomy).streams:
        there, likeliest = anatomy.read_out(stream, inputs, targets)
        losses.append(there.mean().item())
        tokens.append(likeliest)
    return losses, torch.stack(tokens)


def perturbation(model, inputs) -> list[list[float]]:
    """Change one input token and see which outputs move (T, T).

    Row p, column t: norm of the change of the logits at t when the token at p becomes its neighbour in the
    vocabulary, relative to the norm of the logits; a mean over the sequences. Where t < p it is 0.
    """
    anatomy, rows = anatomy_of(model), []
    with torch.no_grad():
        logits = anatomy.logits(inputs)
        vocabulary = logits.shape[-1]
        size = logits.norm(dim=-1)
        for p in range(inputs.shape[1]):
            other = inputs.clone()
            other[:, p] = (other[:, p] + 1) % vocabulary
            moved = (anatomy.logits(other) - logits).norm(dim=-1)  # (B, T)
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
    anatomy = _able(model, parts.JACOBIANS)
    product, spectra = None, []
    for block, x in anatomy.block_calls(inputs):
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

    A sublayer y = s x + F(x), s its `skip`, sends a gradient g on as s g, which passes nothing, plus J_F^T g,
    which passes one more branch. Carried down through all 2L sublayers this gives 2L + 1 parts whose sum is
    the true gradient. For s = 0 all of it has passed all branches. Where attention and MLP read the same x,
    a path passes one of them in a block, and there are L + 1 parts.

    Returns:
        "norms": of the parts; "total": norm of dL/dx_0; "error": largest difference between the sum of the
        parts and the gradient that autograd gives.
    """
    anatomy = _able(model, parts.PATHS)
    with anatomy.recording() as record, torch.enable_grad():
        loss = anatomy.loss(inputs, targets)
        anatomy.verify(record)
        last = max(record.running)
        ends = [record.running[last], record.running[0]]
        gradient, true = torch.autograd.grad(loss, ends, retain_graph=True)
        split = [gradient]
        for join in reversed(anatomy.joins):
            s, y = anatomy.skip(join.sublayers[0]), record.running[join.after]
            x = record.running[join.before]
            entries = [record.branch_input[k] for k in join.sublayers]
            passed = [_through_branches(y, entries, g).view(x.shape) for g in split]
            on = [s * g.view(x.shape) for g in split]
            zero = torch.zeros_like(x)
            split = [a + b for a, b in zip([*on, zero], [zero, *passed], strict=True)]
    return {
        "norms": [part.norm().item() for part in split],
        "total": true.norm().item(),
        "error": (sum(split) - true).abs().max().item(),
    }


def _through_branches(y, entries: list, gradient) -> torch.Tensor:
    """The gradient of y, taken back to what branches read, by these branches alone."""
    back = torch.autograd.grad(y, entries, gradient.view(y.shape), retain_graph=True, allow_unused=True)
    return sum(torch.zeros_like(x) if g is None else g for x, g in zip(entries, back, strict=True))


def _spectrum(J) -> dict:
    values = torch.linalg.svdvals(J)
    return {"smallest": values[-1].item(), "median": values.median().item(), "largest": values[0].item()}


def _mean_se(values: torch.Tensor) -> dict:
    if len(values) < 2:
        return {"delta": values.mean().item(), "se": None}
    return {"delta": values.mean().item(), "se": (values.std() / len(values) ** 0.5).item()}
