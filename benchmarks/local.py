"""Cases that concern this repository alone: data, checkpoints, probes, the loss of a large vocabulary."""

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.kernels import kernels
from benchmarks.sides import OURS_DEFAULTS
from benchmarks.turns import ratios, summary
from reslab.data import corpus, pool
from reslab.data.dataset import open_dataset
from reslab.data.tokenizer import make_tokenizer
from reslab.instruments import probes
from reslab.nn import loss as loss_module
from reslab.run import checkpoint
from reslab.run.configfile import read_config_file
from reslab.run.fields import from_flat
from reslab.run.settings import TrainConfig
from reslab.system import device
from reslab.system.parallel import Single
from reslab.training.step import make_state, next_batch, train_step


def timed(function, turns: int = 5) -> list[float]:
    """The seconds of some calls."""
    durations = []
    for _ in range(turns):
        begin = time.perf_counter()
        function()
        durations.append(time.perf_counter() - begin)
    return durations


def write(text: str, encoder, jobs: int) -> None:
    """Write a dataset and throw it away."""
    with tempfile.TemporaryDirectory() as folder:
        corpus.write_dataset(Path(folder), lambda: [text], encoder, "bench", quiet=True, jobs=jobs)


def data(quick: bool) -> dict:
    """MB/s of text through write_dataset, on one core and on all, against the tokenizer alone."""
    import inspect

    stdlib = sorted(Path(inspect.__file__).parent.glob("[a-z]*/*.py"))  # read up to the size that is needed
    most, text = 2_000_000 if quick else 8_000_000, ""
    while stdlib and len(text) < most:
        text += stdlib.pop().read_text(encoding="utf-8", errors="replace")
    text = text[:most]
    size = len(text.encode()) / 1e6
    speeds, spreads = {"text_MB": round(size, 1)}, []
    for name in ("char", "byte", "bpe:1024"):
        sample = [text[:1_000_000]]
        encoder = make_tokenizer(name, iter(sample), "".join(sorted(set(text))))
        pieces = list(corpus.split_safely([text]))
        ways = {"bare_MB_per_s": lambda encoder=encoder, pieces=pieces: list(map(encoder.encode, pieces))}
        for jobs in sorted({1, pool.cores()}):
            ways[f"written_MB_per_s_{jobs}_core{'s' * (jobs > 1)}"] = partial(write, text, encoder, jobs)
        told = {key: summary(timed(way)) for key, way in ways.items()}
        spreads += [one["spread"] for one in told.values()]
        row = {key: size / one["median_s"] for key, one in told.items()}
        speeds[name] = {key: round(value, 1) for key, value in row.items()}
        speeds[name]["one_core_share_of_bare"] = round(
            row["written_MB_per_s_1_core"] / row["bare_MB_per_s"], 3
        )
    return speeds | {"largest_spread": max(spreads)}


def small_run(**settings):
    """State, config and dataset of a run on the default corpus."""
    config = from_flat(TrainConfig, OURS_DEFAULTS | settings)
    run_device = device.pick_device("auto")
    device.prepare_torch(run_device)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    return make_state(config, dataset.vocab_size, Single(run_device)), config, dataset


def save(quick: bool) -> dict:
    """Seconds to save a checkpoint of the 6-layer model after an update, optimizer included."""
    state, config, dataset = small_run(n_layer=6, n_head=6, n_embd=384, batch_size=1)
    train_step(state, next_batch(dataset, config, state.step), config)
    with tempfile.TemporaryDirectory() as folder:
        to = Path(folder) / "last"
        durations = timed(
            lambda: checkpoint.save(to, state.model, {"optimizer": state.optimizer.state_dict()}, {"step": 1})
        )
        size = sum(path.stat().st_size for path in to.iterdir()) / 1e6
    told = summary(durations)
    took = told["median_s"]
    result = {"MB": round(size, 1), "save_s": round(took, 3), "MB_per_s": round(size / took)}
    return result | {"largest_spread": told["spread"]}


def probe(quick: bool) -> dict:
    """Update and probe in turns, and the share of the run that the probes take at the config's cadence."""
    root = Path(__file__).resolve().parents[1]
    settings = read_config_file(str(root / "config" / "laptop.py"))
    state, config, dataset = small_run(**settings)
    run_device = str(next(state.model.parameters()).device)
    sequences = dataset.sequences("train", dataset.eval_starts("train", config.probe_sequences))
    x, y = (t.to(run_device) for t in sequences)
    updates, probings, steps = [], [], 5
    for number in range(3 if quick else 6):
        begin = time.perf_counter()
        for _ in range(steps):
            train_step(state, next_batch(dataset, config, state.step), config)
        device.synchronize(run_device)
        middle = time.perf_counter()
        watched = probes.block_matrices(state.model)
        probes.measure_batch(state.model, x, y)
        probes.update_ratio(state.model, watched)
        device.synchronize(run_device)
        if number:  # the first round warms up
            updates.append((middle - begin) / steps)
            probings.append(time.perf_counter() - middle)
    told, ends = [summary(updates), summary(probings)], config.optim.max_iters
    update, probing = (one["median_s"] for one in told)
    count = sum(probes.due(step, config.eval_interval, step == ends) for step in range(ends + 1))
    share = count * probing / (count * probing + ends * update)
    result = {"update_s": update, "probe_s": probing, "probes": count, "share_of_run": round(share, 4)}
    return result | {"largest_spread": max(one["spread"] for one in told)}


def loss(quick: bool) -> dict:
    """Forward and backward of the loss over GPT-2's vocabulary, width 128, logits held or not."""
    run_device = device.pick_device("auto")
    device.prepare_torch(run_device)
    tokens, width, vocabulary = 768, 128, 50257
    inputs = torch.randn(1, tokens, width, device=run_device, requires_grad=True)
    weight = torch.randn(vocabulary, width, device=run_device, requires_grad=True)
    drawn = np.random.default_rng(0).integers(vocabulary, size=(1, tokens))
    targets = torch.from_numpy(drawn).to(run_device)

    def step(way, dtype):
        with device.autocast(run_device, dtype):  # anew, since it keeps the weights that it has cast
            way(inputs, weight, targets).backward()
        device.synchronize(run_device)

    ways = {"held": loss_module.whole_loss, "ours": loss_module.linear_cross_entropy}
    told = {}
    for dtype in ("float32", "bfloat16"):
        turns = {name: [] for name in ways}
        for _ in range(3 if quick else 9):
            for name, way in ways.items():
                turns[name] += timed(partial(step, way, dtype), 1)
        turns = {name: durations[1:] for name, durations in turns.items()}  # the first warms up
        told[dtype] = ratios(turns)["ours against held"] | {"ours_s": summary(turns["ours"])["median_s"]}
    return {"tokens": tokens, "width": width, "vocabulary": vocabulary, "held_over_ours": told}


TASKS = {"kernels": kernels, "data": data, "checkpoint": save, "probe": probe, "loss": loss}
