"""How good a model is: its loss on fixed sequences of both splits, the same for every arm and depth."""

import math

import torch

from reslab.data.dataset import TokenDataset
from reslab.system import device
from reslab.training.state import TrainState


@torch.no_grad()
def evaluate(state: TrainState, config, dataset: TokenDataset) -> dict:
    """Loss on the fixed sequences of both splits, in nats per token, and its standard error over them."""
    run_device = next(state.model.parameters()).device
    state.model.eval()
    row = {}
    for split in ("train", "val"):
        starts = torch.from_numpy(dataset.eval_starts(split, config.eval_sequences))
        losses = torch.zeros(len(starts), dtype=torch.float64)
        for mine in state.ranks.shard_indices(len(starts)).split(config.batch_size):
            x, y = dataset.sequences(split, starts[mine.clamp(max=len(starts) - 1)].numpy())
            with device.autocast(str(run_device), state.dtype):
                each = state.model.token_losses(x.to(run_device), y.to(run_device))  # (B, T)
            there = mine < len(starts)
            losses[mine[there]] = each.mean(dim=1).cpu().double()[there]
        losses = state.ranks.all_reduce_sum(losses)  # each sequence is zero on all ranks but one
        row[f"{split}/loss"] = losses.mean().item()
        row[f"{split}/loss_se"] = (losses.std() / len(losses) ** 0.5).item() if len(losses) > 1 else 0.0
    counts = dataset.meta["splits"]["val"]
    bits = row["val/loss"] / math.log(2) * counts["tokens"]
    row["val/perplexity"] = math.exp(min(row["val/loss"], 700))
    return row | {"val/bits_per_char": bits / counts["chars"], "val/bits_per_byte": bits / counts["bytes"]}
