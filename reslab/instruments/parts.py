"""What an anatomy answers: where a model keeps its blocks, sublayers and stream, and how its forward pass is
watched and cut. Every instrument asks these questions and nothing else.

Places number the stream around the sublayers, 0 .. 2L: resid_pre and resid_mid of each block in turn, and
the last resid_post. Sublayers are numbered 0 .. 2L - 1, attention and MLP of each block in turn, so sublayer
k reads place k, except in a block whose attention and MLP both read resid_pre.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from weakref import WeakSet

import torch
from torch import nn

from reslab.instruments.hooks import remove

LESIONS, SUBLAYERS, JACOBIANS, PATHS = "lesions", "sublayers", "jacobians", "paths"
STRIPPED = WeakSet()  # models that stripped() holds at the moment


@dataclass
class Record:
    """What hooks keep of one forward pass; values are (B, T, C) and detached."""

    running: dict[int, torch.Tensor] = field(default_factory=dict)
    """Place -> the tensor in the graph whose gradient is the stream's."""
    resid: dict[int, torch.Tensor] = field(default_factory=dict)
    """Place -> the stream's value."""
    branch: dict[int, torch.Tensor] = field(default_factory=dict)
    """Sublayer -> what F gives."""
    added: dict[int, torch.Tensor] = field(default_factory=dict)
    """Sublayer -> what it adds, where a module gives that."""
    branch_input: dict[int, torch.Tensor] = field(default_factory=dict)
    """Sublayer -> x in the graph as F alone reads it."""
    attn_input: dict[int, torch.Tensor] = field(default_factory=dict)
    """Layer -> what attention reads."""
    outer_norm: dict[int, tuple] = field(default_factory=dict)
    """Sublayer -> what a post-norm's norm reads and gives."""
    attention: dict[int, torch.Tensor] = field(default_factory=dict)
    """Layer -> attention weights (B, H, T, T), where attention gives them."""
    handles: list = field(default_factory=list)

    def keep_stream(self, place: int, running: torch.Tensor, value: torch.Tensor) -> None:
        """Keep a stream: the tensor whose gradient is wanted, and its value (B, T, C)."""
        if torch.is_grad_enabled() and not running.requires_grad:  # all that lies before it is frozen
            running.requires_grad_()
        self.running[place], self.resid[place] = running, value.detach()


@dataclass(frozen=True)
class Join:
    """Where branches meet the stream: y = skip x + what the sublayers add."""

    before: int
    """Place of x."""
    after: int
    """Place of y."""
    sublayers: tuple[int, ...]


class Anatomy(ABC):
    """A model as the instruments see it.

    Args:
        model: it is not changed beyond the end of a call.
        blocks: its blocks in order; each takes the stream first and gives the stream.
        joins: from the input on; None for one behind each sublayer, empty where these are not known.
    """

    def __init__(self, model: nn.Module, blocks: Sequence[nn.Module], joins: list[Join] | None = None):
        self.model, self.blocks = model, blocks
        self.joins = [Join(k, k + 1, (k,)) for k in range(2 * len(blocks))] if joins is None else joins
        self.join_of = {k: join for join in self.joins for k in join.sublayers}

    @abstractmethod
    def skip(self, sublayer: int) -> float | None:
        """The constant weight of x in y; None where there is none, or where more than x is carried."""

    @abstractmethod
    def cannot(self, what: str) -> str | None:
        """Why LESIONS of blocks, of SUBLAYERS, JACOBIANS or PATHS can't be had; None where they can."""

    @abstractmethod
    def read(self, output) -> torch.Tensor:
        """What a block gives as one tensor (B, T, C)."""

    @abstractmethod
    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """Token ids (B, T) -> (B, T, V)."""

    @abstractmethod
    def loss(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean loss () in nats per token; targets are the inputs shifted by one, both (B, T)."""

    @abstractmethod
    def token_losses(self, inputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each token in nats (B, T), without a graph."""

    @abstractmethod
    def read_out(self, stream, inputs, targets) -> tuple[torch.Tensor, torch.Tensor]:
        """What the end of the model makes of a stream (B, T, C): losses and likeliest tokens, both (B, T)."""

    @abstractmethod
    def block_calls(self, inputs: torch.Tensor) -> list[tuple[Callable, torch.Tensor]]:
        """Each block as a function of x alone, and the x (B, T, C) that it reads."""

    @abstractmethod
    def matrices(self, layer: int, kind: str, values: Mapping[str, torch.Tensor]) -> list | None:
        """Of the parameters' values or gradients by name: the matrices of a kind in a block.

        Args:
            kind: qk, v, o, w1 or w2.

        Returns:
            None where it is not known which they are, or where one has no value.
        """

    @abstractmethod
    def attention(self, layer: int, attn_input, weights) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Attention weights (B, H, T, T) of a layer, and how many tokens each row may see.

        Args:
            attn_input, weights: of the layer, as recorded; either may be None.
        """

    @abstractmethod
    def without(self, blocks: Iterable[int] = (), sublayers: Iterable[int] = ()) -> AbstractContextManager:
        """A context in which these blocks and sublayers hand their stream on as it came."""

    @abstractmethod
    def strip(self) -> AbstractContextManager:
        """What stripped() does, where it can be done."""

    @contextmanager
    def stripped(self):
        """A context without skips: y is what the sublayers add, y - skip x.

        Raises:
            ValueError: the skips are not x times a constant, the parts are not where they are named, or the
                model is stripped already.
        """
        if reason := self.cannot(PATHS):
            raise ValueError(reason)
        if self.model in STRIPPED:
            raise ValueError(f"{type(self.model).__name__} is stripped already; stripped() does not nest")
        STRIPPED.add(self.model)
        try:
            with self.strip():
                yield
        finally:
            STRIPPED.discard(self.model)

    @abstractmethod
    def watch(self, record: Record) -> None:
        """Put hooks on the model that fill a record, and their handles into it."""

    def verify(self, record: Record) -> None:  # noqa: B027 - most have nothing to compare
        """Raises ValueError where a forward pass was not what the anatomy says."""

    @contextmanager
    def recording(self) -> Iterator[Record]:
        """A context whose forward pass, in eval mode, is recorded; then hooks go and modes come back."""
        record = Record()
        with evaluating(self.model):
            try:
                self.watch(record)
                yield record
                self.verify(record)
            finally:
                remove(record.handles)


@contextmanager
def evaluating(model: nn.Module):
    """Eval mode; afterwards each module is in the mode that it was in."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
