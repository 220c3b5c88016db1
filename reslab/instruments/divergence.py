"""Where a run stopped being finite."""

import torch

from reslab.data.dataset import TokenDataset
from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.hooks import after, remove
from reslab.system.device import uncompiled

NOWHERE = "nowhere in float32: the precision of the run, or the sum over its batches, overflowed"


def trace(
    model: torch.nn.Module, dataset: TokenDataset, step: int, accumulation: int, batch_size: int
) -> dict:
    """What a row tells of a batch that gave a loss or a gradient that is not finite.

    Args:
        model: as it was for that batch; where it drops out, seed torch as for the update.
        step: of the batch, which is `accumulation` times batch_size sequences of train.

    Returns:
        first_bad (layer), sequence_starts (of the first part that is bad), status, diagnosis.
    """
    device = next(model.parameters()).device
    for starts in dataset.starts("train", step, accumulation * batch_size).reshape(accumulation, batch_size):
        x, y = dataset.sequences("train", starts)
        where = first_bad_layer(model, x.to(device), y.to(device))
        if where != NOWHERE:
            break
    text = f"diverged at step {step}: the loss or its gradient is not finite; first bad: {where}"
    return {"first_bad": where, "sequence_starts": starts.tolist(), "status": "diverged", "diagnosis": text}


def first_bad_layer(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> str:
    """Where a batch first turns non-finite, for the record of a run that diverged.

    The forward pass is searched from the first block up, the backward pass from the last one down.

    Args:
        inputs, targets: token ids (B, T) on the model's device.
    """
    anatomy, bad = anatomy_of(model), []

    def watch(name):
        def look(x, output):
            if not anatomy.read(output).isfinite().all():
                bad.append(name)

        return look

    with uncompiled():
        handles = [after(block, watch(f"block {k}, forward")) for k, block in enumerate(anatomy.blocks)]
        try:
            loss = anatomy.loss(inputs, targets)
        finally:
            remove(handles)
        if bad:
            return bad[0]
        if not loss.isfinite():
            return "head, forward"
        named = [(name, p) for name, p in anatomy.model.named_parameters() if p.requires_grad]
        names, parameters = zip(*named, strict=True)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    for name, gradient in reversed(list(zip(names, gradients, strict=True))):
        if gradient is not None and not gradient.isfinite().all():
            return f"{name}, backward"
    return NOWHERE
