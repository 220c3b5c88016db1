"""What a batch shows of a model at the sites of its blocks: streams, branches and gradients.

The sites of a block, in the order of the forward pass:

    resid_pre -> attn_branch -> attn_out -> resid_mid -> mlp_branch -> mlp_out -> resid_post

attn_branch and mlp_branch are what the branch F gives; attn_out and mlp_out are what the wiring adds to
skip x, with its gain and its outer norm. The hooks are gone afterwards. A snapshot runs uncompiled, in
float32, without recomputation. It draws no random number and leaves no gradient, so losses with probes on
and off are bitwise equal.
"""

from dataclasses import dataclass
from functools import partial

import torch

from reslab.system.device import uncompiled


@dataclass
class SublayerGradients:
    """The gradient on the backward pass across y = skip x + F(x); each tensor (B, T, C)."""

    skip: float | None
    """None where a norm or a gate stands on the skip, or more than x is carried: then it does not split."""
    grad_out: torch.Tensor
    """dL/dy."""
    through_branch: torch.Tensor | None
    """(dF/dx)^T dL/dy, as it comes out of the branch."""
    grad_in: torch.Tensor
    """dL/dx."""

    @property
    def through_skip(self) -> torch.Tensor | None:
        return None if self.skip is None else self.skip * self.grad_out


@dataclass
class Snapshot:
    """One batch at the sites of L blocks; sequences of T tokens, width C. Tensors are (B, T, C).

    Lists over sublayers hold attention and MLP in turn (2L).
    """

    resid: list[torch.Tensor]
    """The stream around the sublayers (2L + 1): resid_pre, resid_mid, resid_pre, ..., the last resid_post."""
    resid_gradients: list[torch.Tensor]
    """dL/dh of the same."""
    branch: list[torch.Tensor]
    """What F gives (2L)."""
    attn_input: list[torch.Tensor]
    """What the attention branches read (L)."""
    branch_gradients: list[torch.Tensor | None]
    """(dF/dx)^T dL/dy (2L); None where the gradient does not split into skip and branch."""
    gradients: dict[str, torch.Tensor]
    """Parameter name -> gradient."""
    model: torch.nn.Module

    @property
    def resid_pre(self) -> list[torch.Tensor]:
        return self.resid[:-1:2]

    @property
    def resid_mid(self) -> list[torch.Tensor]:
        return self.resid[1::2]

    @property
    def resid_post(self) -> list[torch.Tensor]:
        return self.resid[2::2]

    @property
    def attn_branch(self) -> list[torch.Tensor]:
        return self.branch[::2]

    @property
    def mlp_branch(self) -> list[torch.Tensor]:
        return self.branch[1::2]

    @property
    def attn_out(self) -> list[torch.Tensor | None]:
        return [self.added(k) for k in range(0, len(self.branch), 2)]

    @property
    def mlp_out(self) -> list[torch.Tensor | None]:
        return [self.added(k) for k in range(1, len(self.branch), 2)]

    @property
    def streams(self) -> list[torch.Tensor]:
        """resid_pre of each block, and resid_post of the last (L + 1)."""
        return self.resid[::2]

    @property
    def stream_gradients(self) -> list[torch.Tensor]:
        """dL/dh of the same."""
        return self.resid_gradients[::2]

    def skip(self, sublayer: int) -> float | None:
        """The constant weight of x in y; None where there is none."""
        return sublayers(self.model)[sublayer][0].skip

    def added(self, sublayer: int) -> torch.Tensor | None:
        """y - skip x of a sublayer, measured on the stream; None without a constant skip."""
        skip = self.skip(sublayer)
        return None if skip is None else self.resid[sublayer + 1] - skip * self.resid[sublayer]

    def sublayer_gradients(self, sublayer: int) -> SublayerGradients:
        grad_in, grad_out = self.resid_gradients[sublayer : sublayer + 2]
        return SublayerGradients(self.skip(sublayer), grad_out, self.branch_gradients[sublayer], grad_in)


def sublayers(model) -> list[tuple[torch.nn.Module, torch.nn.Module]]:
    """(wiring, branch) of each sublayer, attention and MLP in turn (2L)."""
    return [pair for block in model.blocks for pair in block.sublayers()]


class _Recorder:
    """Hooks on a model that keep what one forward pass shows, until remove()."""

    def __init__(self, model):
        self.resid, self.values, self.branch, self.attn_input = [], [], [], []
        self.branch_inputs = {}  # sublayer -> x as F reads it
        self.handles = []
        for block in model.blocks:
            self._before(block.attn, lambda x: self.attn_input.append(x.detach()))
        for sublayer, (residual, branch) in enumerate(sublayers(model)):
            self._before(residual, partial(self._keep_stream, residual))
            self._after(branch, lambda output: self.branch.append(readable(output.detach())))
            if residual.skip is not None:
                self._separate(sublayer, residual.norm)
        self._after(model.blocks[-1], partial(self._keep_stream, residual))

    def _keep_stream(self, residual, stream) -> None:
        self.resid.append(residual.running(stream))
        self.values.append(residual.read(stream).detach())

    def _before(self, module, keep) -> None:
        self.handles.append(module.register_forward_pre_hook(lambda _, args: keep(args[0])))

    def _after(self, module, keep) -> None:
        self.handles.append(module.register_forward_hook(lambda _, args, output: keep(output)))

    def _separate(self, sublayer: int, first) -> None:
        """Give what a branch reads a node of its own: the gradient there has passed the branch alone."""

        def alias(module, args):
            self.branch_inputs[sublayer] = args[0].view_as(args[0])
            return (self.branch_inputs[sublayer],)

        self.handles.append(first.register_forward_pre_hook(alias))

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def snapshot(
    model, inputs: torch.Tensor, targets: torch.Tensor, share: float = 1.0, gradients: dict | None = None
) -> Snapshot:
    """Run sequences forward and backward through the model and keep what its sites hold.

    Args:
        model: the GPT; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device.
        share: what part of a larger batch these sequences are; gradients are of that batch's loss.
        gradients: those of the parameters by earlier parts of it; these are added to them, one at a time.
    """
    training, gradients = model.training, {} if gradients is None else gradients
    model.eval()
    recorder = _Recorder(model)
    names, parameters = zip(*model.named_parameters(), strict=True)
    recorder.handles += [_collect(gradients, *named) for named in zip(names, parameters, strict=True)]
    try:
        with torch.enable_grad(), uncompiled():
            loss = model.loss(inputs, targets) * share
            wanted = [*recorder.resid, *recorder.branch_inputs.values()]
            # Of the parameters zeros come back: what they are worth has been collected by then.
            raw = torch.autograd.grad(loss, [*wanted, *parameters], allow_unused=True)
    finally:
        recorder.remove()
        model.train(training)
    for name, parameter in zip(names, parameters, strict=True):
        if name not in gradients:
            gradients[name] = readable(torch.zeros_like(parameter))
    dense = [readable(torch.zeros_like(x) if g is None else g) for x, g in zip(wanted, raw, strict=False)]
    return _assemble(recorder, dense, gradients, model)


def _assemble(recorder: _Recorder, dense: list[torch.Tensor], gradients: dict, model) -> Snapshot:
    """What was recorded, with the gradients of the streams and then those of the branches' inputs."""
    count = len(recorder.resid)
    through_branch = dict(zip(recorder.branch_inputs, dense[count:], strict=True))
    return Snapshot(
        resid=[readable(value) for value in recorder.values],
        # Moving n parallel streams together moves their mean: its gradient is the sum of theirs.
        resid_gradients=[g.sum(dim=0) if g.dim() == 4 else g for g in dense[:count]],
        branch=recorder.branch,
        attn_input=recorder.attn_input,
        branch_gradients=[through_branch.get(k) for k in range(count - 1)],
        gradients=gradients,
        model=model,
    )


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
