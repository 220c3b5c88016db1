"""The GPT: token and position embeddings, n_layer blocks of attention and MLP, a linear head.

The model is GPT-2's (learned positions, LayerNorm, GELU, tied head); norm="rmsnorm", mlp="swiglu",
pos="rope", bias=False and n_kv_head make it Llama's. What differs from other GPTs is one thing: how a
block joins its branches to the stream is a module of its own, chosen by name (`residual="pre"`,
`"none"`, ...) from reslab/residual.py.

Letters in the shape comments:
    B batch, T time (tokens), C channels (n_embd), H heads, D head width (C / H, or head_dim), V vocabulary
"""

import importlib
import sys
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from reslab.nn.attention import KVCache, attention
from reslab.nn.generate import generate
from reslab.nn.init import INITS, STD, copy_tensors, generator_of
from reslab.nn.layers import ACTIVATIONS, check_layers, make_norm
from reslab.nn.loss import chunk_loss, is_large, linear_cross_entropy, token_losses, whole_loss
from reslab.nn.recompute import run_checkpointed
from reslab.nn.rotary import Rotary
from reslab.residual import WIRINGS, check_wirings
from reslab.run.settings import GPTConfig


def make_stack(config: GPTConfig) -> tuple[nn.Module, nn.Module]:
    """The Stack of a model (reslab/residual.py), and the norm before its head."""
    first, last = (WIRINGS[config.wiring(kind)] for kind in ("attn", "mlp"))
    stack = last.make_stack(config, first)
    return stack, make_norm(config) if stack.final_norm else nn.Identity()


class CausalSelfAttention(nn.Module):
    """Multi-head attention in which a token sees itself and what came before.

    (B, T, C) -> (B, T, C). With mixes_identity the attention matrix A becomes a I + b A, a and b
    learned for each head; a wiring may pass mix_values, through which the values (B, n_kv_head, T, D) go.
    Its modern variants, all off in GPT-2:

        n_kv_head    H / n_kv_head queries share a key and a value (Ainslie et al. 2023, arXiv 2305.13245)
        qk_norm      q, k -> RMSNorm(q), RMSNorm(k), a gain per channel of a head (Qwen3, arXiv 2505.09388)
        pos="rope"   q_t, k_t -> R_t q_t, R_t k_t, so that q_t . k_s depends on t - s (see rotary.py)
    """

    kind = "attn"

    def __init__(self, config: GPTConfig, mixes_identity: bool = False):
        super().__init__()
        self.a = nn.Parameter(torch.ones(config.n_head)) if mixes_identity else None
        self.b = nn.Parameter(torch.zeros(config.n_head)) if mixes_identity else None
        self.n_head, self.n_kv_head = config.n_head, config.kv_heads
        self.counts = [self.n_head, self.n_kv_head, self.n_kv_head]  # heads of queries, keys and values
        self.dropout = config.dropout
        D = config.head_width
        qkv_bias = config.bias or config.qkv_bias
        self.c_attn = nn.Linear(config.n_embd, sum(self.counts) * D, bias=qkv_bias)
        self.c_proj = nn.Linear(self.n_head * D, config.n_embd, bias=config.bias)
        self.q_norm = nn.RMSNorm(D, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(D, eps=config.norm_eps) if config.qk_norm else None
        self.rotary = Rotary(config.block_size, D, config.rope_theta) if config.pos == "rope" else None

    def input_matrices(self) -> tuple[torch.Tensor, ...]:
        """The matrices of Q (H D, C), K and V (n_kv_head D, C)."""
        D = self.c_proj.in_features // self.n_head
        return self.c_attn.weight.split([D * heads for heads in self.counts])

    def qkv(self, x: torch.Tensor, start_pos: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Queries (B, H, T, D), keys and values (B, n_kv_head, T, D) of x (B, T, C), whose first token is at
        start_pos."""
        B, T, _ = x.shape
        D = self.c_proj.in_features // self.n_head
        heads = self.c_attn(x).view(B, T, -1, D).transpose(1, 2)
        q, k, v = heads.split(self.counts, dim=1)
        if self.q_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary is None:
            return q, k, v
        if self.q_norm is not None:
            heads = torch.cat([q, k, v], dim=1)
        return self.rotary(heads, self.counts, start_pos)

    def forward(self, x: torch.Tensor, cache: KVCache | None = None, mix_values=None) -> torch.Tensor:
        B, T, _ = x.shape
        q, k, v = self.qkv(x, 0 if cache is None else cache.length)
        if mix_values is not None:
            v = mix_values(v)
        keys, values = (k, v) if cache is None else cache.extend(k, v)
        shared = self.n_head // self.n_kv_head
        if shared > 1:
            keys, values, v = (heads.repeat_interleave(shared, dim=1) for heads in (keys, values, v))
        dropout = self.dropout if self.training else 0.0
        # One token alone sees all others; several come only when there are none before them. Where the
        # compiler has made T dynamic, T > 1 and bool(T > 1) are symbols, which the kernel refuses.
        causal = not T <= 1
        y = attention(q, keys, values, causal, dropout)  # (B, H, T, D)
        if self.a is not None:
            y = self.a[:, None, None] * v + self.b[:, None, None] * y  # (B, H, T, D)
        y = y.transpose(1, 2).reshape(B, T, -1)  # (B, T, H D)
        return F.dropout(self.c_proj(y), self.dropout, self.training)


class MLP(nn.Module):
    """Two linear layers with a nonlinearity between them, for each token alone.

    (B, T, C) -> (B, T, C), four times as wide inside, or n_inner:

        gelu, gelu_erf    W2 GELU(W1 x)             the tanh form of GPT-2, or the exact one
        relu2             W2 ReLU(W1 x)^2           (So et al. 2021, Primer, arXiv 2109.08668)
        swiglu            W2 (SiLU(G x) * (W1 x))   (Shazeer 2020, arXiv 2002.05202), 8/3 times as wide
    """

    kind = "mlp"

    def __init__(self, config: GPTConfig):
        super().__init__()
        self.dropout = config.dropout
        self.act, width = ACTIVATIONS[config.mlp].function, config.mlp_width
        self.c_fc = nn.Linear(config.n_embd, 2 * width if config.gated else width, bias=config.bias)
        self.c_proj = nn.Linear(width, config.n_embd, bias=config.bias)

    def input_matrices(self) -> tuple[torch.Tensor, ...]:
        """The matrices of the gate, where there is one, and W1, each (width, C)."""
        return self.c_fc.weight.split(self.c_proj.in_features)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.c_fc(x))  # (B, T, width)
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
        attn_wiring, mlp_wiring = (WIRINGS[config.wiring(kind)] for kind in ("attn", "mlp"))
        self.attn_residual = attn_wiring(config, 2 * layer)
        self.attn = CausalSelfAttention(config, attn_wiring.mixes_identity)
        self.mlp_residual = mlp_wiring(config, 2 * layer + 1)
        self.mlp = MLP(config)

    def forward(self, stream, cache: KVCache | None = None):
        stream = self.attn_residual(stream, self.attn if cache is None else partial(self.attn, cache=cache))
        return self.mlp_residual(stream, self.mlp)

    def sublayers(self) -> tuple[tuple[nn.Module, nn.Module], ...]:
        """(wiring, branch) of attention and of the MLP."""
        return (self.attn_residual, self.attn), (self.mlp_residual, self.mlp)


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
        check_wirings(config)
        check_layers(config)
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd) if config.pos == "learned" else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.n_layer))
        for block in self.blocks:
            block.attn.rotary = self.blocks[0].attn.rotary  # one table for all layers
        self.stack, self.ln_f = make_stack(config)
        self.lm_head = None if config.tie_weights else nn.Linear(config.n_embd, config.vocab_size, bias=False)
        self.activation_checkpointing = False
        self.whole_loss, self.chunk_loss = whole_loss, chunk_loss  # so that each can be compiled
        self.init_weights(seed)

    def init_weights(self, seed: int) -> None:
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
                    generator = generator_of(f"{seed} {module_name}.weight")
                    module.weight.copy_(torch.randn(module.weight.shape, generator=generator) * STD)
                if isinstance(module, nn.Linear) and module.bias is not None:
                    module.bias.zero_()
            for block in self.blocks:
                for residual, branch in block.sublayers():
                    INITS[self.config.init](self.config, residual, branch)

    @torch.no_grad()
    def reset_parameters(self, seed: int = 1337) -> None:
        """Write every parameter and buffer as GPT(config, seed) has it: for a model whose memory holds
        nothing yet, after `to_empty(device=...)` of one on the device meta.

        One block at a time is made anew, so no second model is held.
        """
        with torch.random.fork_rng(devices=[]):  # modules draw weights when they are made
            for layer, block in enumerate(self.blocks):
                copy_tensors(Block(self.config, layer), block)
            for fresh, own in zip(make_stack(self.config), (self.stack, self.ln_f), strict=True):
                copy_tensors(fresh, own)
        self.init_weights(seed)

    def forward(self, idx: torch.Tensor) -> torch.Tensor:
        """Logits (B, T, V) for the token after each position of token ids (B, T), T at most block_size."""
        return self.head(self.hidden_states(idx))

    def loss(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The mean cross-entropy (), in nats per token; logits that would be large are never held.

        Args:
            idx: token ids (B, T), T at most block_size.
            targets: token ids (B, T): idx shifted by one; -100 where a token has no part in the loss.
        """
        return self.head_loss(self.hidden_states(idx), targets)

    def hidden_states(self, idx: torch.Tensor, caches: list[KVCache] | None = None) -> torch.Tensor:
        """Token ids (B, T) through embeddings and blocks: (B, T, C), before the last norm.

        Args:
            caches: one for each block, where earlier tokens are remembered; idx holds the new ones.
        """
        start_pos = caches[0].length if caches else 0
        x = F.dropout(self.embed(idx, start_pos), self.config.dropout, self.training)  # (B, T, C)
        stream = self.stack.open(x)
        if self.activation_checkpointing and self.training:
            stream = run_checkpointed(self.blocks, stream)
        else:
            for block, cache in zip(self.blocks, caches or [None] * len(self.blocks), strict=True):
                stream = block(stream) if cache is None else block(stream, cache)
        return self.stack.close(stream)

    def embed(self, idx: torch.Tensor, start_pos: int = 0) -> torch.Tensor:
        """Token ids (B, T), the first of which is at start_pos, to the first x (B, T, C)."""
        end = start_pos + idx.shape[1]
        if end > self.config.block_size:
            raise ValueError(f"sequence of {end} tokens: block_size is {self.config.block_size}")
        x = self.wte(idx)
        return x if self.wpe is None else x + self.wpe.weight[start_pos:end]

    def head(self, x: torch.Tensor) -> torch.Tensor:
        """From the last x (B, T, C) to logits (B, T, V)."""
        return F.linear(self.ln_f(x), self.head_weight)

    def head_loss(self, x: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """From the last x (B, T, C) to the mean loss () of targets (B, T), a chunk of logits at a time where
        all of them would be large."""
        x = self.ln_f(x)
        if is_large(x, self.head_weight):
            return linear_cross_entropy(x, self.head_weight, targets, self.chunk_loss)
        return self.whole_loss(x, self.head_weight, targets)

    @torch.no_grad()
    def token_losses(self, idx: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """The loss of each token in nats (B, T)."""
        return token_losses(self.ln_f(self.hidden_states(idx)), self.head_weight, targets)

    @property
    def head_weight(self) -> torch.Tensor:
        """The matrix (V, C) that turns the last stream into logits."""
        return self.wte.weight if self.lm_head is None else self.lm_head.weight

    def count_parameters(self) -> int:
        """Number of trainable scalars, position embeddings included, a tied head counted once."""
        return sum(p.numel() for p in self.parameters())

    generate = generate  # reslab/nn/generate.py


if (
    __name__ == "model"
):  # `from model import GPT`, beside this file: the classes of reslab.model, not a second set
    sys.modules["model"] = importlib.import_module("reslab.model")
