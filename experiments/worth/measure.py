"""Measures what the layers of small stacks are worth: lesions, blocks that suffice, one that learns alone.

    python -m experiments.worth.measure --json experiments/worth/result.json

Each stack is config/worth.py as its arm says. Lesions and random sets are those of Veit et al. 2016 (arXiv
1605.06431), see autopsy.py.
"""

import os
from dataclasses import replace

from experiments import measured
from experiments.tables import best_rate, group_by
from reslab.run.config import run_door

CONFIG = "config/worth.py"
FAST, CALM = (1.5e-2, 5e-2, 1.5e-1), (5e-4, 1.5e-3, 5e-3)  # rates of the blocks
ARMS = {  # settings, and the rates of which an arm has its best
    "pre": (["--residual=pre"], FAST),
    "depth_mup": (["--residual=depth_mup"], FAST),
    "keel": (["--residual=keel"], (*FAST, 5e-1)),
    "none, self": (["--residual=none", "--init=self"], CALM),
    "none": (["--residual=none"], CALM),
    "silent": (["--residual=silent"], (5e-3,)),  # the control: it has no blocks, so no rate of theirs
}
ALONE = range(12)  # blocks of which one learns while the others stay as they start
ALLOWED = 0.01  # nats that all blocks taken out together may cost
SEEDS = (1, 2, 3)
LOSSES = ("train/loss", "val/loss", "val/loss_se")
TRIED = ("arm", "muon_lr", "seed", "train/loss", "val/loss")  # what is kept of a rate that is not the best
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
    """Train one stack and look into it: its record in result.json."""
    import torch

    from reslab.data.dataset import open_dataset
    from reslab.run.config import parse
    from reslab.run.settings import TrainConfig
    from reslab.training.evaluate import evaluate
    from reslab.training.step import make_state

    torch.set_num_threads(1)
    arm, rate, learns, seed = cell
    config = parse(TrainConfig, [CONFIG, *ARMS[arm][0], f"--muon_lr={rate}", f"--seed={seed}"]).config
    config = replace(config, device="cpu", dtype="float32")
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size)
    freeze(state.model, learns)
    run = {"run": f"{arm} at {rate:g}: {learns}, seed {seed}", "arm": arm, "muon_lr": rate, "learns": learns}
    run |= {"n_layer": config.model.n_layer, "seed": seed}
    status = measured.train(state, dataset, config)
    run |= {"step": state.step, "status": status}
    if status == "diverged":
        return run | dict.fromkeys(LOSSES)
    row = evaluate(state, config, dataset)
    run |= {key: round(row[key], 4) for key in LOSSES}
    if learns == "all":
        run |= taken_out(state.model, *dataset.sequences("val", dataset.eval_starts("val", SEQUENCES)))
    return run


def chosen(runs: list[dict]) -> dict[str, float]:
    """The rate of each arm at which all its blocks together end lowest on the training data."""
    return {arm: best_rate(own, "muon_lr")[0] for (arm,), own in group_by(runs, "arm").items()}


def main(argv: list[str]) -> None:
    options = measured.arguments(__doc__, jobs=os.cpu_count()).parse_args(argv)
    whole = [(arm, rate, "all", seed) for arm, (_, rates) in ARMS.items() for rate in rates for seed in SEEDS]
    tried = measured.at_once(measure, whole, options.jobs, options.json)
    rates = chosen(tried)
    arms = [arm for arm in ARMS if arm != "silent"]
    frozen = [(arm, rates[arm], k, seed) for arm in arms for k in ("no block", *ALONE) for seed in SEEDS]
    runs = measured.at_once(measure, whole + frozen, options.jobs, options.json)  # goes on from those tried
    best = [run for run in runs if run["muon_lr"] == rates[run["arm"]]]
    rest = [{key: run[key] for key in TRIED} for run in runs if run not in best]
    measured.write(options.json, "experiments.worth.measure", best, tried=rest)


if __name__ == "__main__":
    run_door(main)
