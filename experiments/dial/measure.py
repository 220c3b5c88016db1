"""Measures how far a gradient gets, over a grid of skip weights, depths and training steps.

    python -m experiments.dial.measure --json experiments/dial/result.json

Each stack is config/dial.py with another weight and depth. The stacks are so small that starting a program
for each would take most of the time, so a few processes make one after the other.
"""

import itertools
import os
from dataclasses import replace

from experiments import measured
from reslab.run.config import run_door

CONFIG = "config/dial.py"
WEIGHTS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)  # of x in y
DEPTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
STEPS = (0, 1, 3, 10)
SEEDS = (1337, 1338, 1339)  # the page's dial shows the first
PLACES = 25  # at most so many layers of each stack are kept


def places(layers: int) -> list[int]:
    """The layers whose incoming stream is kept, evenly spread, with `layers` for what the head reads."""
    count = min(PLACES, layers + 1)
    return sorted({round(k * layers / (count - 1)) for k in range(count)})


def measure(cell: tuple[float, int, int]) -> dict:
    """Train one stack and probe it on the way: its record in result.json."""
    import torch

    from reslab.data.dataset import open_dataset
    from reslab.run.config import parse
    from reslab.run.settings import TrainConfig
    from reslab.training.step import make_state, next_batch, train_step

    torch.set_num_threads(1)
    weight, layers, seed = cell
    settings = {"residual_scale": weight, "n_layer": layers, "seed": seed}
    config = parse(TrainConfig, [CONFIG, *(f"--{key}={value}" for key, value in settings.items())]).config
    config = replace(config, device="cpu", dtype="float32")
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state, probed = make_state(config, dataset.vocab_size), []
    x, y = dataset.sequences("train", dataset.eval_starts("train", config.probe_sequences))
    for step in range(config.optim.max_iters + 1):
        if step in STEPS:
            probed.append({"step": step} | probe(state.model, x, y))
        if step < config.optim.max_iters:
            train_step(state, next_batch(dataset, config, step), config)
    return {
        "run": f"scaled-{weight:g}-s{seed}-L{layers}",
        **settings,
        "step": config.optim.max_iters,
        "status": "finished",
        "places": places(layers),
        "probed": probed,
    }


def probe(model, x, y) -> dict:
    """The gradient at the stream, ||dL/dh||, at the places of a stack; of that at the first layer the share
    on the first token; and how much tokens differ at the end."""
    from reslab.instruments.snapshot import snapshot

    part = snapshot(model, x, y)
    gradients = [g.double() for g in part.stream_gradients]
    first, last = gradients[0], part.streams[-1].double()
    spread = last - last.mean(dim=1, keepdim=True)
    total = first.norm().item()
    return {
        "gradient": [float(f"{gradients[k].norm().item():.3g}") for k in places(len(gradients) - 1)],
        "position0_share": float(f"{(first[:, 0].norm().item() / total) ** 2 if total else 1.0:.3g}"),
        "token_diversity": float(f"{(spread.norm() / last.norm()).item():.3g}"),
    }


def main(argv: list[str]) -> None:
    options = measured.arguments(__doc__, jobs=os.cpu_count()).parse_args(argv)
    cells = list(itertools.product(WEIGHTS, DEPTHS, SEEDS))
    cells.sort(key=lambda cell: -cell[1])  # the long ones first
    runs = measured.at_once(measure, cells, options.jobs, options.json)
    runs.sort(key=lambda run: (run["seed"], run["n_layer"], run["residual_scale"]))
    measured.write(options.json, "experiments.dial.measure", runs)


if __name__ == "__main__":
    run_door(main)
