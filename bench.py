"""Speed, as ratios inside one run: what a probe costs a training.

    python bench.py config/laptop.py

Times updates and probes in turns in one process, and reports the share of the run that the probes take at
the config's own cadence.
"""

import statistics
import time

import torch

from reslab import configure, device, probes
from reslab.dataset import open_dataset
from train import TrainConfig, make_state, train_step

ROUNDS = 5
STEPS = 5  # updates per round


def main(words: list[str]) -> int:
    config, _ = configure.parse(TrainConfig, words, leave_out=("study",))
    run_device = device.pick_device(config.device)
    device.prepare_torch(run_device)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    state = make_state(config, dataset.vocab_size, run_device)
    x, y = (
        t.to(run_device) for t in dataset.windows("train", dataset.eval_starts("train", config.probe_windows))
    )
    updates, looks = [], []
    for number in range(ROUNDS + 1):
        begin = time.perf_counter()
        for _ in range(STEPS):
            train_step(state, config, dataset)
            state.step += 1
        device.synchronize(run_device)
        middle = time.perf_counter()
        watched = probes.block_matrices(state.model)
        probes.measure(probes.snapshot(state.model, x, y))
        probes.update_ratio(state.model, watched)
        device.synchronize(run_device)
        if number:  # the first round warms up
            updates.append((middle - begin) / STEPS)
            looks.append(time.perf_counter() - middle)
    update, look = statistics.median(updates), statistics.median(looks)
    steps = range(config.optim.max_iters + 1)
    count = sum(probes.due(step, config.eval_interval, step == config.optim.max_iters) for step in steps)
    share = count * look / (count * look + config.optim.max_iters * update)
    print(f"update {update * 1e3:.0f} ms, probe {look * 1e3:.0f} ms = {look / update:.1f} updates")
    print(
        f"{count} probes in {config.optim.max_iters} updates take {share:.1%} of the run without evaluations"
    )
    print(f"torch {torch.__version__}, {run_device}, {torch.get_num_threads()} threads")
    return 0


if __name__ == "__main__":
    configure.run_door(main)
