"""What transformers calls the settings and the weights of the models that ours can be.

GPT-2 is the default model; a model with RMSNorm, SwiGLU and rotary positions is Llama, and Qwen3 when its
queries and keys are normalised. Only names are here, so nothing of transformers is imported.
"""

from reslab.residual import WIRINGS

GPT2_ACTIVATIONS = {"gelu_new": "gelu", "gelu_pytorch_tanh": "gelu", "gelu": "gelu_erf", "relu2": "relu2"}

# Our module -> theirs; several of theirs are rows of one of ours, in this order.
GPT2_NAMES = {
    "wte": ["transformer.wte"],
    "wpe": ["transformer.wpe"],
    "ln_f": ["transformer.ln_f"],
    "lm_head": ["lm_head"],
    "blocks": ["transformer.h"],
    "attn_residual.norm": ["ln_1"],
    "attn.c_attn": ["attn.c_attn"],
    "attn.c_proj": ["attn.c_proj"],
    "mlp_residual.norm": ["ln_2"],
    "mlp.c_fc": ["mlp.c_fc"],
    "mlp.c_proj": ["mlp.c_proj"],
}
LLAMA_NAMES = {
    "wte": ["model.embed_tokens"],
    "ln_f": ["model.norm"],
    "lm_head": ["lm_head"],
    "blocks": ["model.layers"],
    "attn_residual.norm": ["input_layernorm"],
    "attn.c_attn": ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    "attn.c_proj": ["self_attn.o_proj"],
    "attn.q_norm": ["self_attn.q_norm"],
    "attn.k_norm": ["self_attn.k_norm"],
    "mlp_residual.norm": ["post_attention_layernorm"],
    "mlp.c_fc": ["mlp.gate_proj", "mlp.up_proj"],
    "mlp.c_proj": ["mlp.down_proj"],
}


def their_names(kind: str, name: str) -> list[str]:
    """blocks.0.attn.c_attn.weight -> [transformer.h.0.attn.c_attn.weight]; empty where there is none."""
    table = LLAMA_NAMES if kind in ("llama", "qwen3") else GPT2_NAMES
    module, leaf = name.rsplit(".", 1)
    if not module.startswith("blocks."):
        return [f"{there}.{leaf}" for there in table.get(module, [])]
    _, layer, rest = module.split(".", 2)
    return [f"{table['blocks'][0]}.{layer}.{there}.{leaf}" for there in table.get(rest, [])]


def is_transposed(kind: str, name: str) -> bool:
    """GPT-2's linear layers hold their matrices the other way round; nanoGPT's don't."""
    return kind == "gpt2" and ".c_" in name and name.endswith(".weight")


def architecture(config) -> str:
    """The architecture of transformers that computes what a GPTConfig says."""
    faults = []
    for kind in ("attn", "mlp"):
        name = config.wiring(kind)
        if name != "pre":
            faults.append(
                f"{kind}_residual={name}: GPT-2 and Llama compute x + F(N(x)), this wiring: "
                f"{WIRINGS[name].equation}"
            )
    modern = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope"}
    is_modern = [getattr(config, key) == value for key, value in modern.items()]
    has = ", ".join(f"{key}={getattr(config, key)}" for key in modern)
    if any(is_modern) and not all(is_modern):
        faults.append(
            f"{has}: GPT-2 has layernorm, gelu and learned, Llama has rmsnorm, swiglu and rope; "
            "no model here has this mix"
        )
    if not any(is_modern) and (config.qk_norm or config.n_kv_head not in (0, config.n_head)):
        faults.append(f"qk_norm={config.qk_norm}, n_kv_head={config.n_kv_head}: GPT-2 has neither")
    if all(is_modern) and config.qk_norm and config.bias:
        faults.append("qk_norm=True with bias=True: Qwen3 has no biases in its MLP")
    if faults:
        raise ValueError("\n".join(faults))
    return ("qwen3" if config.qk_norm else "llama") if all(is_modern) else "gpt2"


def gpt2_settings(vocab_size, block_size, n_layer, n_head, n_embd) -> dict:
    return {
        "vocab_size": vocab_size,
        "block_size": block_size,
        "n_layer": n_layer,
        "n_head": n_head,
        "n_embd": n_embd,
        "n_kv_head": 0,
        "bias": True,
        "tie_weights": True,
        "norm": "layernorm",
        "mlp": "gelu",
        "pos": "learned",
        "qk_norm": False,
        "norm_eps": 1e-5,
    }


def _from_gpt2(c) -> dict:
    settings = gpt2_settings(c.vocab_size, c.n_positions, c.n_layer, c.n_head, c.n_embd)
    return settings | {
        "tie_weights": c.tie_word_embeddings,
        "mlp": GPT2_ACTIVATIONS.get(c.activation_function, "gelu"),
        "norm_eps": c.layer_norm_epsilon,
    }


def _to_gpt2(c) -> dict:
    names = {ours: theirs for theirs, ours in reversed(GPT2_ACTIVATIONS.items())}
    return {
        "vocab_size": c.vocab_size,
        "n_positions": c.block_size,
        "n_layer": c.n_layer,
        "n_head": c.n_head,
        "n_embd": c.n_embd,
        "n_inner": c.mlp_width,
        "activation_function": names[c.mlp],
        "layer_norm_epsilon": c.norm_eps,
        "tie_word_embeddings": c.tie_weights,
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
        "resid_pdrop": c.dropout,
        "embd_pdrop": c.dropout,
        "attn_pdrop": c.dropout,
    }


def _from_llama(c) -> dict:
    settings = gpt2_settings(
        c.vocab_size, c.max_position_embeddings, c.num_hidden_layers, c.num_attention_heads, c.hidden_size
    )
    return settings | {
        "n_kv_head": c.num_key_value_heads,
        "bias": c.attention_bias,
        "tie_weights": c.tie_word_embeddings,
        "norm": "rmsnorm",
        "mlp": "swiglu",
        "pos": "rope",
        "qk_norm": c.model_type == "qwen3",
        "norm_eps": c.rms_norm_eps,
    }


def _to_llama(c) -> dict:
    return {
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.block_size,
        "num_hidden_layers": c.n_layer,
        "num_attention_heads": c.n_head,
        "num_key_value_heads": c.n_kv_head or c.n_head,
        "hidden_size": c.n_embd,
        "head_dim": c.n_embd // c.n_head,
        "intermediate_size": c.mlp_width,
        "hidden_act": "silu",
        "rms_norm_eps": c.norm_eps,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
        "attention_bias": c.bias,
        "tie_word_embeddings": c.tie_weights,
    } | ({"use_sliding_window": False} if c.qk_norm else {"mlp_bias": c.bias})


# model_type -> class of its config, how its settings are read and written, class of its model
FORMATS = {
    "gpt2": ("GPT2", _from_gpt2, _to_gpt2, "GPT2LMHeadModel"),
    "llama": ("Llama", _from_llama, _to_llama, "LlamaForCausalLM"),
    "qwen3": ("Qwen3", _from_llama, _to_llama, "Qwen3ForCausalLM"),
}
