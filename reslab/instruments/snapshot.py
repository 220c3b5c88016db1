"""What a batch shows of a model at the sites of its blocks: streams, branches and gradients.

The sites of a block, in the order of the forward pass:

    resid_pre -> attn_branch -> attn_out -> resid_mid -> mlp_branch -> mlp_out -> resid_post

attn_branch and mlp_branch are what the branch F gives; attn_out and mlp_out are what the wiring adds to
skip x, with its gain and its outer norm. The hooks are gone afterwards. A snapshot runs uncompiled, in
float32 (without TF32, in which a GPU trains), without recomputation. It draws no random number and leaves
no gradient, so losses with probes on and off are bitwise equal.
"""

from dataclasses import dataclass, field

import torch

from reslab.instruments.anatomy import anatomy_of
from reslab.instruments.parts import Anatomy, Record
from reslab.system.device import exact_float32, uncompiled

ROOM = {"cuda": 1 << 30}  # bytes that sequences may take which are looked at together
KEPT = 40  # numbers for each token, channel and layer: `pre` was seen to hold 22 to 36, `hyper` 55 to 82


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

    Lists over sublayers hold attention and MLP in turn (2L). None stands for what the model does not have:
    resid_mid where attention and MLP both read resid_pre, sublayers whose places are not known.
    """

    resid: list[torch.Tensor | None]
    """The stream around the sublayers (2L + 1): resid_pre, resid_mid, resid_pre, ..., the last resid_post."""
    resid_gradients: list[torch.Tensor | None]
    """dL/dh of the same."""
    branch: list[torch.Tensor | None]
    """What F gives (2L)."""
    attn_input: list[torch.Tensor | None]
    """What the attention branches read (L)."""
    branch_gradients: list[torch.Tensor | None]
    """(dF/dx)^T dL/dy (2L); None where the gradient does not split into skip and branch."""
    gradients: dict[str, torch.Tensor]
    """Parameter name -> gradient; frozen ones have none."""
    anatomy: Anatomy
    module_added: dict[int, torch.Tensor] = field(default_factory=dict)
    """Sublayer -> what it adds, as a module gives it."""
    attention_weights: dict[int, torch.Tensor] = field(default_factory=dict)
    """Layer -> attention weights (B, H, T, T), where the model's attention gives them."""

    @property
    def model(self) -> torch.nn.Module:
        return self.anatomy.model

    @property
    def resid_pre(self) -> list[torch.Tensor]:
        return self.resid[:-1:2]

    @property
    def resid_mid(self) -> list[torch.Tensor | None]:
        return self.resid[1::2]

    @property
    def resid_post(self) -> list[torch.Tensor]:
        return self.resid[2::2]

    @property
    def attn_branch(self) -> list[torch.Tensor | None]:
        return self.branch[::2]

    @property
    def mlp_branch(self) -> list[torch.Tensor | None]:
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
        return self.anatomy.skip(sublayer)

    def read_by(self, sublayer: int) -> torch.Tensor | None:
        """The stream that a sublayer reads; None where that is not known."""
        join = self.anatomy.join_of.get(sublayer)
        return None if join is None else self.resid[join.before]

    def added(self, sublayer: int) -> torch.Tensor | None:
        """y - skip x of a sublayer, measured on the stream where it alone adds to it; None without a constant
        skip."""
        skip = self.skip(sublayer)
        if skip is None:
            return None
        join = self.anatomy.join_of[sublayer]
        if len(join.sublayers) > 1:
            return readable(self.module_added[sublayer])
        return self.resid[join.after] - skip * self.resid[join.before]

    def sublayer_gradients(self, sublayer: int) -> SublayerGradients:
        join = self.anatomy.join_of[sublayer]
        grad_in, grad_out = self.resid_gradients[join.before], self.resid_gradients[join.after]
        return SublayerGradients(self.skip(sublayer), grad_out, self.branch_gradients[sublayer], grad_in)


def snapshot(
    model,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    share: float = 1.0,
    gradients: dict | None = None,
    anatomy: Anatomy | None = None,
) -> Snapshot:
    """Run sequences forward and backward through the model and keep what its sites hold.

    Args:
        model: a GPT, or a model that anatomy_of() knows; its mode and its gradients are left as they were.
        inputs, targets: token ids (B, T) on its device, targets shifted by one.
        share: what part of a larger batch these sequences are; gradients are of that batch's loss.
        gradients: those of the parameters by earlier parts of it; these are added to them, one at a time.
        anatomy: of another model, see generic().

    Raises:
        ValueError: it is not known where the model's parts are, or they are not where the anatomy says.
    """
    anatomy = anatomy or anatomy_of(model)
    check_batch(anatomy.model, inputs, targets)
    gradients = {} if gradients is None else gradients
    named = [(name, p) for name, p in anatomy.model.named_parameters() if p.requires_grad]
    with anatomy.recording() as record, torch.enable_grad(), uncompiled(), exact_float32():
        record.handles += [_collect(gradients, name, parameter) for name, parameter in named]
        loss = anatomy.loss(inputs, targets) * share
        wanted = [*record.running.values(), *record.branch_input.values()]
        # Of the parameters zeros come back: what they are worth has been collected by then.
        raw = torch.autograd.grad(loss, [*wanted, *(p for _, p in named)], allow_unused=True)
    for name, parameter in named:
        if name not in gradients:
            gradients[name] = readable(torch.zeros_like(parameter))
    dense = [readable(torch.zeros_like(x) if g is None else g) for x, g in zip(wanted, raw, strict=False)]
    return _assemble(record, dense, gradients, anatomy)


def at_once(anatomy: Anatomy, inputs: torch.Tensor) -> int:
    """How many of the sequences (B, T) are looked at together: on a GPU those that have room, since a look is
    thousands of small kernels, each of which takes longer to launch than to run; elsewhere one. A divisor of
    B, so that all parts weigh the same. The room is a rough count: a wide MLP or many streams take more."""
    B, T = inputs.shape
    matrices = [p.shape for p in anatomy.model.parameters() if p.dim() == 2]
    width = max((min(p.shape) for p in anatomy.blocks[0].parameters() if p.dim() == 2), default=1)
    rows = max(map(max, matrices), default=1)  # of the vocabulary
    numbers = KEPT * width * len(anatomy.blocks) + width // 4 * T + 4 * rows  # with scores of heads of 16
    most = max(1, ROOM.get(inputs.device.type, 0) // (4 * T * numbers))
    return max(size for size in range(1, B + 1) if B % size == 0 and size <= most)


def check_batch(model: torch.nn.Module, inputs: torch.Tensor, targets: torch.Tensor) -> None:
    """Raises ValueError where inputs and targets are no token ids (B, T) that a model takes, as far as its
    config tells."""
    kind, config = type(model).__name__, getattr(model, "config", None)
    if targets.shape != inputs.shape:
        raise ValueError(f"targets are {tuple(targets.shape)}, and inputs {tuple(inputs.shape)}")
    vocabulary = getattr(config, "vocab_size", None)
    longest = getattr(config, "block_size", None) or getattr(config, "max_position_embeddings", None)
    for name, ids in (("inputs", inputs), ("targets", targets)):
        if ids.dim() != 2 or not ids.numel():
            raise ValueError(f"{name} are {tuple(ids.shape)}: must be token ids (B, T)")
        if ids.is_floating_point():
            raise ValueError(f"{name} are {ids.dtype}: must be token ids, whole numbers")
        least, most = ids.min().item(), ids.max().item()
        if vocabulary and not 0 <= least <= most < vocabulary:
            wrong = least if least < 0 else most
            raise ValueError(
                f"{name} hold token id {wrong}, and the vocabulary of {kind} has 0 to {vocabulary - 1}"
            )
    if longest and inputs.shape[1] > longest:
        raise ValueError(f"{inputs.shape[1]} tokens in a sequence, and {kind} takes at most {longest}")


def _assemble(record: Record, dense: list[torch.Tensor], gradients: dict, anatomy: Anatomy) -> Snapshot:
    """What was recorded, with the gradients of the streams and then those of the branches' inputs."""
    layers, shape = len(anatomy.blocks), record.resid[0].shape
    # Moving n parallel streams together moves their mean: its gradient is the sum of theirs.
    dense = [g.sum(dim=0) if g.dim() == 4 else g.view(shape) for g in dense]
    stream = dict(zip(record.running, dense, strict=False))
    through = dict(zip(record.branch_input, dense[len(record.running) :], strict=True))

    def listed(values: dict, count: int) -> list:
        return [readable(values[k]) if k in values else None for k in range(count)]

    return Snapshot(
        resid=listed(record.resid, 2 * layers + 1),
        resid_gradients=listed(stream, 2 * layers + 1),
        branch=listed(record.branch, 2 * layers),
        attn_input=listed(record.attn_input, layers),
        branch_gradients=listed(through, 2 * layers),
        gradients=gradients,
        anatomy=anatomy,
        module_added=record.added,
        attention_weights=record.attention,
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
