"""Weights are used or refused: no tensor is left out, no parameter stays random, files say what they are."""

import json
import pickle
import re
import struct

import pytest
import torch
from conftest import run_python, tiny_config
from safetensors.torch import load_file, save_file

from reslab.data.corpus import write_dataset
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import CharTokenizer
from reslab.model import GPT
from reslab.run.settings import GPTConfig
from reslab.training import init_from
from reslab.training.families import NANOGPT
from reslab.training.formats import their_names
from reslab.training.same_tokenizer import check_tokenizer

transformers = pytest.importorskip("transformers")
BYTE = {"kind": "byte"}


@pytest.fixture
def llama(tmp_path):
    """A folder of transformers with a tiny Llama whose head is apart."""
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.LlamaConfig(**shape, vocab_size=256, max_position_embeddings=32)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "m")
    return tmp_path / "m"


def start(source, tokenizer=BYTE) -> GPT:
    model = GPT(init_from.resolve_shape(GPTConfig(), str(source)))
    init_from.fill(str(source), model, tokenizer)
    return model


def change_tensors(folder, change) -> None:
    file = folder / "model.safetensors"
    save_file(change(load_file(file)), file, metadata={"format": "pt"})


def change_settings(folder, **changes) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def without(name):
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key != name}


NORM = "model.layers.1.input_layernorm.weight"
EXTRA = {f"model.layers.{layer}.extra.weight": torch.ones(2) for layer in range(5)}
CHANGES = {
    "a missing tensor": (without(NORM), {}, f"no weights for {NORM}; nothing was loaded"),
    "a missing head": (without("lm_head.weight"), {}, "no weights for lm_head.weight"),
    "another prefix": (
        lambda tensors: {f"net.{key}": tensor for key, tensor in tensors.items()},
        {},
        r"no weights for lm_head.weight, .* and \d+ more, and no use for net.lm_head.weight, .* and \d+ more",
    ),
    "more tensors": (
        lambda tensors: tensors | EXTRA,
        {},
        r"no use for model.layers.0.extra.weight, .*, model.layers.2.extra.weight and 2 more",
    ),
    "layers beyond the number": (
        lambda tensors: tensors,
        {"num_hidden_layers": 1},
        r"no use for model.layers.1.input_layernorm.weight, .* and 6 more",
    ),
    "a head that is said to be tied": (
        lambda tensors: tensors,
        {"tie_word_embeddings": True},
        "lm_head.weight is not the token embedding, .* tie_word_embeddings: false",
    ),
    "another size": (
        lambda tensors: tensors | {NORM: torch.ones(17)},
        {},
        rf"{NORM} is \(17,\), not \(16,\)",
    ),
    "biases that the settings don't know": (
        lambda tensors: tensors | {"model.layers.0.self_attn.q_proj.bias": torch.ones(16)},
        {},
        "no use for model.layers.0.self_attn.q_proj.bias",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_weights_that_are_not_the_model_s_are_refused_by_name(llama, name):
    change, settings, reason = CHANGES[name]
    change_tensors(llama, change)
    change_settings(llama, **settings)
    with pytest.raises(ValueError, match=f"init_from={llama}: .*{reason}") as error:
        start(llama)
    assert len(str(error.value).splitlines()) == 1


def test_an_equal_twin_and_known_buffers_are_no_tensors_too_many(llama, tmp_path):
    def tied(tensors):
        twin = {"lm_head.weight": tensors["model.embed_tokens.weight"].clone()}
        angles = {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}
        return tensors | twin | angles

    change_tensors(llama, tied)
    change_settings(llama, tie_word_embeddings=True)
    assert start(llama).lm_head is None


def nanogpt(path, change=lambda state: state, **settings):
    model = GPT(tiny_config(vocab_size=settings.pop("vocab_size", 256), mlp="gelu_erf"))
    state = {their_names(NANOGPT, name)[0]: p.detach().clone() for name, p in model.named_parameters()}
    state |= {"lm_head.weight": state["transformer.wte.weight"].clone()}
    state |= {"transformer.h.0.attn.bias": torch.ones(1, 1, 8, 8)}  # the causal mask
    args = {key: getattr(model.config, key) for key in ("n_layer", "n_head", "n_embd", "block_size")}
    args |= {"vocab_size": model.config.vocab_size, "bias": True}
    torch.save({"model": change(state), "model_args": args | settings}, path)
    return model


def test_a_nanogpt_is_used_whole(tmp_path):
    theirs, ids = nanogpt(tmp_path / "ckpt.pt").eval(), torch.arange(8)[None]
    assert torch.equal(start(tmp_path / "ckpt.pt").eval()(ids), theirs(ids))
    head = torch.randn(256, 16)
    nanogpt(tmp_path / "ckpt.pt", lambda state: state | {"lm_head.weight": head})
    ours = start(tmp_path / "ckpt.pt")  # a head of its own is no head that is dropped
    assert torch.equal(ours.lm_head.weight, head)
    for change, settings, reason in (
        (without("transformer.h.1.ln_1.bias"), {}, "no weights for transformer.h.1.ln_1.bias; nothing was"),
        (lambda state: state, {"n_layer": 2}, r"no use for transformer.h.2.attn.c_attn.bias, .* and 9 more"),
        (lambda state: state | {"lora_A": head}, {}, "no use for lora_A"),
    ):
        nanogpt(tmp_path / "ckpt.pt", change, **settings)
        with pytest.raises(ValueError, match=reason):
            start(tmp_path / "ckpt.pt")


def test_a_size_alone_tells_no_characters(tmp_path):
    """As many characters as the dataset has, and others: nothing says so, unless a file does."""
    ours, others = CharTokenizer("abcd").to_json(), CharTokenizer("wxyz").to_json()
    nanogpt(tmp_path / "ckpt.pt", vocab_size=4)
    with pytest.raises(ValueError, match=r"a vocabulary of 4, and no file says of what: put the tokenizer"):
        start(tmp_path / "ckpt.pt", ours)
    meta = {"vocab_size": 4, "baselines_nats": {}, "source": "", "source_sha256": "", "dtype": "uint16"}
    split = {"tokens": 9, "chars": 9, "bytes": 9, "sha256": ""}
    meta |= {"splits": {"train": split, "val": split}, "tokenizer": ours}
    (tmp_path / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    start(tmp_path / "ckpt.pt", ours)
    with pytest.raises(ValueError, match=r"its weights know the tokenizer in .*meta.json; the dataset's"):
        start(tmp_path / "ckpt.pt", others)


def test_every_character_is_compared(llama):
    """Of an alphabet of a thousand, one that differs."""
    alphabet = "".join(map(chr, range(1000, 2000)))
    ours, other = CharTokenizer(alphabet), CharTokenizer(alphabet[:-2] + "\u4e00" + alphabet[-1])
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=to_tokenizers(ours))
    wrapped.save_pretrained(llama)
    start(llama, ours.to_json())
    with pytest.raises(ValueError, match="its weights know the tokenizer in"):
        start(llama, other.to_json())


def test_a_vocabulary_as_large_as_gpt2s_is_not_gpt2s(llama):
    bpe = {"kind": "bpe", "name": "gpt2", "pattern": "x", "tokens": []}
    with pytest.raises(ValueError, match="a vocabulary of 60000, and no file says of what"):
        check_tokenizer(str(llama), bpe, 60_000, may_be_gpt2=False)
    check_tokenizer(str(llama), bpe, 50_304, may_be_gpt2=True)


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of a file was run')",)


STATE = {"transformer.wte.weight": torch.ones(2, 2)}
ARGS = {"n_layer": 1, "n_head": 1, "n_embd": 2, "block_size": 8, "vocab_size": 2}
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 123\n"
FILES = {
    "a bare state dict": (STATE, "a bare state dict: the settings of its model are not in it; save"),
    "inside DistributedDataParallel": (
        {"model": {f"module.{name}": tensor for name, tensor in STATE.items()}, "model_args": ARGS},
        "its names begin with module., .* model.module.state_dict",
    ),
    "llama2.c": (
        {"model": STATE, "model_args": {"dim": 8, "n_layers": 1, "n_heads": 1, "vocab_size": 9}},
        "a checkpoint of llama2.c; its export.py writes a folder of transformers with --version -1",
    ),
    "another trainer": ({"state_dict": STATE, "epoch": 3}, "this one holds state_dict, epoch"),
    "no settings": ({"model": STATE, "model_args": {"n_layer": 1}}, "no whole number for vocab_size, block_"),
    "a list": ([1, 2], "holds a list"),
    "code": ({"model": Evil(), "model_args": ARGS}, "loads without running code"),
    "llama2.c, a bin": (b"24ka" + struct.pack("<8i", 1, *[9] * 7) + b"\xff" * 99, "a model of llama2.c; its"),
    "llama2.c, an old bin": (
        struct.pack("<7i", *[9] * 7) + b"\xff\x00" * 99,
        "a model.bin of llama2.c becomes",
    ),
    "llama.cpp": (b"GGUF\x03\0\0\0", "a model of llama.cpp; give the folder of transformers"),
    "a text": ("To be, or not to be: naïve 🙂\n" * 999, "a text file, and no weights; to train on its text"),
    "a pointer": (POINTER, "a pointer of Git LFS in place of the file; run: git lfs pull"),
    "a pickle": (pickle.dumps(Evil()), "loads without running code"),
    "nothing": (b"", "an empty file"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_program_is_told_what_it_is(tmp_path, name):
    content, reason = FILES[name]
    file = tmp_path / "weights.pt"
    if isinstance(content, bytes | str):
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    else:
        torch.save(content, file)
    with pytest.raises(ValueError, match=f"init_from={file}: .*{reason}") as error:
        start(file)
    assert len(str(error.value).splitlines()) == 1


def test_a_folder_that_is_not_whole_is_told_what_it_lacks(llama):
    (llama / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"holds an adapter of PEFT.*: model\.merge_and_unload"):
        start(llama)
    (llama / "adapter_config.json").unlink()
    change_settings(llama, quantization_config={"bits": 4})
    with pytest.raises(ValueError, match="its weights are quantised"):
        start(llama)
    change_settings(llama, quantization_config=None)
    start(llama)
    with pytest.raises(ValueError, match="weights without their settings; give the folder"):
        start(llama / "model.safetensors")
    (llama / "model.safetensors").write_bytes(POINTER)
    with pytest.raises(ValueError, match=r"model\.safetensors is a pointer of Git LFS .*; run: git lfs pull"):
        start(llama)


@pytest.mark.slow
def test_the_door_ends_with_2_and_one_line(tmp_path, llama):
    change_tensors(llama, without(NORM))
    data, out = tmp_path / "data", tmp_path / "run"
    write_dataset(data, lambda: ["a text, and more of it.\n" * 99], "byte", "a text", quiet=True)
    argv = [f"--init_from={llama}", f"--dataset={data}", f"--out_dir={out}", "--device=cpu"]
    done = run_python("train.py", *argv, "--block_size=16", "--max_iters=0", code=2)
    assert re.fullmatch(rf"error: .*no weights for {NORM}.*\n", done.stderr) and not out.exists()
