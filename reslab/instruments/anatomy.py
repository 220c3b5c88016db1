"""Where the parts of a model are: anatomy_of() for model.py's GPT and for models of transformers, generic()
for a module of your own.

The instruments work through what these give and know no model. Nothing of transformers is imported: its
models say in their config what they are.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from torch import nn

from reslab.instruments.named_parts import NamedAnatomy
from reslab.instruments.names import Names, check_matrices, kind_of, listed_matrices
from reslab.instruments.own_parts import GPTAnatomy
from reslab.instruments.parts import Anatomy
from reslab.model import GPT

HEADLESS = "has no head that gives logits; load it with AutoModelForCausalLM"


def anatomy_of(model) -> Anatomy:
    """The anatomy of a GPT, or of a model of transformers; an Anatomy is its own.

    Raises:
        ValueError: it is neither, or of an architecture whose parts are not known here.
    """
    if isinstance(model, Anatomy):
        return model
    if isinstance(model, GPT):
        return GPTAnatomy(model)
    if not isinstance(model, nn.Module):
        raise ValueError(
            f"{model!r} is a {kind_of(model)} and no model; load a run "
            "with reslab.training.load.load(FOLDER), one of "
            "transformers with AutoModelForCausalLM.from_pretrained()"
        )
    config = getattr(model, "config", None)
    model_type = getattr(config, "model_type", None)
    if model_type not in FAMILIES:
        raise ValueError(f"{kind_of(model)}: {unknown_parts(model_type)}")
    if model.get_output_embeddings() is None:
        raise ValueError(f"{kind_of(model)} {HEADLESS}")
    return NamedAnatomy(model, FAMILIES[model_type](config), partial(model, use_cache=False))


def unknown_parts(model_type: str | None) -> str:
    """Why a model of this type of transformers is refused, and what to do."""
    kind = f"model_type={model_type}: it" if model_type else "it"
    return (
        f"{kind} is not known here; known are reslab's GPT and, of transformers, {', '.join(FAMILIES)}; "
        "name the parts of another model with generic(model, blocks=...), see docs/instruments.md"
    )


def generic(model: nn.Module, blocks: str, forward: Callable | None = None, **names) -> Anatomy:
    """The anatomy of a module of your own.

        generic(model, blocks="layers", attn="attn", mlp="mlp", attn_norm="norm1", mlp_norm="norm2")

    With `blocks` alone there are streams, lesions of blocks, influence, lens, perturbation and Jacobians.

    Args:
        model: token ids (B, T) -> logits (B, T, V), alone, as `.logits`, or first in a tuple.
        blocks: name of the list of blocks.
        forward: token ids -> such logits, where that is not model(ids).
        names: the fields of Names: attn, mlp, attn_norm, mlp_norm, attn_norm_out, mlp_norm_out, norm_first,
            parallel, matrices.

    Raises:
        ValueError: the names don't fit the model.
    """
    known = Names.__dataclass_fields__
    if unknown := [name for name in names if name not in known]:
        raise ValueError(f"{unknown[0]}: no such part; allowed are {', '.join(known)} and forward")
    if "matrices" in names:
        names["matrices"] = listed_matrices(names["matrices"])
    anatomy = NamedAnatomy(model, Names(blocks, **names), forward)
    for block in anatomy.blocks:
        check_matrices(block, anatomy.names)
    return anatomy


def _gpt2(config) -> Names:
    """y = x + F(N(x)); its Conv1D hold their matrices as (in, out), Q, K and V side by side."""
    width = config.hidden_size
    return Names(
        blocks="transformer.h",
        attn="attn",
        mlp="mlp",
        attn_norm="ln_1",
        mlp_norm="ln_2",
        matrices={
            "qk": (("attn.c_attn", lambda w: w[:, : 2 * width]),),
            "v": (("attn.c_attn", lambda w: w[:, 2 * width :]),),
            "o": ("attn.c_proj",),
            "w1": ("mlp.c_fc",),
            "w2": ("mlp.c_proj",),
        },
    )


def _llama(config) -> Names:
    """y = x + F(N(x))."""
    return Names(
        blocks="model.layers",
        attn="self_attn",
        mlp="mlp",
        attn_norm="input_layernorm",
        mlp_norm="post_attention_layernorm",
        matrices={
            "qk": ("self_attn.q_proj", "self_attn.k_proj"),
            "v": ("self_attn.v_proj",),
            "o": ("self_attn.o_proj",),
            "w1": ("mlp.gate_proj", "mlp.up_proj"),
            "w2": ("mlp.down_proj",),
        },
    )


def _gemma2(config) -> Names:
    """y = x + N_out(F(N(x))); Llama's post_attention_layernorm is on what attention adds here."""
    return replace(
        _llama(config),
        mlp_norm="pre_feedforward_layernorm",
        attn_norm_out="post_attention_layernorm",
        mlp_norm_out="post_feedforward_layernorm",
    )


def _gpt_neox(config) -> Names:
    """y = x + F_attn(N(x)) + F_mlp(N(x)) where use_parallel_residual, as in Pythia; rows of Q, K and V of one
    head, then of the next."""
    heads = config.num_attention_heads
    return Names(
        blocks="gpt_neox.layers",
        attn="attention",
        mlp="mlp",
        attn_norm="input_layernorm",
        mlp_norm="post_attention_layernorm",
        parallel=config.use_parallel_residual,
        matrices={
            "qk": (("attention.query_key_value", lambda w: w.unflatten(0, (heads, 3, -1))[:, :2]),),
            "v": (("attention.query_key_value", lambda w: w.unflatten(0, (heads, 3, -1))[:, 2]),),
            "o": ("attention.dense",),
            "w1": ("mlp.dense_h_to_4h",),
            "w2": ("mlp.dense_4h_to_h",),
        },
    )


def _opt(config) -> Names:
    """y = x + F(N(x)), in opt-350m y = N(x + F(x)); fc1 and fc2 stand in the block itself."""
    return Names(
        blocks="model.decoder.layers",
        attn="self_attn",
        mlp="fc2",
        attn_norm="self_attn_layer_norm",
        mlp_norm="final_layer_norm",
        norm_first=config.do_layer_norm_before,
        matrices={
            "qk": ("self_attn.q_proj", "self_attn.k_proj"),
            "v": ("self_attn.v_proj",),
            "o": ("self_attn.out_proj",),
            "w1": ("fc1",),
            "w2": ("fc2",),
        },
    )


# model_type of transformers -> the names of its parts, from its config
FAMILIES = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
    "smollm3": _llama,
    "gemma": _llama,
    "gemma2": _gemma2,
    "gemma3_text": _gemma2,
    "gpt_neox": _gpt_neox,
    "opt": _opt,
}
