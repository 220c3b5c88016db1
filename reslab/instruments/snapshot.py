"""What a batch shows of a model on its way through: streams, branches and gradients, by hooks that are gone
afterwards.

It runs uncompiled, in float32, without recomputation. It draws no random number and leaves no gradient, so
losses with probes on and off are bitwise equal.
"""

from dataclasses import dataclass
from functools import partial

import torch

from reslab.system.device import uncompiled


@dataclass
class Snapshot:
    """One batch seen in passing; L blocks, sequences of T tokens, width C."""

    streams: list[torch.Tensor]
    """L + 1 tensors (B, T, C): before each block, and after the last."""
    stream_gradients: list[torch.Tensor]
    """dL/dh of the same."""
    branches: list[tuple[torch.Tensor, torch.Tensor]]
    """2L pairs (x, F): what a sublayer's stream was, and what its branch gave, each (B, T, C)."""
    normed: list[torch.Tensor]
    """L inputs (B, T, C) of the attention branches."""
    crossings: list["Crossing | None"]
    """2L, attention and MLP in turn; None where a wiring carries more than x."""
    gradients: dict[str, torch.Tensor]
    """Parameter name -> gradient."""
    model: torch.nn.Module


@dataclass
class Crossing:
    """The gradient on the backward pass across y = skip x + F(x); each tensor (B, T, C).

    Where a norm or a gate stands on the skip, which is then no constant, it does not split.
    """

    skip: float | None
    arrived: torch.Tensor
    """dL/dy."""
    through_branch: torch.Tensor | None
    """dF/dx^T dL/dy, as it comes out of the branch."""
    left: torch.Tensor
    """dL/dx."""

    @property
    def through_skip(self) -> torch.Tensor | None:
        return None if self.skip is None else self.skip * self.arrived


class _Watch:
    """Hooks on a model that keep what one forward pass shows, until remove()."""

    def __init__(self, model):
        self.streams, self.values, self.branches, self.normed = [], [], [], []
        self.middles, self.entries = [], {}  # streams between attention and MLP; sublayer -> x as F reads it
        self.sublayers = [pair for block in model.blocks for pair in block.sublayers()]
        self.handles = []
        for block in model.blocks:
            self._before(block, partial(self._stream, block.attn_residual))
            self._before(block.attn, lambda x: self.normed.append(x.detach()))
            self._before(block.mlp_residual, partial(self._middle, block.mlp_residual))
        for sublayer, (residual, branch) in enumerate(self.sublayers):
            self._before(residual, partial(self._arrive, residual))
            self.handles.append(branch.register_forward_hook(self._leave))
            if residual.skip is not None:
                self._enter(sublayer, residual.norm)
        block = model.blocks[-1]
        last = block.register_forward_hook(lambda _, args, out: self._stream(block.mlp_residual, out))
        self.handles.append(last)

    def _before(self, module, look) -> None:
        self.handles.append(module.register_forward_pre_hook(lambda _, args: look(args[0])))

    def _stream(self, residual, stream) -> None:
        self.streams.append(residual.running(stream))
        self.values.append(residual.read(stream).detach())

    def _middle(self, residual, stream) -> None:
        self.middles.append(residual.running(stream))

    def _arrive(self, residual, stream) -> None:
        self.x = residual.read(stream)

    def _leave(self, module, args, output) -> None:
        self.branches.append((readable(self.x.detach()), readable(output.detach())))

    def _enter(self, sublayer: int, first) -> None:
        """Give what a branch reads a node of its own: what comes back to it has passed the branch alone."""

        def alias(module, args):
            self.entries[sublayer] = args[0].view_as(args[0])
            return (self.entries[sublayer],)

        self.handles.append(first.register_forward_pre_hook(alias))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def crossings(self, reached, between, back) -> list[Crossing | None]:
        """From dL/dh of the streams, of those between, and of the entries: one Crossing per sublayer."""
        arrivals = [g for pair in zip(reached, [*between, None], strict=True) for g in pair]
        came_back = dict(zip(self.entries, back, strict=True))
        return [
            Crossing(residual.skip, arrivals[k + 1], came_back.get(k), arrivals[k])
            if residual.single_tensor
            else None
            for k, (residual, _) in enumerate(self.sublayers)
        ]


def snapshot(
    model, inputs: torch.Tensor, targets: torch.Tensor, share: float = 1.0, gradients: dict | None = None
) -> Snapshot:
    """Run sequences through the model and look.

    Args:
        model: the GPT; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device.
        share: what part of a larger batch these sequences are; gradients are of that batch's loss.
        gradients: those of the parameters by earlier parts of it; these are added to them, one at a time.
    """
    training, gradients = model.training, {} if gradients is None else gradients
    model.eval()
    watch = _Watch(model)
    names, parameters = zip(*model.named_parameters(), strict=True)
    watch.handles += [_collect(gradients, *named) for named in zip(names, parameters, strict=True)]
    try:
        with torch.enable_grad(), uncompiled():
            loss = model.loss(inputs, targets) * share
            groups = [watch.streams, watch.middles, watch.entries.values()]
            wanted = [tensor for group in groups for tensor in group]
            # Of the parameters zeros come back: what they are worth has been collected by then.
            found = torch.autograd.grad(loss, [*wanted, *parameters], allow_unused=True)
    finally:
        watch.remove()
        model.train(training)
    whole = (torch.zeros_like(x) if g is None else g for x, g in zip(wanted, found, strict=False))
    found = map(readable, whole)
    reached, between, back = ([next(found) for _ in group] for group in groups)
    # Moving n parallel streams together moves their mean: its gradient is the sum of theirs.
    reached = [g.sum(dim=0) if g.dim() == 4 else g for g in reached]
    seen = [readable(value) for value in watch.values]
    crossings = watch.crossings(reached, between, back)
    for name, parameter in zip(names, parameters, strict=True):
        if name not in gradients:
            gradients[name] = readable(torch.zeros_like(parameter))
    return Snapshot(seen, reached, watch.branches, watch.normed, crossings, gradients, model)


def _collect(gradients: dict, name: str, parameter: torch.Tensor):
    """A hook that adds a parameter's gradient to gradients[name] as soon as it is there, and leaves a number
    in its place: the gradients of all parameters are in memory once, however many parts a batch has."""

    def add(gradient):
        new = readable(gradient.detach())
        gradients[name] = gradients[name] + new if name in gradients else new
        return gradient.new_zeros(()).expand_as(gradient)

    return parameter.register_hook(add)


def readable(tensor: torch.Tensor) -> torch.Tensor:
    """Where float64 exists: Apple's GPUs have none."""
    return tensor.cpu() if tensor.device.type == "mps" else tensor
