"""Measures fresh stacks beside what theory predicts of them: tokens, the stream and gradients.

    python -m experiments.theory.measure --json experiments/theory/result.json
    python -m experiments.theory.measure --scaled --json experiments/theory/scaled.json

Each stack is config/theory.py with another wiring, start, depth and seed, and is not trained.
"""

import math
from dataclasses import replace

import torch

from experiments.measured import arguments, write
from reslab.data.dataset import open_dataset
from reslab.instruments.probes import measure
from reslab.instruments.snapshot import snapshot
from reslab.model import GPT
from reslab.run.config import parse, run_door
from reslab.run.settings import TrainConfig

CONFIG = "config/theory.py"
SEEDS = (1, 2, 3)
DEPTHS = (6, 24, 96)
STD = 0.02  # of every matrix


def uniform_attention(T: int) -> torch.Tensor:
    """Attention that looks at all it may see alike, (T, T): A_ij = 1/i for j <= i."""
    ones = torch.ones(T, T, dtype=torch.float64).tril()
    return ones / ones.sum(dim=1, keepdim=True)


def predicted_tokens(T: int, layers: int) -> dict:
    """What k = 0 .. layers products with the uniform attention make of T independent tokens.

    Returns:
        token_diversity (norm(X - mean) / norm(X) of A^k X) and position0_share (of the gradient (A^k)' G, the
        energy on the first token), for X and G with independent entries of one size.
    """
    A, power = uniform_attention(T), torch.eye(T, dtype=torch.float64)
    diversity, share = [], []
    for _ in range(layers + 1):
        spread = power - power.mean(dim=0, keepdim=True)
        diversity.append((spread.norm() / power.norm()).item())
        share.append((power[:, 0].norm() / power.norm()).square().item())
        power = A @ power
    return {"token_diversity": diversity, "position0_share": share}


def predicted_stream(C: int, T: int, layers: int) -> list[float]:
    """The stream's rms behind 0 .. layers blocks of `pre`, each branch adding a variance of its own.

    A branch reads entries of size 1, and matrices have std STD. Attention is uniform over tokens taken as
    independent; the MLP is 4C wide with GELU, whose second moment is integrated on a grid.
    """
    attention = (C * STD**2) ** 2 * uniform_attention(T).square().sum().item() / T
    z = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    hidden = torch.nn.functional.gelu(math.sqrt(C) * STD * z).square()
    mlp = 4 * C * STD**2 * torch.trapezoid(hidden * density, z).item()
    embeddings = 2 * STD**2  # of the token and of the position
    return [math.sqrt(embeddings + k * (attention + mlp)) for k in range(layers + 1)]


def token_cosine(x: torch.Tensor) -> float:
    """The mean cosine of two tokens of one sequence, over all pairs and sequences of x (B, T, C)."""
    T, unit = x.shape[1], torch.nn.functional.normalize(x.double(), dim=-1)
    pairs = unit.sum(dim=1).square().sum(dim=-1) - T  # (B,), less each token with itself
    return (pairs / (T * (T - 1))).mean().item()


def measured(residual: str, init: str, layers: int, seed: int) -> dict:
    """A fresh stack's probes on sequences of the training data: its record in result.json."""
    argv = [CONFIG, f"--residual={residual}", f"--init={init}", f"--n_layer={layers}", f"--seed={seed}"]
    config = replace(parse(TrainConfig, argv).config, device="cpu", dtype="float32")
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    model = GPT(replace(config.model, vocab_size=dataset.vocab_size), seed)
    x, y = dataset.sequences("train", dataset.eval_starts("train", config.probe_sequences))
    part = snapshot(model, x, y)
    row = measure(part)
    kept = {key: row[f"probe/{key}"] for key in ("token_diversity", "position0_share")}
    kept |= {key: row[f"probe/{key}"][::2] for key in ("resid_rms", "resid_gradient")}  # around the blocks
    kept["token_cosine"] = [token_cosine(stream) for stream in part.streams]
    kept |= {key: row[f"probe/{key}"] for key in ("qk_gradient", "v_gradient")}
    rounded = {key: [float(f"{value:.4g}") for value in values] for key, values in kept.items()}
    run = {"run": f"{residual}-s{seed}-L{layers}", "step": 0, "status": "finished"}
    return run | {"residual": residual, "n_layer": layers, "seed": seed} | rounded


def predictions() -> dict:
    """What is predicted of the config's stacks, over the blocks passed: `predicted` in result.json."""
    shape = parse(TrainConfig, [CONFIG]).config.model
    predicted = predicted_tokens(shape.block_size, shape.n_layer)
    predicted["resid_rms"] = predicted_stream(shape.n_embd, shape.block_size, shape.n_layer)
    return {key: [float(f"{v:.4g}") for v in values] for key, values in predicted.items()}


def main(argv: list[str]) -> None:
    parser = arguments(__doc__, jobs=None)
    parser.add_argument(
        "--scaled", action="store_true", help="`pre` alone, with GPT-2's start: --init=scaled"
    )
    options = parser.parse_args(argv)
    torch.set_num_threads(1)
    arms, init = (("pre",), "scaled") if options.scaled else (("pre", "none", "rezero"), "unscaled")
    runs = [measured(arm, init, layers, seed) for arm in arms for layers in DEPTHS for seed in SEEDS]
    facts = {} if options.scaled else {"predicted": predictions()}
    module = "experiments.theory.measure" + (" --scaled" if options.scaled else "")
    write(options.json, module, runs, **facts)


if __name__ == "__main__":
    run_door(main)
