"""Tiny models of transformers, one of each family, and what they compute, by hooks that are written out."""

import torch

SMALL = {"vocab_size": 19, "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 3}
SMALL |= {"max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
GATED = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2}
SETTINGS = {
    "gpt2": {"vocab_size": 19, "n_embd": 32, "n_head": 4, "n_layer": 3, "n_positions": 16},
    "llama": GATED,
    "mistral": GATED | {"sliding_window": 3},
    "qwen2": GATED,
    "qwen3": GATED | {"head_dim": 16},
    "smollm3": GATED | {"no_rope_layers": [1, 0, 1]},
    "gemma": GATED | {"head_dim": 8},
    "gemma2": GATED | {"head_dim": 8, "sliding_window": 3},
    "gemma3_text": GATED | {"head_dim": 8, "sliding_window": 3},
    "gpt_neox": SMALL | {"intermediate_size": 48},
    "gpt_neox sequential": SMALL | {"intermediate_size": 48, "use_parallel_residual": False},
    "opt": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 32},
    "opt projected": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 16},
    "opt post-norm": SMALL | {"ffn_dim": 48, "word_embed_proj_dim": 16, "do_layer_norm_before": False},
}
POST = ["opt post-norm"]
PARALLEL = ["gpt_neox"]
PRE = [name for name in SETTINGS if name not in POST]
IDS = torch.randint(1, 19, (6, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(1, 19, (6, 8), generator=torch.Generator().manual_seed(2))

TEXT = "To be, or not to be, that is the question. " * 40
LETTERS = sorted(set(TEXT))


def make_foreign(name: str, attention: str = "eager"):
    """A tiny model in fp64 whose weights are far from where they start, norms and biases included."""
    import transformers

    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name.split()[0], **SETTINGS[name])
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation=attention).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return model.eval()


def save_foreign(folder, name: str = "gpt2", opening: bool = False, **changes) -> None:
    """A tiny model with a tokenizer of the letters of TEXT; with opening, texts begin with <s>."""
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    letters = Tokenizer(models.WordLevel({c: k for k, c in enumerate([*LETTERS, "<s>"])}, unk_token=" "))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.decoder = decoders.Fuse()
    if opening:
        letters.post_processor = processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", len(LETTERS))]
        )
    settings = SETTINGS[name] | {"vocab_size": len(LETTERS) + 1} | changes
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **settings)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    transformers.PreTrainedTokenizerFast(tokenizer_object=letters, bos_token="<s>").save_pretrained(folder)


def blocks_of(model):
    return next(m for m in model.modules() if isinstance(m, torch.nn.ModuleList) and len(m) == 3)


def loss_of(model, ids=IDS, targets=TARGETS):
    """Of targets that are shifted by one already."""
    logits = model(input_ids=ids).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


# What a block is made of, written down once more: (norm, branch, norm on what is added) of attention and MLP.
MODULES = {
    "gpt2": ("ln_1", "attn", None, "ln_2", "mlp", None),
    "gpt_neox": ("input_layernorm", "attention", None, "post_attention_layernorm", "mlp", None),
    "opt": ("self_attn_layer_norm", "self_attn", None, "final_layer_norm", "fc2", None),
    "gemma2": (
        "input_layernorm",
        "self_attn",
        "post_attention_layernorm",
        "pre_feedforward_layernorm",
        "mlp",
        "post_feedforward_layernorm",
    ),
}
MODULES["gemma3_text"] = MODULES["gemma2"]
LLAMA = ("input_layernorm", "self_attn", None, "post_attention_layernorm", "mlp", None)


def modules_of(name: str, block) -> list:
    names = MODULES.get(name.split()[0], LLAMA)
    return [None if n is None else getattr(block, n) for n in names]


def by_hand(name: str, model) -> dict:
    """Streams, what the branches give and what is added, and gradients, by hooks that are written out."""
    streams, branches, added, handles = {}, {}, {}, []

    def keep(into, key):
        def hook(module, args, output):
            into[key] = output if torch.is_tensor(output) else output[0]

        return hook

    def keep_input(key):
        return lambda module, args: streams.update({key: args[0]})

    for layer, block in enumerate(blocks_of(model)):
        norm1, attn, out1, norm2, mlp, out2 = modules_of(name, block)
        handles.append(block.register_forward_pre_hook(keep_input(2 * layer)))
        handles.append(block.register_forward_hook(keep(streams, 2 * layer + 2)))
        if name in POST:
            handles.append(norm1.register_forward_hook(keep(streams, 2 * layer + 1)))
        elif name not in PARALLEL:
            handles.append(norm2.register_forward_pre_hook(keep_input(2 * layer + 1)))
        for k, (branch, out) in enumerate(((attn, out1), (mlp, out2))):
            handles.append(branch.register_forward_hook(keep(branches, 2 * layer + k)))
            handles.append((out or branch).register_forward_hook(keep(added, 2 * layer + k)))
    loss, parameters = loss_of(model), dict(model.named_parameters())
    for handle in handles:
        handle.remove()
    gradients = torch.autograd.grad(loss, [*streams.values(), *parameters.values()])
    return {
        "streams": streams,
        "branches": branches,
        "added": added,
        "gradients": dict(zip(streams, gradients, strict=False)),
        "weights": dict(zip(parameters, gradients[len(streams) :], strict=True)),
        "loss": loss.detach(),
    }


def close(a, b):
    """Of a (B, T, C) or a weight; b may have its tokens in one row, as in OPT's blocks."""
    return torch.allclose(a, b.reshape(a.shape), rtol=1e-9, atol=1e-11)
