r"""Measures what docs/scale.md works out: memory and speed of a rank, for a shape.

    torchrun --nproc_per_node=8 benchmarks/scale.py --n_layer=48 --n_embd=1600 --n_head=25 --shard=fsdp
    MALLOC_MMAP_THRESHOLD_=65536 torchrun --nproc_per_node=2 benchmarks/scale.py --n_layer=12 --n_embd=512 \
        --n_head=8 --block_size=128 --batch_size=2 --dtype=float32 --device=cpu --shard=fsdp

All settings of train.py are taken. Trains ten updates on the standard library's text, without probes and
evaluations, and prints what a rank holds at most beside what system/memory.py says. On a CPU that is the
memory of the process; the variable makes the C library give freed memory back, else its heap keeps holes.
"""

import os
import resource
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

import reslab.system.fsdp  # noqa: F401  (so that what importing it takes is not counted)
from reslab.data.dataset import open_dataset
from reslab.run import config as configure
from reslab.run.log import read_run
from reslab.run.settings import TrainConfig
from reslab.system import device, distributed, memory
from reslab.training.loop import train
from reslab.training.step import train_step

UPDATES = 10


def peak_bytes(run_device: str) -> int:
    """The most memory that this process has held: on its GPU, or as the system counts it."""
    if run_device.startswith("cuda"):
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(argv: list[str]) -> int:
    config = configure.parse(TrainConfig, argv).config
    dist = distributed.from_torchrun_env()
    run_device = distributed.local_device(device.pick_device(config.device), dist)
    before = peak_bytes(run_device) if run_device == "cpu" else 0
    peaks = []

    def measured_step(*args):
        metrics = train_step(*args)
        peaks.append(peak_bytes(run_device) - before)
        return metrics

    folder = Path(tempfile.gettempdir()) / f"scale-{os.environ.get('MASTER_PORT', os.getpid())}"
    optim = replace(config.optim, max_iters=UPDATES, warmup_iters=0)
    settings = {
        "eval_interval": UPDATES,
        "eval_sequences": dist.world_size,
        "log_interval": UPDATES // 2,
        "sample_tokens": 0,
    }
    config = replace(config, optim=optim, out_dir=str(folder), probes=False, overwrite=True, **settings)
    code = train(config, measured_step)
    if dist.is_main:
        report(config, dist, run_device, read_run(folder).last("tokens_per_s"))
        shutil.rmtree(folder)
    print(f"measured: rank {dist.rank} held {max(peaks) / 1e6:,.0f} MB at most", flush=True)
    return code


def report(config, dist, run_device: str, rate: float) -> None:
    """Print what was worked out, and the speed."""
    size, _ = distributed.split_batch(config.batch_size, config.gradient_accumulation_steps, dist.world_size)
    model, shards = config.model, config.shard == "fsdp"
    dataset = open_dataset(config.dataset, model.block_size, 0)
    shape = memory.Shape(
        model.n_layer,
        model.n_embd,
        model.n_head,
        model.vocab_size or dataset.vocab_size,
        model.block_size,
        size,
    )
    half = device.pick_dtype(config.dtype, run_device, model.n_embd) == "bfloat16"
    state = memory.state_bytes(shape, dist.world_size, shards)
    activations = memory.activation_bytes(shape, half, config.activation_checkpointing)
    logits = memory.logit_bytes(shape)
    parts = {"state": state, "activations": activations, "logits": logits}
    sizes = " + ".join(f"{name} {size / 1e6:,.0f}" for name, size in parts.items())
    print(f"{shape.parameters / 1e6:,.1f}M parameters, {dist.world_size} ranks, {run_device}, {config.shard}")
    print(f"worked out: {sizes} = {sum(parts.values()) / 1e6:,.0f} MB")
    print(f"measured: {rate:,.0f} tokens/s of all ranks", flush=True)


if __name__ == "__main__":
    configure.run_door(main)
