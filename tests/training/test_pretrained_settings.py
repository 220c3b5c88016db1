"""What a model of another program dictates, what stays the run's own, and what does not fit."""

import json
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_config
from tokenizers import processors

from model import GPT
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import ByteTokenizer
from reslab.run.settings import GPTConfig
from reslab.training import init_from

transformers = pytest.importorskip("transformers")
BYTE = {"kind": "byte"}
ROPE = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope"}


def save_ours(folder, **changes):
    """One of our models, far from its start, as a folder of transformers."""
    model = GPT(tiny_config(**{"vocab_size": 256, "block_size": 32} | changes), seed=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    init_from.to_transformers(model).save_pretrained(folder)
    return model


@pytest.mark.parametrize(("longest", "block_size"), [(32, 32), (512, 256), (256, 256)])
def test_a_context_is_as_long_as_both_have_it(tmp_path, longest, block_size):
    save_ours(tmp_path, block_size=longest)
    assert init_from.resolve_shape(GPTConfig(), str(tmp_path)).block_size == block_size


def test_a_shorter_context_keeps_the_first_places(tmp_path):
    theirs = save_ours(tmp_path)
    ours = GPT(init_from.resolve_shape(GPTConfig(block_size=5), str(tmp_path)))
    init_from.fill(str(tmp_path), ours, BYTE)
    assert torch.equal(ours.wpe.weight, theirs.wpe.weight[:5])


def test_rotary_positions_have_no_longest_context(tmp_path):
    save_ours(tmp_path, **ROPE)
    shape = init_from.resolve_shape(GPTConfig(block_size=64), str(tmp_path))
    assert shape.block_size == 64 and shape.pos == "rope"


SHAPES = {
    "gpt2": {"mlp": "gelu_erf", "norm_eps": 1e-3},
    "gpt2, head apart": {"mlp": "relu2", "tie_weights": False},
    "llama": ROPE | {"n_head": 4, "n_kv_head": 2, "bias": False, "norm_eps": 1e-4},
    "qwen3": ROPE | {"n_head": 4, "n_kv_head": 4, "bias": False, "qk_norm": True},
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_setting_of_the_function_comes_from_the_weights(tmp_path, name):
    """And every other one stays what the run says."""
    source = save_ours(tmp_path, **SHAPES[name]).config
    own = {"dropout": 0.25, "residual": "none", "block_size": 7, "residual_scale": 0.125, "init": "fan_in"}
    shape = init_from.resolve_shape(GPTConfig(**own), str(tmp_path))
    for key, value in vars(source).items():
        actual = getattr(shape, key)
        assert actual == own.get(key, value), key
    again = {key: getattr(source, key) for key in ("n_layer", "n_head", "n_embd", "norm", "mlp", "pos")}
    assert (
        init_from.resolve_shape(GPTConfig(**again), str(tmp_path)).n_layer == 3
    )  # said again, it is no fault


def nanogpt(path, longer=0, **changes):
    model = GPT(tiny_config(vocab_size=256, mlp="gelu_erf"))
    state = {init_from.their_names("nanogpt", name)[0]: p.data for name, p in model.named_parameters()}
    shape = {key: getattr(model.config, key) for key in ("n_layer", "n_head", "n_embd", "vocab_size")}
    shape |= {"block_size": 8 + longer}
    torch.save({"model": state | changes, "model_args": shape}, path)
    return str(path), model


def test_an_old_checkpoint_of_nanogpt_has_biases(tmp_path):
    source, theirs = nanogpt(tmp_path / "ckpt.pt")
    shape = init_from.resolve_shape(GPTConfig(), source)
    assert shape.bias and shape.mlp == "gelu_erf" and shape.block_size == 8
    ours = GPT(shape)
    message = init_from.fill(source, ours, BYTE)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert (
        f"{theirs.count_parameters():,} parameters" in message and "n_layer=3 n_head=2 n_embd=16" in message
    )


def test_weights_of_another_size_than_their_settings_are_refused(tmp_path):
    source, _ = nanogpt(tmp_path / "ckpt.pt", longer=4)
    with pytest.raises(ValueError, match=r"transformer.wpe.weight is \(8, 16\), not \(12, 16\)"):
        init_from.fill(source, GPT(init_from.resolve_shape(GPTConfig(), source)), BYTE)
    wide = {"transformer.h.1.mlp.c_fc.weight": torch.zeros(64, 17)}
    source, _ = nanogpt(tmp_path / "ckpt.pt", **wide)
    with pytest.raises(ValueError, match=r"h.1.mlp.c_fc.weight is \(64, 17\), not \(64, 16\)"):
        init_from.fill(source, GPT(init_from.resolve_shape(GPTConfig(), source)), BYTE)


def test_two_names_of_a_thing_are_one(tmp_path):
    save_ours(tmp_path)
    path = tmp_path / "config.json"
    message = json.loads(path.read_text(encoding="utf-8"))
    for change in ({"n_inner": None}, {"n_inner": 64}, {"activation_function": "gelu_pytorch_tanh"}):
        path.write_text(json.dumps(message | change), encoding="utf-8")
        shape = init_from.resolve_shape(GPTConfig(), str(tmp_path))
        assert shape.mlp == "gelu" and shape.mlp_width == 64


def test_a_model_that_is_asked_to_grow_at_once_is_told_how(tmp_path):
    save_ours(tmp_path)
    with pytest.raises(ValueError, match=r"n_layer=5: .* has 3; leave it out\nto grow .* make it a run"):
        init_from.resolve_shape(GPTConfig(n_layer=5), str(tmp_path))


def test_a_run_that_goes_on_needs_its_source_no_more(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    settings = {"n_layer": 3, "n_head": 2, "n_embd": 16, "block_size": 32, "vocab_size": 256}
    config = vars(GPTConfig(**settings, mlp="relu2"))
    (run / "config.json").write_text(json.dumps({"config": config}), encoding="utf-8")
    (run / "metrics.jsonl").write_text("", encoding="utf-8")
    shape = init_from.resolve_shape(GPTConfig(dropout=0.5), str(tmp_path / "gone"), run)
    assert (shape.n_layer, shape.mlp, shape.dropout) == (3, "relu2", 0.5)
    for source in ("scratch", str(run)):  # nothing foreign dictates anything
        assert init_from.resolve_shape(GPTConfig(), source, run) == GPTConfig()


@pytest.mark.parametrize(
    ("tokenizer", "vocab_size", "fits"),
    [("byte", 256, True), ("byte", 255, False), ("byte", 257, False), ("byte", 50_257, False)],
)
def test_without_a_tokenizer_the_size_must_be_the_same(tmp_path, tokenizer, vocab_size, fits):
    path, model = nanogpt(tmp_path / "ckpt.pt")
    like = SimpleNamespace(
        config=SimpleNamespace(vocab_size=vocab_size), named_parameters=lambda: [], ln_f=None
    )
    if fits:
        init_from.fill(path, model, ByteTokenizer().to_json())
        return
    with pytest.raises(ValueError, match=r"its weights know .*, the dataset's tokenizer is byte"):
        init_from.fill(path, like, ByteTokenizer().to_json())


def test_a_tokenizer_that_adds_a_start_is_the_same_tokenizer(tmp_path):
    """A sentence starts with a special token in many of theirs; what the text itself becomes is compared."""
    model, made = save_ours(tmp_path), to_tokenizers(ByteTokenizer())
    letter = made.id_to_token(7)
    made.post_processor = processors.TemplateProcessing(single=f"{letter} $A", special_tokens=[(letter, 7)])
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(tmp_path)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)("a").input_ids == [7, 97]
    init_from.fill(str(tmp_path), model, BYTE)


def test_a_model_of_theirs_comes_without_dropout():
    model = GPT(tiny_config(dropout=0.5)).eval()
    theirs, ids = init_from.to_transformers(model), torch.arange(8)[None]
    assert theirs.config.attn_pdrop == 0.5 and not theirs.training
    assert (theirs(ids).logits - model(ids)).abs().max() < 1e-5


def test_what_is_foreign_is_seen_by_its_files(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"config": {}}), encoding="utf-8")
    assert not init_from.is_foreign(str(tmp_path)) and not init_from.is_own(str(tmp_path))
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    assert init_from.is_own(str(tmp_path)) and not init_from.is_foreign(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "gpt2"}), encoding="utf-8")
    assert init_from.is_foreign(str(tmp_path)) and init_from.is_foreign("gpt2-xl")
    assert not init_from.is_foreign("gpt3") and not init_from.is_foreign(str(tmp_path / "none.pt"))
    with pytest.raises(ValueError, match=r"config\.json: damaged"):
        (tmp_path / "config.json").write_text("{", encoding="utf-8")
        init_from.is_foreign(str(tmp_path))
