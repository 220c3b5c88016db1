"""The equations of all wirings, written out a second time: what a stack computes from x (B, T, C)."""

import math

import torch

L = 3  # layers of tiny_model


def sublayers(model):
    """(wiring, branch) in the order in which the stream meets them."""
    return [p for b in model.blocks for p in ((b.attn_residual, b.attn), (b.mlp_residual, b.mlp))]


def run_blocks(model, x):
    """x (B, T, C) through all blocks, without embeddings and head."""
    stream = model.stack.open(x)
    for block in model.blocks:
        stream = block(stream)
    return model.stack.close(stream)


def norm(module, x):
    """Layer norm by its formula."""
    centred = x - x.mean(-1, keepdim=True)
    return module.weight * centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() + module.bias


def gated(r, F, x):
    gate = 1 / (1 + torch.exp(-(x @ r.gate.weight.T + r.gate.bias)))
    return (1 - gate) * x + gate * F(norm(r.norm, x))


# Wirings whose stream begins with each token at rms 1.
AT_RMS_ONE = ("post", "rezero", "deepnorm", "keel", "sandwich", "reordered_norm", "depth_mup")

# y of sublayer k = 0 .. 2L - 1, for wirings that carry x alone.
STEPS = {
    "pre": lambda r, F, x, k: x + F(norm(r.norm, x)),
    "none": lambda r, F, x, k: F(norm(r.norm, x)),
    "post": lambda r, F, x, k: norm(r.norm, x + F(x)),
    "scaled": lambda r, F, x, k: 0.7 * x + F(norm(r.norm, x)),
    "partial_skips": lambda r, F, x, k: (x if k in (4, 5) else 0) + F(norm(r.norm, x)),  # every:3
    "rezero": lambda r, F, x, k: x + r.alpha * F(x),
    "sandwich": lambda r, F, x, k: x + norm(r.norm_out, F(norm(r.norm, x))),
    "reordered_norm": lambda r, F, x, k: x + norm(r.norm_out, F(x)),
    "layerscale": lambda r, F, x, k: x + r.gain * F(norm(r.norm, x)),
    "deepnorm": lambda r, F, x, k: norm(r.norm, (2 * L) ** 0.25 * x + F(x)),
    "keel": lambda r, F, x, k: norm(r.norm_out, 2 * L * x + F(norm(r.norm, x))),
    "depth_scaled": lambda r, F, x, k: x + F(norm(r.norm, x) / math.sqrt(k // 2 + 1)),
    "depth_mup": lambda r, F, x, k: x + math.sqrt(4 / L) * F(norm(r.norm, x)),
    "completep": lambda r, F, x, k: x + F(norm(r.norm, x)) / (L / 2),
    "stochastic_depth": lambda r, F, x, k: x + (1 - (k // 2 + 1) / (2 * L)) * F(norm(r.norm, x)),
    "highway": lambda r, F, x, k: gated(r, F, x),
    "silent": lambda r, F, x, k: x,
    "identity_start": lambda r, F, x, k: F(norm(r.norm, x)),
}


def step_by_step(name):
    def stack(model, x):
        if name in AT_RMS_ONE:
            x = x / x.square().mean(-1, keepdim=True).sqrt()
        for k, (r, F) in enumerate(sublayers(model)):
            x = STEPS[name](r, F, x, k)
        return x

    return stack


def with_first_stream(model, x):
    x0 = x
    for r, F in sublayers(model):
        x = r.keep * x + r.first * x0 + F(norm(r.norm, x))
    return x


def attention_by_hand(attn, x, first):
    """Softmax attention whose values are the mean of its own and `first`, and its own values; a head each."""
    D = attn.c_proj.in_features // attn.n_head
    Q, K, V = (matrix.split(D) for matrix in attn.input_matrices())
    bias = attn.c_attn.bias.split(D)
    heads, values = [], []
    for h in range(attn.n_head):
        q, k, v = (x @ W[h].T + bias[h + n * attn.n_head] for n, W in enumerate((Q, K, V)))
        weights = torch.exp(q @ k.transpose(-1, -2) / math.sqrt(D)).tril()
        values.append(v)
        read = v if first is None else 0.5 * v + 0.5 * first[h]
        heads.append(weights / weights.sum(-1, keepdim=True) @ read)
    return torch.cat(heads, dim=-1) @ attn.c_proj.weight.T + attn.c_proj.bias, values


def with_values_of_the_first_block(model, x):
    first = None
    for block in model.blocks:
        y, values = attention_by_hand(block.attn, norm(block.attn_residual.norm, x), first)
        x, first = x + y, first or values
        x = x + block.mlp(norm(block.mlp_residual.norm, x))
    return x


def with_all_block_outputs(model, x):
    outputs = [x]
    for k, (r, F) in enumerate(sublayers(model)):
        x = x + F(norm(r.norm, x))
        if k % 2:  # behind a block: what was computed is kept, what goes on is the weighted sum
            outputs.append(x)
            x = sum(r.weights[j] * outputs[j] for j in range(len(outputs)))
    return x


def with_parallel_streams(model, x):
    streams = [x] * 4
    for r, F in sublayers(model):
        y = F(norm(r.norm, sum(r.inward[n] * streams[n] for n in range(4))))
        streams = [sum(r.mix[m, n] * streams[n] for n in range(4)) + r.outward[m] * y for m in range(4)]
    return sum(streams) / 4


def with_the_sum_of_all_branches(model, x):
    x = total = x / x.square().mean(-1, keepdim=True).sqrt()
    for r, F in sublayers(model):
        added = F(x)
        x, total = norm(r.norm, x + added), total + added
    return x + norm(model.stack.norm, total)


def side_by_side(model, x):
    for block in model.blocks:
        by_attention = block.attn(norm(block.attn_residual.norm, x))
        x = x + by_attention + block.mlp(norm(block.mlp_residual.norm, x))
    return x


def with_a_skip_around_blocks(model, x):
    for block in model.blocks:
        inside = block.attn(norm(block.attn_residual.norm, x))
        x = x + block.mlp(norm(block.mlp_residual.norm, inside))
    return x


def with_streams_mixed_by_tokens(model, x):
    """By algorithm 2 of the paper: alpha (B, T, 4, 5), from a stream to a branch or a stream."""
    h = torch.stack([x] * 4, dim=2)  # (B, T, 4, C)
    for r, F in sublayers(model):
        maps = torch.tanh(norm(r.map_norm, h) @ r.maps)  # (B, T, 4, 6)
        alpha = torch.cat([r.inward[:, None], r.mix.T], dim=1) + r.scales[0] * maps[..., :5]
        beta = r.outward + r.scales[1] * maps[..., 5]
        mixed = alpha.transpose(-1, -2) @ h
        h = beta[..., None] * F(norm(r.norm, mixed[..., 0, :]))[..., None, :] + mixed[..., 1:, :]
    return h.mean(dim=2)


def with_doubly_stochastic_streams(model, x):
    h = torch.stack([x] * 4, dim=2)  # (B, T, 4, C)
    eps = torch.finfo(x.dtype).eps
    for r, F in sublayers(model):
        flat = h.flatten(2)
        maps = (flat / (flat.square().mean(-1, keepdim=True) + eps).sqrt()) @ r.maps.weight.T
        a = 1 / (1 + torch.exp(-(r.scales[0] * maps[..., :4] + r.base[:4])))
        b = 2 / (1 + torch.exp(-(r.scales[1] * maps[..., 4:8] + r.base[4:8])))
        mix = torch.exp(r.scales[2] * maps[..., 8:] + r.base[8:]).unflatten(-1, (4, 4))
        for _ in range(20):
            mix = mix / mix.sum(-2, keepdim=True)
            mix = mix / mix.sum(-1, keepdim=True)
        h = mix @ h + b[..., None] * F(norm(r.norm, (a[..., None] * h).sum(2)))[..., None, :]
    return h.mean(dim=2)


def attended(query, outputs):
    """Softmax over depth, for each token: the query against each output at mean square 1."""
    eps = torch.finfo(outputs[0].dtype).eps
    scores = [(v / (v.square().mean(-1, keepdim=True) + eps).sqrt()) @ query for v in outputs]
    total = sum(score.exp() for score in scores)
    return sum((score.exp() / total)[..., None] * v for score, v in zip(scores, outputs, strict=True))


def with_attention_over_depth(model, x):
    outputs = [x]
    for r, F in sublayers(model):
        outputs.append(F(norm(r.norm, attended(r.query, outputs))))
    return attended(model.stack.last_query, outputs)


STACKS = {name: step_by_step(name) for name in STEPS} | {
    "x0": with_first_stream,
    "value_residual": with_values_of_the_first_block,
    "dense": with_all_block_outputs,
    "resi_dual": with_the_sum_of_all_branches,
    "parallel": side_by_side,
    "block_skip": with_a_skip_around_blocks,
    "hyper": with_parallel_streams,
    "dynamic_hyper": with_streams_mixed_by_tokens,
    "mhc": with_doubly_stochastic_streams,
    "attention_residual": with_attention_over_depth,
}
