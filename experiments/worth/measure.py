"""Measures what the layers of small stacks are worth: lesions, blocks that suffice, one that learns alone.

    python -m experiments.worth.measure --json experiments/worth/result.json

Each stack is config/worth.py as its arm says. Lesions and random sets are those of Veit et al. 2016 (arXiv
1605.06431), see autopsy.py.
"""

import os
from dataclasses import replace

from experiments import measured
from reslab.run.config import run_door

CONFIG = "config/worth.py"
SLOW, FAST = (5e-4, 1.5e-3, 5e-3), (1.5e-2, 5e-2, 1.5e-1)  # rates of the blocks
ARMS = {  # settings, and the rates of which each has the best
    "pre": (["--residual=pre"], FAST),
    "depth_mup": (["--residual=depth_mup"], FAST),
    "keel": (["--residual=keel"], FAST),
    "none, self": (["--residual=none", "--init=self"], SLOW),
    "none": (["--residual=none"], SLOW),
}
ALLOWED = 0.01  # nats that all blocks taken out together may cost
SEEDS = (1, 2, 3)  # the first one chooses the rate
SEQUENCES = 64  # of the validation data, for what is taken out


def freeze(model, learns: str | int) -> None:
    """Let all blocks learn ("all"), none ("no block"), or the one of that number."""
    for layer, block in enumerate(model.blocks):
        block.requires_grad_(learns == "all" or learns == layer)


def blocks_needed(loss_without, layers: int, allowed: float) -> list[int]:
    """The blocks that are left when one after the other is taken out, each time the one that costs least.

    Args:
        loss_without: a list of blocks -> the loss of the stack without them.
        allowed: what the loss may rise by in all.
    """
    base, removed = loss_without([]), []
    while len(removed) < layers:
        left = [k for k in range(layers) if k not in removed]
        losses = {k: loss_without([*removed, k]) for k in left}
        cheapest = min(losses, key=losses.get)
        if losses[cheapest] - base > allowed:
            break
        removed.append(cheapest)
    return [k for k in range(layers) if k not in removed]


def taken_out(model, x, y) -> dict:
    """What the loss of a trained stack rises by without some of its blocks."""
    import torch

    from reslab.instruments.anatomy import anatomy_of
    from reslab.instruments.dissection import lesions, sequence_losses

    model.eval()
    anatomy = anatomy_of(model)

    def loss_without(blocks: list[int]) -> float:
        with anatomy.without(blocks):
            return sequence_losses(anatomy, x, y).mean().item()

    with torch.no_grad():
        cost = lesions(model, x, y)
        needed = blocks_needed(loss_without, len(model.blocks), ALLOWED)
    rounded = {key: [float(f"{one['delta']:.3g}") for one in cost[key]] for key in ("block", "random")}
    return rounded | {"needed": needed}


def measure(cell: tuple[str, float, str | int, int]) -> dict:
    """Train one stack and look into it: its record in result.json.

    Args:
        cell: its arm, the rate of its blocks, which of them learn (see freeze()), and its seed.
    """
    import torch

    from reslab.data.dataset import open_dataset
    from reslab.run.config import parse
    from reslab.run.settings import TrainConfig
    from reslab.training.evaluate import evaluate
    from reslab.training.step import make_state, next_batch, train_step

    torch.set_num_threads(1)
    arm, rate, learns, seed = cell
    config = parse(TrainConfig, [CONFIG, *ARMS[arm][0], f"--muon_lr={rate}", f"--seed={seed}"]).config
    config = replace(config, device="cpu", dtype="float32")
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size)
    freeze(state.model, learns)
    while state.step < config.optim.max_iters:
        train_step(state, next_batch(dataset, config, state.step), config)
    row = evaluate(state, config, dataset)
    run = {"run": f"{arm}, {rate:g}: {learns}, seed {seed}", "step": state.step, "status": "finished"}
    run |= {"arm": arm, "muon_lr": rate, "learns": learns, "n_layer": config.model.n_layer, "seed": seed}
    run |= {key: round(row[key], 4) for key in ("train/loss", "val/loss", "val/loss_se")}
    if learns == "all":
        run |= taken_out(state.model, *dataset.sequences("val", dataset.eval_starts("val", SEQUENCES)))
    return run


def best_rates(runs: list[dict]) -> dict[str, float]:
    """The rate at which each arm has its lowest training loss."""
    ordered = sorted(runs, key=lambda run: -run["train/loss"])
    return {run["arm"]: run["muon_lr"] for run in ordered}


def main(argv: list[str]) -> None:
    from reslab.run.config import parse
    from reslab.run.settings import TrainConfig

    options = measured.arguments(__doc__, jobs=os.cpu_count()).parse_args(argv)
    choice = [(arm, rate, "all", SEEDS[0]) for arm, (_, rates) in ARMS.items() for rate in rates]
    first = measured.at_once(measure, choice, options.jobs, options.json)
    best = best_rates(first)
    learns = ("all", "no block", *range(parse(TrainConfig, [CONFIG]).config.model.n_layer))
    cells = [
        (arm, rate, which, seed)
        for arm, rate in best.items()
        for which in learns
        for seed in SEEDS
        if (which, seed) != ("all", SEEDS[0])
    ]
    runs = [run for run in first if run["muon_lr"] == best[run["arm"]]]
    runs += measured.at_once(measure, cells, options.jobs, options.json)
    tried = [{key: run[key] for key in ("arm", "muon_lr", "seed", "train/loss", "val/loss")} for run in first]
    measured.write(options.json, "experiments.worth.measure", runs, tried=tried)


if __name__ == "__main__":
    run_door(main)
