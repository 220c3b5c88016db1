"""The anatomy of model.py's GPT, whose sublayers are (wiring, branch) pairs that say what their skip is."""

from contextlib import contextmanager
from functools import partial

import torch

from reslab.instruments import parts
from reslab.instruments.hooks import after, before, remove, seen, separate
from reslab.instruments.parts import Anatomy, Record
from reslab.model import GPT
from reslab.nn.loss import likeliest_tokens, token_losses


class GPTAnatomy(Anatomy):
    """A GPT of model.py, with any wiring."""

    def __init__(self, model: GPT):
        super().__init__(model, model.blocks)
        self.sublayers = [pair for block in model.blocks for pair in block.sublayers()]  # (wiring, branch)

    def skip(self, sublayer):
        return self.sublayers[sublayer][0].skip

    def cannot(self, what):
        wirings = [residual for residual, _ in self.sublayers]
        name = f"residual={self.model.config.residual}"
        if what in (parts.LESIONS, parts.SUBLAYERS) and any(w.stream_grows for w in wirings):
            return f"{name}: each sublayer adds an entry to what the next ones read, so none can be left out"
        if what == parts.JACOBIANS and not all(w.single_tensor for w in wirings):
            return f"{name}: a block carries more than x, so it has no single Jacobian"
        if what == parts.PATHS and any(w.skip is None for w in wirings):
            return f"{name}: its skip is not x times a constant, so paths don't split"
        return None

    def read(self, output):
        return self.blocks[-1].mlp_residual.read(output)

    def logits(self, inputs):
        return self.model(inputs)

    def loss(self, inputs, targets):
        return self.model.loss(inputs, targets)

    def token_losses(self, inputs, targets):
        return self.model.token_losses(inputs, targets)

    @torch.no_grad()
    def read_out(self, stream, inputs, targets):
        x, weight = self.model.ln_f(stream), self.model.head_weight
        return token_losses(x, weight, targets), likeliest_tokens(x, weight)

    @torch.no_grad()
    def block_calls(self, inputs):
        x, calls = self.model.stack.open(self.model.embed(inputs)), []
        for block in self.blocks:
            calls.append((block, x))
            x = block(x)
        return calls

    def matrices(self, layer, kind, values):
        names = {"qk": "attn.c_attn", "v": "attn.c_attn", "o": "attn.c_proj", "w1": "mlp.c_fc"}
        value = values.get(f"blocks.{layer}.{names.get(kind, 'mlp.c_proj')}.weight")
        if value is None:  # frozen
            return None
        *_, v = self.blocks[layer].attn.input_matrices()
        first = len(value) - len(v)  # where the rows of V begin
        return [{"qk": value[:first], "v": value[first:]}.get(kind, value)]

    @torch.no_grad()
    def attention(self, layer, attn_input, weights):
        T = attn_input.shape[1]
        q, k, _ = self.blocks[layer].attn.qkv(attn_input)
        k = k.repeat_interleave(q.shape[1] // k.shape[1], dim=1)  # (B, H, T, D)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5  # (B, H, T, T), and twice that in all
        future = torch.ones(T, T, dtype=torch.bool, device=scores.device).triu(1)
        weights = scores.masked_fill_(future, -torch.inf).softmax(dim=-1)
        return weights, torch.arange(1, T + 1, device=scores.device)

    @contextmanager
    def without(self, blocks=(), sublayers=()):
        modules = [self.blocks[k] for k in blocks] + [self.sublayers[k][0] for k in sublayers]
        for module in modules:
            module.forward = lambda stream, branch=None: stream
        try:
            yield
        finally:
            for module in modules:
                del module.forward  # the class's own forward is back

    @contextmanager
    def strip(self):
        def strip(residual, args, y):
            return y - residual.skip * args[0]

        handles = [residual.register_forward_hook(strip) for residual, _ in self.sublayers]
        try:
            yield
        finally:
            remove(handles)

    def watch(self, record):
        for layer, block in enumerate(self.blocks):
            keep = partial(_keep, record.attn_input, layer)
            record.handles.append(before(block.attn, keep))
        for k, (residual, branch) in enumerate(self.sublayers):
            record.handles.append(before(residual, partial(_keep_stream, record, residual, k)))
            record.handles.append(after(branch, seen(partial(_keep, record.branch, k))))
            if residual.skip is not None:
                record.handles.append(separate(record.branch_input, k, residual.norm))
        end = partial(_keep_stream, record, residual, k + 1)
        record.handles.append(after(block, lambda _, stream: end(stream)))


def _keep(values: dict, place: int, x: torch.Tensor) -> None:
    values[place] = x.detach()


def _keep_stream(record: Record, residual, place: int, stream) -> None:
    record.keep_stream(place, residual.running(stream), residual.read(stream))
