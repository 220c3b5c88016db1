"""The GPT: token and position embeddings, n_layer blocks of attention and MLP, a linear head.

The model is GPT-2's (learned positions, LayerNorm, GELU, tied head). What differs from other GPTs
is one thing: how a block joins its branches to the stream is a module of its own, chosen by name
(`residual="pre"`, `"none"`, ...) from reslab/residual.py.

Letters in the shape comments:
    B batch, T time (tokens), C channels (n_embd), H heads, D head width (C / H), V vocabulary
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reslab.attention import attend
from reslab.kvcache import KVCache, context_start
from reslab.memory import cross_entropy, is_large, linear_cross_entropy, run_checkpointed, token_losses
from reslab.residual import WIRINGS, layer_norm, orthogonal


@dataclass(frozen=True)
class GPTConfig:
    """The shape of a model. Field names are nanoGPT's."""

    block_size: int = 256
    """Longest context, in tokens."""
    vocab_size: int = 0
    """Number of token ids; 0 takes the dataset's, a larger number pads it."""
    n_layer: int = 12
    """Number of blocks; each holds one attention and one MLP sublayer."""
    n_head: int = 6
    """Attention heads; divides n_embd."""
    n_embd: int = 384
    """Width of the stream."""
    dropout: float = 0.0
    """Share of activations dropped while training."""
    bias: bool = True
    """Biases in linear layers and layer norms."""
    tie_weights: bool = True
    """The head uses the token embedding's matrix."""
    residual: str = "pre"
    """Wiring of every sublayer: a name from reslab/residual.py; `none` strips the skips."""
    attn_residual: str = ""
    """Wiring of the attention sublayers only; empty takes `residual`."""
    mlp_residual: str = ""
    """Wiring of the MLP sublayers only; empty takes `residual`."""
    residual_scale: float = 0.5
    """lambda of the wiring `scaled`."""
    init: str = "wiring"
    """Starting weights of the blocks: wiring (each its own), unscaled, scaled, fan_in or orthogonal."""
    norm_eps: float = 1e-5
    """What a layer norm adds to the variance."""

    def faults(self) -> list[str]:
        """What no model can be built from, one line per fault."""
        found = []
        for key in ("block_size", "n_layer", "n_head", "n_embd"):
            if getattr(self, key) < 1:
                found.append(f"{key}={getattr(self, key)}: must be at least 1")
        if self.n_head >= 1 and self.n_embd % self.n_head:
            found.append(f"n_head={self.n_head}: must divide n_embd={self.n_embd}")
        if not 0 <= self.dropout < 1:
            found.append(f"dropout={self.dropout}: must be at least 0 and below 1")
        if not 0 < self.norm_eps < math.inf:
            found.append(f"norm_eps={self.norm_eps}: must be finite and above 0")
        if not math.isfinite(self.residual_scale):
            found.append(f"residual_scale={self.residual_scale}: must be finite")
        if self.vocab_size < 0:
            found.append(f"vocab_size={self.vocab_size}: must not be negative (0 takes the dataset's)")
        for key in ("residual", "attn_residual", "mlp_residual"):
            name = getattr(self, key)
            if name not in WIRINGS and (name or key == "residual"):
                found.append(f"{key}={name}: allowed are {', '.join(WIRINGS)}")
        kinds = {
            kind: WIRINGS.get(getattr(self, f"{kind}_residual") or self.residual) for kind in ("attn", "mlp")
        }
        if None not in kinds.values() and kinds["attn"].stream != kinds["mlp"].stream:
            found.append(
                f"attn_residual and mlp_residual: one carries {kinds['attn'].stream}, the other "
                f"{kinds['mlp'].stream}; they must carry the same"
            )
        return found


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and what came before.

    (B, T, C) -> (B, T, C). With mixes_identity the attention matrix A becomes a I + b A, a and b
    learned for each head. With a cache, x holds the tokens that the cache has not seen.
    """

    def __init__(self, config: GPTConfig, mixes_identity: bool = False):
        super().__init__()
        self.a = nn.Parameter(torch.ones(config.n_head)) if mixes_identity else None
        self.b = nn.Parameter(torch.zeros(config.n_head)) if mixes_identity else None
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: torch.Tensor, cache: KVCache | None = None) -> torch.Tensor:
        B, T, C = x.shape
        q, k, v = (
            self.c_attn(x).view(B, T, 3 * self.n_head, -1).transpose(1, 2).chunk(3, dim=1)
        )  # (B, H, T, D)
        dropout = self.dropout if self.training else 0.0
        keys, values = (k, v) if cache is None else cache.extend(k, v)
        causal = T > 1  # one token alone sees all others; several come only when there are none before them
        y = attend(q, keys, values, causal, dropout)  # (B, H, T, D)
        if self.a is not None:
            y = self.a[:, None, None] * v + self.b[:, None, None] * y  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, T, C)
        return F.dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with a GELU between them, for each token alone.

    (B, T, C) -> (B, T, C), four times as wide inside.
    """

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.dropout = config.dropout
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.gelu(self.c_fc(x), approximate="tanh")  # (B, T, 4C)
        return F.dropout(self.c_proj(x), self.dropout, self.training)  # (B, T, C)


class Block(nn.Module):
    """One layer: attention, then MLP, each joined to the stream by its wiring.

    With residual="pre":                  with residual="none":

        x ─┬─ N ─ attention ─ + ─┬─ N ─ MLP ─ + ─      x ─ N ─ attention ─ N ─ MLP ─
           └──────────────────┘  └────────────┘

    The stream is (B, T, C), or several tensors, as the wiring carries it.
    """

    def __init__(self, config: GPTConfig, layer: int):
        super().__init__()
        attn_wiring = WIRINGS[config.attn_residual or config.residual]
        mlp_wiring = WIRINGS[config.mlp_residual or config.residual]
        self.attn_residual = attn_wiring(config, 2 * layer)
        self.attn = CausalSelfAttention(config, attn_wiring.mixes_identity)
        self.mlp_residual = mlp_wiring(config, 2 * layer + 1)
        self.mlp = MLP(config)

    def forward(self, stream, cache: KVCache | None = None):
        stream = self.attn_residual(stream, self.attn if cache is None else partial(self.attn, cache=cache))
        return self.mlp_residual(stream, self.mlp)


class GPT(nn.Module):
    """A decoder-only Transformer language model.

    Args:
        config: its shape; vocab_size must be set.
        seed: initial weights are a pure function of it (see init_weights).

    Raises:
        ValueError: a fault in the config, or a sequence longer than block_size.
    """

    def __init__(self, config: GPTConfig, seed: int = 1337):
        super().__init__()
        faults = config.faults() + (["vocab_size=0: must be set"] if config.vocab_size == 0 else [])
        if faults:
            raise ValueError("; ".join(faults))
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        final_norm = self.blocks[-1].mlp_residual.final_norm
        self.ln_f = layer_norm(config) if final_norm else nn.Identity()
        self.lm_head = None if config.tie_weights else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.activation_checkpointing = False
        self.init_weights(seed)

    def init_weights(self, seed: int, std: float = 0.02) -> None:
        """Give every parameter its starting value, GPT-2's (Radford et al. 2019).

            matrices                          normal, std 0.02
            biases                            0
            norms, and scalars of a wiring    as their module made them (1 and 0)
            what a wiring wants otherwise     its init: `pre` divides c_proj by sqrt(2L)

        config.init overrules the wirings: see INITS.

        The draws behind each matrix depend on (seed, parameter name) alone, and the name holds the
        layer: two arms, or two depths, start from the same numbers, each scaled as its wiring says.
        """
        with torch.no_grad():
            for module_name, module in self.named_modules():
                if isinstance(module, nn.Linear | nn.Embedding):
                    generator = _generator(f"{seed} {module_name}.weight")
                    module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * std)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    module.bias.zero_()
            for block in self.blocks:
                for residual, branch in ((block.attn_residual, block.attn), (block.mlp_residual, block.mlp)):
                    INITS[self.config.init](self.config, residual, branch, std)

    def forward(
        self, idx: torch.Tensor, targets: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Logits for the token after each position, and the loss when targets are given.

        Args:
            idx: token ids (B, T), T at most block_size.
            targets: token ids (B, T): idx shifted by one.

        Returns:
            logits (B, T, V), and the mean cross-entropy in nats per token, or None.
        """
        return self.head(self.trunk(idx), targets)

    def trunk(self, idx: torch.Tensor, caches: list[KVCache] | None = None) -> torch.Tensor:
        """Token ids (B, T) through embeddings and blocks: (B, T, C), before the last norm.

        Args:
            caches: one for each block, where earlier tokens are remembered; idx holds the new ones.
        """
        seen = caches[0].length if caches else 0
        T = idx.shape[1]
        if seen + T > self.config.block_size:
            raise ValueError(f"sequence of {seen + T} tokens: block_size is {self.config.block_size}")
        x = self.wte(idx) + self.wpe.weight[seen : seen + T]  # (B, T, C)
        x = F.dropout(x, self.config.dropout, self.training)
        stream = self.blocks[0].attn_residual.open(x)
        if self.activation_checkpointing and self.training:
            stream = run_checkpointed(self.blocks, stream)
        else:
            for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
                stream = block(stream) if cache is None else block(stream, cache)
        return self.blocks[-1].mlp_residual.close(stream)

    def head(self, x: torch.Tensor, targets: torch.Tensor | None = None):
        """From the last x (B, T, C) to logits (B, T, V) and the loss.

        Logits that would be large are not held when there are targets: None then stands in their place.
        """
        x = self.ln_f(x)
        if targets is not None and is_large(x, self.head_weight):
            return None, linear_cross_entropy(x, self.head_weight, targets)
        logits = F.linear(x, self.head_weight)  # (B, T, V)
        return logits, None if targets is None else cross_entropy(logits, targets)

    @torch.no_grad()
    def token_losses(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each token in nats (B, T)."""
        return token_losses(self.ln_f(self.trunk(idx)), self.head_weight, targets)

    @property
    def head_weight(self) -> torch.Tensor:
        """The matrix (V, C) that turns the last stream into logits."""
        return self.wte.weight if self.lm_head is None else self.lm_head.weight

    def count_parameters(self) -> int:
        """Number of trainable scalars, position embeddings included, a tied head counted once."""
        return sum(p.numel() for p in self.parameters())

    @torch.no_grad()
    def generate(
        self,
        idx: torch.Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float | None = None,
        generator: torch.Generator | None = None,
        vocab_size: int | None = None,
    ) -> Iterator[torch.Tensor]:
        """Continue a prompt, one token at a time; contexts are cropped, see context_start.

        Args:
            idx: prompt (B, T), T at least 1.
            temperature: divides the logits; 0 takes the likeliest token (greedy).
            top_k: keep the k likeliest tokens.
            top_p: keep the likeliest tokens that together hold at least this probability.
            vocab_size: ids from here on pad the vocabulary and are never chosen.

        Yields:
            the next ids (B,).
        """
        caches, begin = None, 0
        for _ in range(max_new_tokens):
            start = context_start(idx.shape[1], self.config.block_size)
            if caches is None or start != begin:
                caches, begin = [KVCache(self.config.block_size) for _ in self.blocks], start
            x = self.trunk(idx[:, begin + caches[0].length :], caches)[:, -1:]  # (B, 1, C)
            logits = self.head(x)[0][:, 0, :vocab_size]  # (B, V)
            token = pick_token(logits.float(), temperature, top_k, top_p, generator)
            idx = torch.cat([idx, token[:, None]], dim=1)
            yield token


def pick_token(logits, temperature=1.0, top_k=None, top_p=None, generator=None) -> torch.Tensor:
    """Draw one id per row from logits (B, V) -> (B,)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits / temperature
    if top_k is not None and top_k < logits.shape[-1]:
        kth = logits.topk(top_k).values[:, -1:]  # (B, 1)
        logits = logits.masked_fill(logits < kth, -torch.inf)
    if top_p is not None and top_p < 1:
        ordered, order = logits.sort(descending=True)
        probs = ordered.softmax(dim=-1)
        # A token stays when those before it hold less than top_p, so the first one always stays.
        ordered = ordered.masked_fill(probs.cumsum(dim=-1) - probs >= top_p, -torch.inf)
        logits = torch.full_like(logits, -torch.inf).scatter(1, order, ordered)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


def _init_wiring(config, residual, branch, std):
    """What the wiring's paper says."""
    residual.init(branch)


def _init_unscaled(config, residual, branch, std):
    """All matrices alike, std 0.02."""


def _init_scaled(config, residual, branch, std):
    """GPT-2's: output projections divided by sqrt(2L)."""
    branch.c_proj.weight.mul_((2 * config.n_layer) ** -0.5)


def _init_fan_in(config, residual, branch, std):
    """std 1 / sqrt(inputs) for every matrix (LeCun et al. 1998): a linear stack keeps its variance."""
    for layer in (module for module in branch.modules() if isinstance(module, nn.Linear)):
        layer.weight.mul_(layer.in_features**-0.5 / std)


def _init_orthogonal(config, residual, branch, std):
    """Every matrix orthogonal (Saxe et al. 2014, arXiv 1312.6120); Q, K and V apart."""
    for layer in (module for module in branch.modules() if isinstance(module, nn.Linear)):
        for part in layer.weight.split(layer.in_features) if layer.out_features % 3 == 0 else [layer.weight]:
            part.copy_(orthogonal(part))


def _generator(name: str) -> torch.Generator:
    """A random stream of its own for each name, on the CPU, so all devices start alike."""
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


INITS = {
    "wiring": _init_wiring,
    "unscaled": _init_unscaled,
    "scaled": _init_scaled,
    "fan_in": _init_fan_in,
    "orthogonal": _init_orthogonal,
}
