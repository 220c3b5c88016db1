"""The anatomy of any module, by the names of its parts and forward hooks on them.

The model runs as it is: embeddings, positions, masks and the head are its own. That y is x plus what is
added is not believed but compared, at every forward pass that is recorded.
"""

from collections.abc import Callable
from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from reslab.instruments import parts
from reslab.instruments.hooks import (
    after,
    before,
    first,
    remove,
    seen,
    separate,
    stream_of,
    with_first,
    with_stream,
)
from reslab.instruments.names import Names, Sublayer, find_blocks, find_sublayers, kind_of
from reslab.instruments.parts import Anatomy, Join, Record
from reslab.nn.loss import cross_entropy

LOGIT_BYTES = 1 << 28  # of the logits that are held at a time where there is no graph


class NamedAnatomy(Anatomy):
    """A model whose parts have names.

    Args:
        model: any language model: token ids (B, T) -> logits (B, T, V), alone, as `.logits`, or first in a
            tuple.
        names: of its parts.
        forward: token ids (B, T) -> what the model gives, where that is not model(ids).

    Raises:
        ValueError: the names don't fit the model.
    """

    def __init__(self, model: nn.Module, names: Names, forward: Callable | None = None):
        self.names, self.forward = names, forward or model
        blocks = find_blocks(model, names)
        self.sublayers = [sublayer for block in blocks for sublayer in find_sublayers(block, names)]
        joins = None if self.sublayers else []
        if self.sublayers and names.parallel:
            joins = [Join(2 * k, 2 * k + 2, (2 * k, 2 * k + 1)) for k in range(len(blocks))]
        super().__init__(model, blocks, joins)

    def skip(self, sublayer):
        return 1.0 if self.sublayers and self.names.norm_first else None

    def cannot(self, what):
        if what in (parts.SUBLAYERS, parts.PATHS) and not self.sublayers:
            return "its attention and MLP are not named"
        if what == parts.PATHS and not self.names.norm_first:
            return "a norm stands on its skip, so paths don't split"
        return None

    def read(self, output):
        return first(output)

    def logits(self, inputs):
        output = self.forward(inputs)
        logits = getattr(output, "logits", None)
        logits = first(output) if logits is None else logits
        if logits.dim() != 3 or logits.shape[:2] != inputs.shape:
            raise ValueError(
                f"{kind_of(self.model)} gives {tuple(logits.shape)} for token ids {tuple(inputs.shape)}, not "
                "logits for each of them; give forward=, a function of ids that returns logits (B, T, V)"
            )
        return logits

    def loss(self, inputs, targets):
        return cross_entropy(self.logits(inputs), targets)

    def token_losses(self, inputs, targets):
        return torch.cat([cross_entropy(x, y, "none") for x, y in self._some_logits(inputs, targets)])

    def read_out(self, stream, inputs, targets):
        waiting = iter(stream)  # one sequence after the other

        def instead(x, output):  # the last block gives the stream, whatever it has read
            return with_first(output, torch.stack([next(waiting) for _ in first(output)]))

        handle, losses, tokens = after(self.blocks[-1], instead), [], []
        try:
            for logits, y in self._some_logits(inputs, targets):
                losses.append(cross_entropy(logits, y, "none"))
                tokens.append(logits.argmax(dim=-1))
        finally:
            handle.remove()
        return torch.cat(losses), torch.cat(tokens)

    @torch.no_grad()
    def _some_logits(self, inputs, targets):
        """(logits, targets) of a few sequences at a time; the first tells how large the vocabulary is."""
        at, count = 0, 1
        while at < len(inputs):
            logits = self.logits(inputs[at : at + count])
            yield logits, targets[at : at + count]
            at, count = at + count, max(1, LOGIT_BYTES // (4 * logits[0].numel()))

    @torch.no_grad()
    def block_calls(self, inputs):
        calls = []

        def keep(block, args, kwargs):
            def call(x):
                positional, named = with_stream(args, kwargs, x)
                return first(block(*positional, **named))

            calls.append((call, stream_of(args, kwargs)))

        handles = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in self.blocks]
        try:
            self.logits(inputs)
        finally:
            remove(handles)
        return calls

    def matrices(self, layer, kind, values):
        matrices = []
        for entry in self.names.matrices.get(kind, ()):
            name, take = (entry, None) if isinstance(entry, str) else entry
            value = values.get(f"{self.names.blocks}.{layer}.{name}.weight")
            if value is None:
                return None
            matrices.append(take(value) if take else value)
        return matrices or None

    def attention(self, layer, attn_input, weights):
        return None if weights is None else (weights, (weights > 0).sum(dim=-1))

    @contextmanager
    def without(self, blocks=(), sublayers=()):
        streams = {}
        handles = [after(self.blocks[layer], lambda x, y: with_first(y, x)) for layer in blocks]
        for k in sublayers:
            if self.names.norm_first:
                last = self.sublayers[k].last
                handles.append(after(last, lambda x, y: with_first(y, torch.zeros_like(first(y)))))
            else:
                handles.append(after(self.sublayers[k].norm, lambda x, y, k=k: streams[k]))
        if not self.names.norm_first:
            handles += self._on_streams(streams.__setitem__)
        try:
            yield
        finally:
            remove(handles)

    @contextmanager
    def stripped(self):
        streams = {}

        def strip(place, x, output):  # x + (a - x) is a: no module stands on the sum
            y = first(output)
            return with_first(output, y - streams[place].reshape(y.shape))

        lasts = [(join.before, self.sublayers[join.sublayers[0]].last) for join in self.joins]
        handles = [after(last, partial(strip, place)) for place, last in lasts]
        handles += self._on_streams(streams.__setitem__)
        try:
            yield
        finally:
            remove(handles)

    def _on_streams(self, keep: Callable) -> list:
        """Hooks that call keep(place, x) with each stream, as it stands in the graph."""
        handles, names = [], self.names
        for layer, block in enumerate(self.blocks):
            handles.append(before(block, partial(keep, 2 * layer)))
            if self.sublayers and not names.parallel:
                middle = partial(keep, 2 * layer + 1)
                attn, mlp = self.sublayers[2 * layer : 2 * layer + 2]
                at_middle = before(mlp.first, middle) if names.norm_first else after(attn.norm, seen(middle))
                handles.append(at_middle)
        return [*handles, after(block, seen(partial(keep, 2 * len(self.blocks))))]

    def watch(self, record):
        def keep(place, x):
            record.keep_stream(place, x, x if place == 0 else x.reshape(record.resid[0].shape))

        record.handles += self._on_streams(keep)
        for k, sublayer in enumerate(self.sublayers):
            record.handles += _watch_branch(record, k, sublayer)
            if self.skip(k) is None:
                continue
            if self.sublayers[k ^ 1].norm is sublayer.norm is not None:  # one norm for attention and MLP
                record.handles.append(_separate_norms(record, k, self.join_of[k].before, sublayer))
            else:
                record.handles.append(separate(record.branch_input, k, sublayer.first))

    def verify(self, record):
        kind = kind_of(self.model)
        absent = {0, 2 * len(self.blocks)} - record.resid.keys()
        if absent or any(k not in record.added for k in range(len(self.sublayers))):
            what = "blocks" if absent else "attention or MLP"
            raise ValueError(f"{kind}: its {what} as named are not called in the forward pass")
        for join in self.joins if self.names.norm_first else ():
            if fault := _fault(record, join):
                raise ValueError(f"block {join.before // 2} of {kind}: {fault}")


def _fault(record: Record, join: Join) -> str | None:
    """What is not as it should be: branches read x, and y is x plus what they add, but for rounding."""
    x, y = record.resid[join.before], record.resid[join.after]
    for k in join.sublayers:
        if not torch.equal(record.branch_input[k].reshape(x.shape), x):
            kind = ("attn", "mlp")[k % 2]
            return f"{kind} does not read x; name its norm with {kind}_norm, or see norm_first and parallel"
    terms = [y.double(), -x.double(), *(-record.added[k].double() for k in join.sublayers)]
    size = max(term.abs().max() for term in terms)
    if not sum(terms).abs().max() <= 8 * torch.finfo(x.dtype).eps * size:
        return (
            "y is not x plus what the named modules give; name what gives the part that is added, "
            "or say parallel=True or norm_first=False"
        )
    return None


def _separate_norms(record: Record, k: int, place: int, sublayer: Sublayer):
    """hooks.separate() for a branch that reads a norm's output as another one does: it gets the norm's output
    of a node of its own."""

    def alias(_, args, kwargs):
        x = record.running[place]
        record.branch_input[k] = x.view_as(x)
        return with_stream(args, kwargs, sublayer.norm.forward(record.branch_input[k]))

    return sublayer.branch.register_forward_pre_hook(alias, with_kwargs=True)


def _watch_branch(record: Record, k: int, sublayer: Sublayer) -> list:
    """Hooks that keep what a branch reads and gives."""

    def keep(values, y):
        values[k] = y.detach().reshape(record.resid[0].shape)

    def keep_weights(x, output):
        weights = output[1] if isinstance(output, tuple) and len(output) > 1 else None
        if torch.is_tensor(weights) and weights.dim() == 4:
            record.attention[k // 2] = weights.detach()

    handles = [after(sublayer.branch, seen(partial(keep, record.branch)))]
    handles.append(after(sublayer.last, seen(partial(keep, record.added))))
    if k % 2 == 0:
        handles.append(before(sublayer.branch, lambda x: record.attn_input.__setitem__(k // 2, x.detach())))
        handles.append(after(sublayer.branch, keep_weights))
    return handles
