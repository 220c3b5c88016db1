"""Architectures of transformers in and out: the same logits both ways, or a refusal by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_config

from reslab.data.corpus import write_dataset
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import ByteTokenizer, make_tokenizer, train_bpe
from reslab.model import GPT
from reslab.run.options import SampleConfig
from reslab.run.settings import GPTConfig
from reslab.training import hub, init_from
from reslab.training.families import FAMILIES
from reslab.training.formats import AS_PRENORM
from reslab.training.load import load
from reslab.training.loop import train
from reslab.training.samples import pieces

transformers = pytest.importorskip("transformers")
BYTE = {"kind": "byte"}
SHAPE = {
    "vocab_size": 256,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 40,
    "max_position_embeddings": 64,
    "bos_token_id": None,
    "eos_token_id": None,
}
ROPE = {"rope_type": "default", "rope_theta": 5e5}
WHOLE_ROPE = {"rope_parameters": ROPE | {"partial_rotary_factor": 1.0}}


def random_model(folder: Path, family: str, **changes):
    """A tiny model of transformers with weights far from zero, saved to a folder."""
    config = getattr(transformers, f"{family}Config")(**SHAPE | changes)
    theirs = getattr(transformers, f"{family}ForCausalLM")(config).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    theirs.save_pretrained(folder)
    return theirs


def imported(folder: Path, **changes) -> GPT:
    model = GPT(init_from.resolve_shape(GPTConfig(**changes), str(folder)))
    init_from.fill(str(folder), model, BYTE)
    return model.eval()


def apart(ours, theirs, T: int = 32) -> float:
    ids = torch.randint(256, (2, T), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (ours(ids) - theirs(ids).logits).abs().max().item()


# Family, what differs from SHAPE, settings of ours that must come out, and what it is written as.
THEIRS = {
    "Llama": ("Llama", {"rms_norm_eps": 1e-3}, {"n_inner": 40, "norm_eps": 1e-3, "bias": False}, "llama"),
    "SmolLM: shared keys, tied head, another base": (
        "Llama",
        {"num_key_value_heads": 2, "tie_word_embeddings": True, "rope_parameters": ROPE},
        {"n_kv_head": 2, "tie_weights": True, "rope_theta": 5e5},
        "llama",
    ),
    "Llama with wide heads": ("Llama", {"head_dim": 10}, {"head_dim": 10}, "llama"),
    "Llama with biases": ("Llama", {"attention_bias": True, "mlp_bias": True}, {"bias": True}, "llama"),
    "Mistral": ("Mistral", {"num_key_value_heads": 1, "sliding_window": None}, {"n_kv_head": 1}, "llama"),
    "Mistral, a window that is never left": ("Mistral", {"num_key_value_heads": 2}, {}, "llama"),
    "Qwen2": ("Qwen2", {"num_key_value_heads": 2}, {"qkv_bias": True, "bias": False}, "qwen2"),
    "Qwen3": (
        "Qwen3",
        {"num_key_value_heads": 2, "head_dim": 16, "tie_word_embeddings": True},
        {"qk_norm": True, "head_dim": 16},
        "qwen3",
    ),
    "GPT-NeoX": (
        "GPTNeoX",
        WHOLE_ROPE | {"use_parallel_residual": False, "layer_norm_eps": 1e-3},
        {"norm": "layernorm", "mlp": "gelu_erf", "pos": "rope", "rope_theta": 5e5, "tie_weights": False},
        "gpt_neox",
    ),
    "GPT-NeoX by tanh": (
        "GPTNeoX",
        WHOLE_ROPE | {"use_parallel_residual": False, "hidden_act": "gelu_fast"},
        {"mlp": "gelu"},
        "gpt_neox",
    ),
}


@pytest.mark.parametrize("name", THEIRS)
def test_theirs_becomes_ours_and_goes_back(tmp_path, name):
    family, changes, settings, kind = THEIRS[name]
    theirs = random_model(tmp_path / "m", family, **changes)
    ours = imported(tmp_path / "m")
    assert {key: getattr(ours.config, key) for key in settings} == settings
    assert apart(ours, theirs) < 1e-5 < theirs(torch.tensor([[1]])).logits.abs().max() / 100
    assert ours.count_parameters() == sum(p.numel() for p in theirs.parameters())
    assert hub.write(tmp_path / "back", ours, ByteTokenizer()) < 1e-5
    back = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "back")
    assert back.config.model_type == kind and apart(ours, back) < 1e-5
    again = imported(tmp_path / "back", block_size=ours.config.block_size)
    assert again.config == ours.config


@pytest.mark.parametrize(
    ("family", "changes", "reason"),
    [
        ("Llama", {"hidden_act": "gelu"}, "hidden_act=gelu; this model knows only silu"),
        ("Llama", {"attention_bias": True}, "mlp_bias=False; this model knows only True"),
        (
            "Llama",
            {"rope_parameters": ROPE | {"rope_type": "linear", "factor": 2.0}},
            "rope_parameters.rope_type=linear; this model knows only default",
        ),
        (
            "Mistral",
            {"sliding_window": 16, "num_key_value_heads": 2},
            "sliding_window=16; this model knows only None, or a block_size of at most 16",
        ),
        (
            "Qwen3",
            {"attention_bias": True, "num_key_value_heads": 2},
            "attention_bias=True; this model knows",
        ),
        ("GPTNeoX", WHOLE_ROPE, "use_parallel_residual=True; this model knows only False"),
        ("GPTNeoX", {"use_parallel_residual": False}, "rope_parameters.partial_rotary_factor=0.25; this mo"),
        (
            "GPTNeoX",
            WHOLE_ROPE | {"attention_bias": False},
            "attention_bias=False; this model knows only True",
        ),
        (
            "Gemma",
            {"num_key_value_heads": 2, "head_dim": 6},
            "model_type=gemma; known are gpt2, llama, qwen3,",
        ),
    ],
)
def test_what_ours_can_not_be_is_refused_by_name(tmp_path, family, changes, reason):
    random_model(tmp_path, family, **changes)
    with pytest.raises(ValueError, match=rf"init_from={tmp_path}: {reason}"):
        imported(tmp_path)


def test_a_window_counts_once_the_context_reaches_it(tmp_path):
    theirs = random_model(tmp_path, "Mistral", num_key_value_heads=2, sliding_window=16)
    ours = imported(tmp_path, block_size=16)
    assert apart(ours, theirs, 16) < 1e-5
    with pytest.raises(ValueError, match="sliding_window=16"):
        imported(tmp_path, block_size=17)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_bit_of_a_shorter_number_comes_in(tmp_path, dtype):
    theirs = random_model(tmp_path, "Llama").to(dtype)
    theirs.save_pretrained(tmp_path)
    ours = imported(tmp_path)
    assert torch.equal(ours.wte.weight, theirs.model.embed_tokens.weight.float())
    assert torch.equal(ours.blocks[1].mlp.c_proj.weight, theirs.model.layers[1].mlp.down_proj.weight.float())


def test_a_setting_that_says_the_same_is_no_contradiction(tmp_path):
    random_model(tmp_path, "Llama")
    same = {"n_kv_head": 4, "head_dim": 6, "n_inner": 40, "norm": "rmsnorm"}
    settled = init_from.resolve_shape(GPTConfig(**same), str(tmp_path))
    assert settled == init_from.resolve_shape(GPTConfig(), str(tmp_path))
    for key, value in {"n_kv_head": 2, "head_dim": 8, "n_inner": 64, "rope_theta": 99.0}.items():
        with pytest.raises(ValueError, match=f"{key}={value}: .* has .*; leave it out"):
            init_from.resolve_shape(GPTConfig(**{key: value}), str(tmp_path))


FOLDED = [
    *({"residual": wiring, "residual_scale": 1.0} for wiring in AS_PRENORM),
    {"attn_residual": "layerscale", "mlp_residual": "silent"},
    {"residual": "layerscale", "bias": False, "norm": "rmsnorm", "mlp": "swiglu", "pos": "rope"},
    {"residual": "depth_scaled", "pos": "rope"},
]


@pytest.mark.parametrize("changes", FOLDED, ids=str)
def test_a_constant_beside_the_skip_goes_into_the_weights(tmp_path, changes):
    ours = GPT(tiny_config(vocab_size=256, block_size=32, **changes)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    hub.write(tmp_path, ours, ByteTokenizer())
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert apart(ours, theirs) < 1e-5
    back = imported(tmp_path)
    assert back.config.residual == "pre" and apart(back, theirs) < 1e-5


def test_every_family_is_one_of_transformers():
    for kind, family in FAMILIES.items():
        assert getattr(transformers, f"{family.name}Config").model_type == kind
        assert issubclass(getattr(transformers, family.model), transformers.PreTrainedModel)


TEXT = "def f(x):\n    return x + F(x)  # naïve 🙂\r\n\t'tis  1234 we'll see\n"


def test_a_llama_with_a_tokenizer_is_trained_on_and_written_again(tmp_path, train_config):
    """From its folder alone: its tokens are prepared, three updates, a text, and a folder that comes back."""
    source, data = tmp_path / "m", tmp_path / "data"
    made = to_tokenizers(train_bpe([TEXT * 9], 280))
    made.add_special_tokens(["<s>", "</s>"])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>", eos_token="</s>")
    wrapped.save_pretrained(source)
    random_model(source, "Llama", vocab_size=300, num_key_value_heads=2, eos_token_id=281)
    write_dataset(data, lambda: [TEXT * 99], str(source), "a text", quiet=True)
    config = train_config(dataset=str(data), init_from=str(source), max_iters=3)
    config = replace(config, model=GPTConfig(block_size=16))
    assert train(config) == 0
    model, tokenizer, state = load(tmp_path / "run", weights="last")
    assert state["step"] == 3 and model.config.n_inner == 40 and tokenizer.end_of_text_id == 281
    ids = torch.from_numpy(tokenizer.encode_special("def</s>"))[None]
    assert ids[0, -1] == 281
    text = "".join(pieces(model, tokenizer, ids, SampleConfig(max_new_tokens=8, end_of_text="write")))
    assert text
    hub.write(tmp_path / "back", model, tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "back")
    assert theirs.eos_token == "</s>" and theirs(TEXT).input_ids == tokenizer.encode(TEXT).tolist()
    assert make_tokenizer(str(tmp_path / "back")).end_of_text_id == 281
    again = replace(config, init_from=str(tmp_path / "back"), out_dir=str(tmp_path / "again"))
    assert train(replace(again, optim=replace(again.optim, max_iters=0, warmup_iters=0))) == 0
