"""GPT-2 in and out: the same function, or a refusal with its reason. Nothing is downloaded."""

import base64
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import ROOT, tiny_config

import autopsy
from compare import read_arguments
from model import GPT
from reslab.data.corpus import write_dataset
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import CharTokenizer
from reslab.run.log import read_run
from reslab.run.settings import GPTConfig
from reslab.training import init_from
from reslab.training.grid import plan
from reslab.training.load import load
from reslab.training.loop import train
from train import main as door

transformers = pytest.importorskip("transformers")
MERGES = ROOT.parent / "shared" / "data" / "tiktoken_cache"
TEXT = "def f(x):\n    return x + F(x)  # naïve ñ 漢字 🙂\r\n\t'tis  1234  \x00 we'll see\n" * 3
SHAPE = {"n_positions": 32, "n_layer": 2, "n_head": 2, "n_embd": 16, "bos_token_id": 0, "eos_token_id": 0}


def random_gpt2(folder: Path, **changes):
    """A GPT-2 of transformers with weights far from zero, saved to a folder."""
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**SHAPE | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return model


def imported(source: Path, tokenizer: dict, **changes) -> GPT:
    model = GPT(init_from.resolve_shape(GPTConfig(**changes), str(source)))
    init_from.fill(str(source), model, tokenizer)
    return model.eval()


def apart(ours, theirs, size: int) -> float:
    ids = torch.randint(size, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (ours(ids) - theirs(ids).logits).abs().max().item()


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_every_size_has_the_published_shape(name, count, monkeypatch):
    """Same names and shapes as transformers' model of that size, without holding a weight."""
    shape = init_from.resolve_shape(GPTConfig(), name)
    monkeypatch.setattr(GPT, "init_weights", lambda self, seed: None)
    with torch.device("meta"):
        ours = GPT(replace(shape, block_size=1024))
        config = transformers.GPT2Config(n_layer=shape.n_layer, n_head=shape.n_head, n_embd=shape.n_embd)
        theirs = dict(transformers.GPT2LMHeadModel(config).named_parameters())
    assert ours.count_parameters() == count == sum(p.numel() for p in theirs.values())
    for name, parameter in ours.named_parameters():
        (there,) = init_from.their_names("gpt2", name)
        assert sorted(parameter.shape) == sorted(theirs.pop(there).shape)
    assert not theirs


@pytest.mark.parametrize(
    "changes",
    [{}, {"activation_function": "gelu"}, {"tie_word_embeddings": False}, {"layer_norm_epsilon": 1e-2}],
)
def test_a_gpt2_of_transformers_becomes_ours(tmp_path, changes):
    theirs = random_gpt2(tmp_path / "m", vocab_size=256, **changes)
    assert apart(imported(tmp_path / "m", {"kind": "byte"}), theirs, 256) < 1e-5


def test_old_weights_without_safetensors_load_and_run_nothing(tmp_path):
    theirs = random_gpt2(tmp_path / "m", vocab_size=256)
    (tmp_path / "m" / "model.safetensors").unlink()
    torch.save(theirs.state_dict(), tmp_path / "m" / "pytorch_model.bin")
    assert apart(imported(tmp_path / "m", {"kind": "byte"}), theirs, 256) < 1e-5

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "ran"),)

    torch.save({"transformer.wte.weight": Evil()}, tmp_path / "m" / "pytorch_model.bin")
    with pytest.raises(ValueError, match=r"init_from=.*: can't be loaded"):
        imported(tmp_path / "m", {"kind": "byte"})
    torch.save({"model": Evil(), "model_args": {}}, tmp_path / "ckpt.pt")
    with pytest.raises(ValueError, match="not a checkpoint of nanoGPT that loads without running code"):
        init_from.read_settings(str(tmp_path / "ckpt.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("bias", [True, False])
def test_a_checkpoint_of_nanogpt_becomes_ours(tmp_path, bias):
    """Its names are GPT-2's, its matrices are not transposed, its GELU is the exact one."""
    source = GPT(tiny_config(vocab_size=50_304, mlp="gelu_erf", bias=bias)).eval()
    state = {}
    for name, parameter in source.named_parameters():
        (there,) = init_from.their_names("nanogpt", name)
        state[f"_orig_mod.{there}"] = parameter.detach() + 0.1
    args = {
        key: getattr(source.config, key)
        for key in ("n_layer", "n_head", "n_embd", "block_size", "vocab_size")
    }
    saved = {"model": state, "model_args": args | {"bias": bias, "dropout": 0.0}, "iter_num": 5}
    saved |= {"best_val_loss": torch.tensor(1.0), "config": {"dataset": "x"}, "optimizer": {}}
    torch.save(saved, tmp_path / "ckpt.pt")
    with torch.no_grad():
        for parameter in source.parameters():
            parameter.add_(0.1)
    tokens = [base64.b64encode(bytes([byte])).decode() for byte in range(256)]
    ours = imported(tmp_path / "ckpt.pt", {"kind": "bpe", "name": "gpt2", "pattern": "x", "tokens": tokens})
    ids = torch.randint(19, (2, 8))
    assert torch.equal(ours(ids), source(ids))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"activation_function": "relu"}, "activation_function=relu; this model knows only"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx=True"),
        ({"n_inner": 48}, "n_inner=48; this model knows only 64"),
    ],
)
def test_a_gpt2_that_ours_can_not_be_is_refused(tmp_path, changes, reason):
    random_gpt2(tmp_path / "m", vocab_size=256, **changes)
    with pytest.raises(ValueError, match=reason):
        init_from.resolve_shape(GPTConfig(), str(tmp_path / "m"))


def test_settings_that_contradict_the_weights_are_named(tmp_path):
    random_gpt2(tmp_path / "m", vocab_size=256)
    with pytest.raises(
        ValueError, match=r"(?s)n_layer=4: .* has 2.*n_embd=32: .* has 16; leave it out.*max_iters=0"
    ):
        init_from.resolve_shape(GPTConfig(n_embd=32, n_layer=4), str(tmp_path / "m"))
    with pytest.raises(ValueError, match=r"block_size=64: .* has learned 32 positions, and no more"):
        init_from.resolve_shape(GPTConfig(block_size=64), str(tmp_path / "m"))
    assert imported(tmp_path / "m", {"kind": "byte"}, block_size=8).wpe.weight.shape == (8, 16)
    (tmp_path / "m" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(ValueError, match="model_type=bert; known are gpt2, llama, qwen3"):
        init_from.resolve_shape(GPTConfig(), str(tmp_path / "m"))


def test_another_tokenizer_is_refused(tmp_path):
    random_gpt2(tmp_path / "m", vocab_size=300)
    with pytest.raises(
        ValueError, match="its weights know a vocabulary of 300, the dataset's tokenizer is byte"
    ):
        imported(tmp_path / "m", {"kind": "byte"})
    with pytest.raises(
        ValueError, match=r"its weights know GPT-2's tokens .* the dataset's tokenizer is byte"
    ):
        init_from._check_tokenizer("gpt2", {"kind": "byte"}, 50_257)
    ours, other = CharTokenizer("abc"), CharTokenizer("abd")
    transformers.PreTrainedTokenizerFast(tokenizer_object=to_tokenizers(ours)).save_pretrained(tmp_path / "m")
    init_from._check_tokenizer(str(tmp_path / "m"), ours.to_json(), 3)
    with pytest.raises(
        ValueError, match=r"its weights know the tokenizer in .*, the dataset's tokenizer is char"
    ):
        init_from._check_tokenizer(str(tmp_path / "m"), other.to_json(), 3)


def test_without_transformers_one_line_says_what_to_install(monkeypatch, tmp_path):
    random_gpt2(tmp_path / "m", vocab_size=256)
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"transformers is not installed.*pip install 'transformers>=5'"):
        init_from.resolve_shape(GPTConfig(), str(tmp_path / "m"))


@pytest.fixture
def byte_dataset(tmp_path):
    folder = tmp_path / "bytes"
    write_dataset(folder, lambda: [TEXT * 40], "byte", "a test", quiet=True)
    return str(folder)


def start(train_config, byte_dataset, tmp_path, **changes):
    """The settings of a run of no update from a folder of transformers: the shape is left out."""
    config = train_config(dataset=byte_dataset, init_from=str(tmp_path / "m"), max_iters=0, **changes)
    return replace(config, model=replace(GPTConfig(), residual=config.model.residual, block_size=16))


def test_an_imported_model_is_a_run_like_any_other(train_config, byte_dataset, tmp_path):
    """Its skips come off, it goes on the table, it grows, it trains on and resumes."""
    theirs = random_gpt2(tmp_path / "m", vocab_size=256)
    config = start(train_config, byte_dataset, tmp_path)
    assert train(config) == 0
    run = read_run(tmp_path / "run")
    assert run.config["n_embd"] == 16 and run.config["init_from"] == config.init_from
    ours, _, _ = load(tmp_path / "run")
    ids = torch.randint(256, (2, 16))
    assert (ours(ids) - theirs(ids).logits).abs().max() < 1e-5
    assert autopsy.main([str(tmp_path / "run"), "--sequences=4", "--tokens=2"]) == 0
    report = json.loads((tmp_path / "run" / "autopsy.json").read_text(encoding="utf-8"))
    assert len(report["lesions"]["block"]) == 2 and report["paths"]["error"] < 1e-9

    stripped = start(train_config, byte_dataset, tmp_path, residual="none", out_dir=str(tmp_path / "none"))
    assert train(stripped) == 0
    plain, _, _ = load(tmp_path / "none")
    assert plain.config.residual == "none"
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), ours.parameters(), strict=True))
    assert (plain(ids) - ours(ids)).abs().max() > 0.01

    longer = replace(config, optim=replace(config.optim, max_iters=2), resume=True)
    assert train(longer) == 0 and read_run(tmp_path / "run").last("step") == 2
    grown = train_config(
        dataset=byte_dataset,
        vocab_size=256,
        n_layer=4,
        max_iters=0,
        init_from=str(tmp_path / "run"),
        out_dir=str(tmp_path / "g"),
    )
    assert train(grown) == 0
    reached = read_run(tmp_path / "run").last("val/loss")
    assert read_run(tmp_path / "g").last("val/loss") == pytest.approx(reached, abs=1e-6)


def test_our_own_trained_skips_come_off_too(train_config, tmp_path):
    train(train_config(max_iters=3))
    settings = {"init_from": str(tmp_path / "run"), "max_iters": 0, "out_dir": str(tmp_path / "none")}
    train(train_config(residual="none", block_size=8, **settings))
    plain, _, state = load(tmp_path / "none")
    pre, _, _ = load(tmp_path / "run" / "checkpoint" / "last")
    assert state["config"]["residual"] == "none" and plain.wpe.weight.shape == (8, 16)
    assert torch.equal(plain.blocks[1].mlp.c_fc.weight, pre.blocks[1].mlp.c_fc.weight)
    with pytest.raises(ValueError, match=r"residual=post: the model in .* has pre"):
        train(train_config(residual="post", **settings | {"out_dir": str(tmp_path / "post")}))


@pytest.mark.parametrize("wiring", ["post", "rezero", "layerscale", "identity_start"])
def test_a_wiring_without_a_place_for_the_weights_is_refused(tmp_path, wiring):
    random_gpt2(tmp_path / "m", vocab_size=256)
    with pytest.raises(
        ValueError, match=f"residual={wiring}, {wiring}: .* its weights fit residual=pre, none"
    ):
        imported(tmp_path / "m", {"kind": "byte"}, residual=wiring)


def test_compare_knows_the_cells_of_an_imported_model(train_config, byte_dataset, tmp_path):
    random_gpt2(tmp_path / "m", vocab_size=256)
    config = tmp_path / "c.py"
    config.write_text(
        f"dataset = {byte_dataset!r}\ninit_from = {str(tmp_path / 'm')!r}\n"
        f"out_dir = {str(tmp_path / 'grid')!r}\n"
        "block_size = 16\nmax_iters = 0\neval_sequences = 4\nprobe_sequences = 2\ndevice = 'cpu'\n"
    )
    args, places, settings = read_arguments([str(config), "--arms=pre,none"])
    cells = plan(args, places, settings)
    for cell in cells:
        assert door(cell.argv) == 0
    assert plan(args, places, settings) == cells  # finished cells are the same runs, not others
    losses = [read_run(folder).last("val/loss") for folder, *_ in cells]
    assert losses[0] != losses[1]
