"""The anatomy of any module, by the names of its parts and forward hooks on them.

The model runs as it is: embeddings, positions, masks and the head are its own. That y is x plus what is
added is not believed but compared, at the first forward pass and at every one that is recorded.
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
from reslab.instruments.named_checks import as_stream, fault_of_norm, fault_of_sum, ids_of
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
        self.verified = self.recorded = self.comparing = False
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
            return (
                "its attention and MLP are not named; give attn, mlp, attn_norm and mlp_norm, see generic()"
            )
        if what == parts.PATHS and not self.names.norm_first:
            return "a norm stands on its skip, so paths don't split"
        return None

    def read(self, output):
        return first(output)

    def logits(self, inputs):
        self._compare(inputs)
        try:
            output = self.forward(inputs)
        except IndexError as error:
            raise ValueError(
                f"{kind_of(self.model)} can't take token ids up to {inputs.max()}: {error}"
            ) from None
        logits = getattr(output, "logits", None)
        logits = first(output) if logits is None else logits
        if logits.dim() != 3 or logits.shape[:2] != inputs.shape:
            raise ValueError(
                f"{kind_of(self.model)} gives {tuple(logits.shape)} for token ids {tuple(inputs.shape)}, not "
                "logits for each of them; give forward=, a function of ids that returns logits (B, T, V)"
            )
        return logits

    @torch.no_grad()
    def _compare(self, inputs):
        """Before the first number: a pass as a snapshot's, with nothing cut, tells whether names fit."""
        if self.verified or self.recorded:  # a pass that is recorded is compared when it ends
            return
        self.comparing = True
        try:
            with self.recording():
                self.logits(inputs)
        finally:
            self.comparing = False

    @contextmanager
    def recording(self):
        self.recorded = True
        try:
            with super().recording() as record:
                yield record
        finally:
            self.recorded = False

    def _cut(self, module: nn.Module, change: Callable):
        """hooks.after() that changes nothing in the pass of _compare()."""
        return after(module, lambda x, y: None if self.comparing else change(x, y))

    def loss(self, inputs, targets):
        return cross_entropy(self.logits(inputs), targets)

    def token_losses(self, inputs, targets):
        return torch.cat([cross_entropy(x, y, "none") for x, y in self._some_logits(inputs, targets)])

    def read_out(self, stream, inputs, targets):
        waiting = iter(stream)  # one sequence after the other

        def instead(x, output):  # the last block gives the stream, whatever it has read
            return with_first(output, torch.stack([next(waiting) for _ in first(output)]))

        self._compare(inputs[:1])
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

        self._compare(inputs)
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
            place = f"{self.names.blocks}.{layer}.{name}"
            value = values.get(f"{place}.weight", values.get(place))
            if value is None:
                return None
            matrices.append(take(value) if take else value)
        return matrices or None

    def attention(self, layer, attn_input, weights):
        return None if weights is None else (weights, (weights > 0).sum(dim=-1))

    @contextmanager
    def without(self, blocks=(), sublayers=()):
        streams = {}
        handles = [self._cut(self.blocks[layer], lambda x, y: with_first(y, x)) for layer in blocks]
        for k in sublayers:
            if self.names.norm_first:
                last = self.sublayers[k].last
                handles.append(self._cut(last, lambda x, y: with_first(y, torch.zeros_like(first(y)))))
            else:
                handles.append(self._cut(self.sublayers[k].norm, lambda x, y, k=k: streams[k]))
        if not self.names.norm_first:
            handles += self._on_streams(streams.__setitem__)
        try:
            yield
        finally:
            remove(handles)

    @contextmanager
    def strip(self):
        kind, streams = kind_of(self.model), {}
        dropouts = (m for m in self.model.modules() if isinstance(m, nn.modules.dropout._DropoutNd))
        if any(m.training and m.p for m in dropouts):
            raise ValueError(
                f"{kind} is in train mode and has dropout, which x would pass; call model.eval()"
            )

        def compare(_, args, kwargs):
            if not (self.verified or self.recorded):
                self._compare(ids_of(kind, args, kwargs)[:1])

        def strip(place, x, output):  # x + (a - x) is a: no module stands on the sum
            if not self.verified:
                raise ValueError(f"call {kind} itself first, so that the names of its parts can be compared")
            y = first(output)
            return with_first(output, y - streams[place].reshape(y.shape))

        lasts = [(join.before, self.sublayers[join.sublayers[0]].last) for join in self.joins]
        handles = [self._cut(last, partial(strip, place)) for place, last in lasts]
        handles.append(self.model.register_forward_pre_hook(compare, with_kwargs=True))
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
            record.keep_stream(place, x, x if place == 0 else as_stream(x, record, place, "reads"))

        record.handles += self._on_streams(keep)
        for k, sublayer in enumerate(self.sublayers):
            record.handles += _watch_branch(record, k, sublayer)
            if self.skip(k) is None:
                record.handles.append(after(sublayer.norm, partial(_keep_norm, record, k)))
                continue
            if self.sublayers[k ^ 1].norm is sublayer.norm is not None:  # one norm for attention and MLP
                record.handles.append(_separate_norms(record, k, self.join_of[k].before, sublayer))
            else:
                record.handles.append(separate(record.branch_input, k, sublayer.first))

    def verify(self, record):
        kind = kind_of(self.model)
        absent = {0, 2 * len(self.blocks)} - record.resid.keys()
        read = record.branch_input if self.names.norm_first else record.outer_norm
        places = {place for join in self.joins for place in (join.before, join.after)}
        sublayers = set(range(len(self.sublayers)))
        if absent or places - record.resid.keys() or sublayers - (record.added.keys() & read.keys()):
            what = "blocks" if absent else "attention, MLP or their norms"
            raise ValueError(f"{kind}: its {what} as named are not called in the forward pass")
        for join in self.joins:
            if fault := (fault_of_sum if self.names.norm_first else fault_of_norm)(record, join):
                raise ValueError(f"block {join.before // 2} of {kind}: {fault}")
        self.verified = True


def _separate_norms(record: Record, k: int, place: int, sublayer: Sublayer):
    """hooks.separate() for a branch that reads a norm's output as another one does: it gets the norm's output
    of a node of its own."""

    def alias(_, args, kwargs):
        x = record.running[place]
        record.branch_input[k] = x.view_as(x)
        return with_stream(args, kwargs, sublayer.norm.forward(record.branch_input[k]))

    return sublayer.branch.register_forward_pre_hook(alias, with_kwargs=True)


def _keep_norm(record: Record, k: int, x: torch.Tensor, y: torch.Tensor) -> None:
    record.outer_norm[k] = tuple(as_stream(z.detach(), record, k, "reads") for z in (x, y))


def _watch_branch(record: Record, k: int, sublayer: Sublayer) -> list:
    """Hooks that keep what a branch reads and gives."""

    def keep(values, y):
        values[k] = as_stream(y.detach(), record, k, "gives")

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
