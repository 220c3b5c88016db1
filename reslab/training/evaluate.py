"""How good a model is: its loss on fixed windows of both splits, the same for every arm and depth."""

import math

import torch

from reslab.data.dataset import TokenDataset
from reslab.system import device
from reslab.training.state import TrainState


@torch.no_grad()
def evaluate(state: TrainState, config, dataset: TokenDataset) -> dict:
    """Loss on the fixed windows of both splits, in nats per token, with the standard error over windows."""
    run_device = next(state.model.parameters()).device
    state.model.eval()
    row = {}
    for split in ("train", "val"):
        starts = torch.from_numpy(dataset.eval_starts(split, config.eval_windows))
        losses = torch.zeros(len(starts), dtype=torch.float64)
        for mine in state.ranks.part(len(starts)).split(config.batch_size):
            x, y = dataset.windows(split, starts[mine.clamp(max=len(starts) - 1)].numpy())
            with device.autocast(str(run_device), state.dtype):
                each = state.model.token_losses(x.to(run_device), y.to(run_device))  # (B, T)
            there = mine < len(starts)
            losses[mine[there]] = each.mean(dim=1).cpu().double()[there]
        losses = state.ranks.sum(losses)  # each window is zero on all ranks but one
        row[f"{split}/loss"] = losses.mean().item()
        row[f"{split}/loss_se"] = (losses.std() / len(losses) ** 0.5).item() if len(losses) > 1 else 0.0
    counts = dataset.meta["splits"]["val"]
    bits = row["val/loss"] / math.log(2) * counts["tokens"]
    row["val/perplexity"] = math.exp(min(row["val/loss"], 700))
    return row | {"val/bits_per_char": bits / counts["chars"], "val/bits_per_byte": bits / counts["bytes"]}
