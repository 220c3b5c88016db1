"""Which models of transformers ours are: an entry of FAMILIES for each architecture, read in both directions.

Only names are here, so nothing of transformers is imported.
"""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Family:
    """An architecture of transformers. A setting `a.b` of theirs is b inside the dict a."""

    name: str
    """How the classes of its config and its model begin."""
    model: str
    """The class of its model."""
    ours: dict[str, tuple]
    """Setting of ours -> the values that a model of this family may have; an import gets the first."""
    settings: dict[str, tuple[str, ...]]
    """Setting of ours -> those of theirs that hold its value."""
    modules: dict[str, tuple[str, ...]]
    """Our module -> theirs; several of theirs are rows of one of ours, in this order."""
    theirs: dict = field(default_factory=dict)
    """Setting of theirs -> the only value with which it computes what ours does."""
    activations: dict[str, str] = field(default_factory=dict)
    """What they call an activation -> what we do; an export takes the first of several names."""
    transposed: bool = False
    """Linear layers of a block hold their matrices the other way round."""
    qkv_by_head: bool = False
    """The rows of Q, K and V lie together for each head, and not for each of the three."""


SHAPE = {
    "vocab_size": ("vocab_size",),
    "block_size": ("max_position_embeddings",),
    "n_layer": ("num_hidden_layers",),
    "n_head": ("num_attention_heads",),
    "n_embd": ("hidden_size",),
    "n_inner": ("intermediate_size",),
    "tie_weights": ("tie_word_embeddings",),
}
ROPE = {"rope_parameters.rope_type": "default", "rope_parameters.partial_rotary_factor": 1.0}
TANH = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")
PLAIN = dict.fromkeys(TANH, "gelu") | {"gelu": "gelu_erf", "relu2": "relu2"}
LAYERNORM = {
    "norm": ("layernorm",),
    "mlp": ("gelu", "gelu_erf", "relu2"),
    "bias": (True, False),  # where ours has none, theirs are 0
    "qkv_bias": (False, True),
    "qk_norm": (False,),
    "n_kv_head": (0,),
    "head_dim": (0,),
}
RMSNORM = {
    "norm": ("rmsnorm",),
    "mlp": ("swiglu",),
    "pos": ("rope",),
    "qk_norm": (False,),
    "qkv_bias": (False,),
}

GPT2 = Family(
    name="GPT2",
    model="GPT2LMHeadModel",
    ours=LAYERNORM | {"pos": ("learned",)},
    settings={
        "vocab_size": ("vocab_size",),
        "block_size": ("n_positions", "n_ctx"),
        "n_layer": ("n_layer",),
        "n_head": ("n_head",),
        "n_embd": ("n_embd",),
        "n_inner": ("n_inner",),
        "mlp": ("activation_function",),
        "norm_eps": ("layer_norm_epsilon",),
        "tie_weights": ("tie_word_embeddings",),
        "dropout": ("resid_pdrop", "embd_pdrop", "attn_pdrop"),
    },
    modules={
        "wte": ("transformer.wte",),
        "wpe": ("transformer.wpe",),
        "ln_f": ("transformer.ln_f",),
        "lm_head": ("lm_head",),
        "blocks": ("transformer.h",),
        "attn_residual.norm": ("ln_1",),
        "attn.c_attn": ("attn.c_attn",),
        "attn.c_proj": ("attn.c_proj",),
        "mlp_residual.norm": ("ln_2",),
        "mlp.c_fc": ("mlp.c_fc",),
        "mlp.c_proj": ("mlp.c_proj",),
    },
    theirs={
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    activations=PLAIN,
    transposed=True,
)
NANOGPT = replace(GPT2, name="nanoGPT", model="", transposed=False)
GPT_NEOX = Family(
    name="GPTNeoX",
    model="GPTNeoXForCausalLM",
    ours=LAYERNORM | {"pos": ("rope",)},
    settings=SHAPE
    | {
        "mlp": ("hidden_act",),
        "norm_eps": ("layer_norm_eps",),
        "rope_theta": ("rope_parameters.rope_theta",),
    },
    modules={
        "wte": ("gpt_neox.embed_in",),
        "ln_f": ("gpt_neox.final_layer_norm",),
        "lm_head": ("lm_head",),
        "blocks": ("gpt_neox.layers",),
        "attn_residual.norm": ("input_layernorm",),
        "attn.c_attn": ("attention.query_key_value",),
        "attn.c_proj": ("attention.dense",),
        "mlp_residual.norm": ("post_attention_layernorm",),
        "mlp.c_fc": ("mlp.dense_h_to_4h",),
        "mlp.c_proj": ("mlp.dense_4h_to_h",),
    },
    theirs=ROPE | {"use_parallel_residual": False, "attention_bias": True},
    activations=PLAIN,
    qkv_by_head=True,
)
LLAMA = Family(
    name="Llama",
    model="LlamaForCausalLM",
    ours=RMSNORM,
    settings=SHAPE
    | {
        "n_kv_head": ("num_key_value_heads",),
        "head_dim": ("head_dim",),
        "bias": ("attention_bias", "mlp_bias"),
        "mlp": ("hidden_act",),
        "norm_eps": ("rms_norm_eps",),
        "rope_theta": ("rope_parameters.rope_theta",),
    },
    modules={
        "wte": ("model.embed_tokens",),
        "ln_f": ("model.norm",),
        "lm_head": ("lm_head",),
        "blocks": ("model.layers",),
        "attn_residual.norm": ("input_layernorm",),
        "attn.c_attn": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attn.c_proj": ("self_attn.o_proj",),
        "mlp_residual.norm": ("post_attention_layernorm",),
        "mlp.c_fc": ("mlp.gate_proj", "mlp.up_proj"),
        "mlp.c_proj": ("mlp.down_proj",),
    },
    theirs=ROPE,
    activations={"silu": "swiglu", "swish": "swiglu"},
)
WITHOUT_BIAS = {key: names for key, names in LLAMA.settings.items() if key != "bias"}
MISTRAL = replace(
    LLAMA,
    name="Mistral",
    model="MistralForCausalLM",
    ours=RMSNORM | {"bias": (False,)},
    settings=WITHOUT_BIAS,
    theirs=ROPE | {"sliding_window": None},
)
QWEN2 = replace(MISTRAL, name="Qwen2", model="Qwen2ForCausalLM", ours=MISTRAL.ours | {"qkv_bias": (True,)})
QWEN3 = replace(
    MISTRAL,
    name="Qwen3",
    model="Qwen3ForCausalLM",
    ours=MISTRAL.ours | {"qk_norm": (True,)},
    modules=LLAMA.modules | {"attn.q_norm": ("self_attn.q_norm",), "attn.k_norm": ("self_attn.k_norm",)},
    theirs=MISTRAL.theirs | {"attention_bias": False},
)


# model_type of a config.json -> its family. An export is written as the first that can be it.
FAMILIES = {
    "gpt2": GPT2,
    "llama": LLAMA,
    "qwen3": QWEN3,
    "qwen2": QWEN2,
    "mistral": MISTRAL,
    "gpt_neox": GPT_NEOX,
}
