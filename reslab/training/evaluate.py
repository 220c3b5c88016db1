"""How good a model is: its loss on fixed sequences of both splits, the same for every arm and depth."""

import math
from collections.abc import Callable

import torch

from reslab.data.dataset import TokenDataset
from reslab.run.settings import TrainConfig
from reslab.system import device
from reslab.system.parallel import SINGLE, Single
from reslab.training.state import TrainState


@torch.no_grad()
def evaluate(
    state: TrainState,
    config: TrainConfig,
    dataset: TokenDataset,
    strategy: Single = SINGLE,
    before_batch: Callable[[], None] = lambda: None,
) -> dict:
    """Loss on the fixed sequences of both splits, in nats per token, and its standard error over them.

    Args:
        before_batch: is called by all ranks before each batch; what it raises ends the evaluation.
    """
    run_device = next(state.model.parameters()).device
    dtype = device.pick_dtype(config.dtype, str(run_device), config.model.n_embd)
    state.model.eval()
    row = {}
    for split in ("train", "val"):
        starts = torch.from_numpy(dataset.eval_starts(split, config.eval_sequences))
        indices, means = strategy.dist.shard_indices(len(starts)), []
        for some in indices.split(config.batch_size):
            before_batch()
            x, y = dataset.sequences(split, starts[some.clamp(max=len(starts) - 1)].numpy())
            x, y = torch.stack((x, y)).to(run_device)  # in one copy; each (B, T)
            with device.autocast(str(run_device), dtype):
                means.append(state.model.token_losses(x, y).mean(dim=1))
        real = indices < len(starts)  # the others pad
        losses = torch.zeros(len(starts), dtype=torch.float64)
        losses[indices[real]] = torch.cat(means).cpu().double()[real]  # read once for all batches
        losses = strategy.dist.all_reduce_sum(losses)  # each sequence is zero on all ranks but one
        row[f"{split}/loss"] = losses.mean().item()
        row[f"{split}/loss_se"] = (losses.std() / len(losses) ** 0.5).item() if len(losses) > 1 else 0.0
    counts = dataset.meta["splits"]["val"]
    bits = row["val/loss"] / math.log(2) * counts["tokens"]
    row["val/perplexity"] = math.exp(min(row["val/loss"], 700))
    if words := counts.get("words"):
        row["val/word_perplexity"] = math.exp(min(row["val/loss"] * counts["tokens"] / words, 700))
    return row | {"val/bits_per_char": bits / counts["chars"], "val/bits_per_byte": bits / counts["bytes"]}
