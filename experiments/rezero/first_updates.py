"""Trains the first updates of ReZero's 128 layers in two other ways, to see why one seed is lost there.

    python -m experiments.rezero.first_updates --json experiments/rezero/first_updates.json

Both sublayers of a block share one weight a, as in the authors' code, where the lab has one for each; or all
is computed in float32. The rest is config/rezero.py, whose own first updates are in begun.json.
"""

import os
from dataclasses import replace

from experiments import measured
from reslab.run.config import run_door

CONFIG = "config/rezero.py"
UPDATES = 60
SHARED, PRECISE = "one a in a block", "float32"
SEEDS = (1, 2, 3, 4, 5, 6)
LOSSES = ("train/loss", "val/loss", "val/loss_se")


def measure(cell: tuple[str, int]) -> dict:
    """Train one stack: its record in the result."""
    import torch

    from reslab.data.dataset import open_dataset
    from reslab.run.config import parse
    from reslab.run.settings import TrainConfig
    from reslab.training.evaluate import evaluate
    from reslab.training.step import make_state

    torch.set_num_threads(1)
    way, seed = cell
    dtype = "float32" if way == PRECISE else "bfloat16"
    settings = ["--residual=rezero", "--n_layer=128", f"--seed={seed}", f"--max_iters={UPDATES}"]
    config = parse(TrainConfig, [CONFIG, *settings, f"--dtype={dtype}"], leave_out=("study",)).config
    config = replace(config, device="cpu", compile=False)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size)
    if way == SHARED:
        for block in state.model.blocks:
            block.mlp_residual.alpha = block.attn_residual.alpha
    status = measured.train(state, dataset, config)
    run = {"run": f"{way}, seed {seed}", "way": way, "seed": seed, "step": state.step, "status": status}
    if status == "diverged":
        return run | dict.fromkeys(LOSSES)
    row = evaluate(state, config, dataset)
    return run | {key: round(row[key], 4) for key in LOSSES}


def main(argv: list[str]) -> None:
    options = measured.arguments(__doc__, jobs=os.cpu_count()).parse_args(argv)
    cells = [(way, seed) for way in (SHARED, PRECISE) for seed in SEEDS]
    runs = measured.at_once(measure, cells, options.jobs, options.json)
    measured.write(options.json, "experiments.rezero.first_updates", runs)


if __name__ == "__main__":
    run_door(main)
