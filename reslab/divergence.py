"""Where a run stopped being finite."""

import torch

from reslab.dataset import TokenDataset
from reslab.probes import NOWHERE, first_bad_layer


def trace(model: torch.nn.Module, dataset: TokenDataset, step: int, parts: int, batch_size: int) -> dict:
    """What a row tells of a batch that gave a loss or a gradient that is not finite.

    Args:
        model: as it was for that batch; where it drops out, seed torch as for the update.
        step: of the batch, which is `parts` times batch_size windows of train.

    Returns:
        first_bad (layer), window_starts (of the first part that is bad), status, verdict.
    """
    device = next(model.parameters()).device
    for starts in dataset.starts("train", step, parts * batch_size).reshape(parts, batch_size):
        x, y = dataset.windows("train", starts)
        where = first_bad_layer(model, x.to(device), y.to(device))
        if where != NOWHERE:
            break
    said = f"diverged at step {step}: the loss or its gradient is not finite; first bad: {where}"
    return {"first_bad": where, "window_starts": starts.tolist(), "status": "diverged", "verdict": said}
