"""What is measured on a model from outside, by hooks that are gone afterwards."""

import torch


def first_bad_layer(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> str:
    """Where a batch first turns non-finite, for the record of a run that diverged.

    The forward pass is searched from the first block up, the backward pass from the last one down.

    Args:
        inputs, targets: token ids (B, T) on the model's device.
    """
    bad = []

    def look(name):
        def hook(module, args, output):
            tensors = output if isinstance(output, tuple | list) else [output]
            if not all(t.isfinite().all() for t in tensors if torch.is_tensor(t)):
                bad.append(name)

        return hook

    handles = [
        block.register_forward_hook(look(f"block {k}, forward")) for k, block in enumerate(model.blocks)
    ]
    try:
        _, loss = model(inputs, targets)
        if bad:
            return bad[0]
        if not loss.isfinite():
            return "head, forward"
        names, parameters = zip(*model.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()
    for name, gradient in reversed(list(zip(names, gradients, strict=True))):
        if gradient is not None and not gradient.isfinite().all():
            return f"{name}, backward"
    return "nowhere in float32: the precision of the run overflowed"
