"""Ours as folders of transformers: the same function, the same ids, whole or not at all."""

import itertools
import json
import logging
import os
from pathlib import Path

import pytest
import torch
from conftest import ROOT, tiny_config
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import export
import sample
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import GPT2_PATTERN, BPETokenizer, ByteTokenizer, CharTokenizer, train_bpe
from reslab.model import GPT
from reslab.run.settings import GPTConfig
from reslab.training import hub, init_from
from reslab.training.loop import train

transformers = pytest.importorskip("transformers")
MERGES = ROOT.parent / "shared" / "data" / "tiktoken_cache"
TEXT = "def f(x):\n    return x + F(x)  # naïve ñ 漢字 🙂\r\n\t'tis  1234  \x00 we'll see\n" * 3


def imported(source: Path) -> GPT:
    model = GPT(init_from.resolve_shape(GPTConfig(), str(source)))
    init_from.fill(str(source), model, {"kind": "byte"})
    return model.eval()


def apart(ours, theirs, size: int) -> float:
    ids = torch.randint(size, (2, 20), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        return (ours(ids)[..., :size] - theirs(ids).logits).abs().max().item()


MODERN = {"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope"}
MODELS = {
    "gpt2": ({}, "gpt2"),
    "gpt2 without biases, head apart": ({"bias": False, "tie_weights": False}, "gpt2"),
    "gpt2 with squared ReLU": ({"mlp": "relu2"}, "gpt2"),
    "llama": (MODERN | {"bias": False}, "llama"),
    "llama with biases": (MODERN | {"n_kv_head": 1, "tie_weights": False}, "llama"),
    "qwen3": ({"norm": "rmsnorm", "mlp": "swiglu", "pos": "rope", "bias": False, "qk_norm": True}, "qwen3"),
    "llama with shared keys, padded": (MODERN | {"n_head": 4, "n_kv_head": 2, "vocab_size": 300}, "llama"),
    "gpt2 with a padded vocabulary, head apart": ({"tie_weights": False, "vocab_size": 300}, "gpt2"),
    "qwen3 with shared keys, another epsilon": (
        {
            "norm": "rmsnorm",
            "mlp": "swiglu",
            "pos": "rope",
            "bias": False,
            "qk_norm": True,
            "n_head": 4,
            "n_kv_head": 2,
            "norm_eps": 1e-2,
        },
        "qwen3",
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_ours_becomes_theirs_and_comes_back(tmp_path, name):
    changes, kind = MODELS[name]
    torch.manual_seed(0)
    ours = GPT(tiny_config(**{"vocab_size": 256, "block_size": 32} | changes)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    assert hub.write(tmp_path / "m", ours, ByteTokenizer()) < 1e-5
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    assert theirs.config.model_type == kind and apart(ours, theirs, 256) < 1e-5
    back, there = dict(ours.named_parameters()), dict(imported(tmp_path / "m").named_parameters())
    for name, parameter in back.items():  # but for the rows that pad the vocabulary
        written = parameter[:256] if name in ("wte.weight", "lm_head.weight") else parameter
        assert torch.equal(there.pop(name), written), name
    assert all(name.endswith("bias") and (p == 0).all() for name, p in there.items())  # GPT-2 has them always


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"residual": "none"},
            r"attn_residual=none: .* x \+ F\(N\(x\)\), this wiring: y = F\(N\(x\)\)",
        ),
        ({"residual": "scaled", "residual_scale": 0.9}, "attn_residual=scaled"),
        ({"residual": "rezero"}, "attn_residual=rezero"),
        ({"mlp_residual": "none"}, "mlp_residual=none"),
        (
            {"norm": "rmsnorm"},
            "norm=rmsnorm, mlp=gelu, pos=learned.*: no model of transformers .*; GPT2 has norm=layernorm",
        ),
        ({"qk_norm": True}, "GPT2 has qk_norm=False"),
        ({"n_kv_head": 1}, "GPT2 has n_kv_head=0"),
        ({"head_dim": 4}, "GPT2 has head_dim=0"),
        (MODERN | {"qk_norm": True}, "Llama has qk_norm=False, Qwen3 has bias=False"),
    ],
)
def test_what_transformers_can_not_express_is_refused(changes, reason):
    with pytest.raises(ValueError, match=reason):
        init_from.to_transformers(GPT(tiny_config(**changes)))


@pytest.mark.parametrize("kind", ["char", "byte", "bpe"])
def test_a_tokenizer_keeps_its_ids(kind, tmp_path):
    tokenizer = {
        "char": lambda: CharTokenizer(TEXT),
        "byte": ByteTokenizer,
        "bpe": lambda: train_bpe([TEXT], 300),
    }[kind]()
    model = GPT(tiny_config(vocab_size=tokenizer.vocab_size))
    hub.make_tokenizer(tokenizer, model).save_pretrained(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in (TEXT, "\n\n\r\n\n  \t\t"):
        assert theirs(text).input_ids == tokenizer.encode(text).tolist()
        assert theirs.decode(theirs(text).input_ids) == text
    if kind == "char":
        with pytest.raises(Exception, match="UNK"):  # unknown here is unknown there
            theirs("Ω")


def test_words_cut_by_another_pattern_keep_their_ids():
    ranks = train_bpe([TEXT], 300).ranks
    other = BPETokenizer("other", r"\p{L}+|[^\p{L}]", ranks)
    assert other.encode(TEXT).tolist() != BPE.encode(TEXT).tolist()
    assert to_tokenizers(other).encode(TEXT).ids == other.encode(TEXT).tolist()


def test_another_kind_of_tokenizer_is_refused():
    with pytest.raises(ValueError, match="tokenizer=object: only characters, bytes, byte pairs and a tok"):
        to_tokenizers(object())


@pytest.mark.skipif(
    not MERGES.exists() and "TIKTOKEN_CACHE_DIR" not in os.environ, reason="needs GPT-2's merges"
)
def test_gpt2s_tokenizer_keeps_its_ids(monkeypatch, tmp_path):
    from reslab.data.tokenizer import GPT2Tokenizer

    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", os.environ.get("TIKTOKEN_CACHE_DIR", str(MERGES)))
    made = hub.make_tokenizer(GPT2Tokenizer(), GPT(tiny_config()))
    assert made(TEXT).input_ids == GPT2Tokenizer().encode(TEXT).tolist()
    assert made.convert_tokens_to_ids("<|endoftext|>") == made.eos_token_id == 50_256 and len(made) == 50_257


def test_an_export_is_whole_and_replaces_nothing_unasked(train_config, tmp_path, capsys, monkeypatch):
    train(train_config(max_iters=2))
    folder = tmp_path / "out"
    argv = [str(tmp_path / "run"), str(folder)]
    assert export.main(argv) == 0
    assert "as gpt2" in capsys.readouterr().out
    made = (folder / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="exists, and nothing is replaced unasked; give --overwrite"):
        export.main(argv)
    with monkeypatch.context() as broken:
        broken.setattr(
            nn.Module, "load_state_dict", lambda *a, **k: (_ for _ in ()).throw(ValueError("broken"))
        )
        with pytest.raises(ValueError):
            export.main([*argv, "--overwrite"])
    assert (folder / "model.safetensors").read_bytes() == made
    assert export.main([*argv, "--overwrite"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run", "out"}
    for door in (export.main, sample.main):
        with pytest.raises(ValueError, match="out: a folder of transformers, and no run; make a run of it"):
            door([str(folder), str(tmp_path / "again")][: 2 if door is export.main else 1])
    (tmp_path / "mine").mkdir()
    with pytest.raises(ValueError, match=r"it holds no model that export\.py wrote; choose another DIR"):
        export.main([argv[0], str(tmp_path / "mine"), "--overwrite"])


BPE = train_bpe([TEXT], 300)
MADE = {"byte": (ByteTokenizer(), to_tokenizers(ByteTokenizer())), "bpe": (BPE, to_tokenizers(BPE))}


@pytest.mark.parametrize("kind", MADE)
@settings(max_examples=60, deadline=None)
@given(text=st.text())
@example(text=" a  b\u00a0\u00ad\n\n x'll ,!")
@example(text="".join(map(chr, range(512))))
def test_any_text_has_the_same_ids(kind, text):
    ours, theirs = MADE[kind]
    ids = ours.encode(text).tolist()
    assert theirs.encode(text).ids == ids and theirs.decode(ids) == text


def test_tokens_that_several_pairs_could_make_have_the_same_ids():
    """Runs of one byte, and overlaps: which pair a token is made of depends on the order of learning."""
    learned = [(b"a", b"a"), (b"aa", b"a"), (b"b", b"a"), (b"aa", b"ba"), (b"aaa", b"aa"), (b"a", b"ba")]
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {a + b: 256 + k for k, (a, b) in enumerate(learned)}
    ours = BPETokenizer("runs", GPT2_PATTERN, dict(reversed(ranks.items())))
    theirs = to_tokenizers(ours)
    for letters in itertools.chain.from_iterable(itertools.product("ab", repeat=n) for n in range(1, 11)):
        text = "".join(letters)
        assert theirs.encode(text).ids == ours.encode(text).tolist(), text


TOKENIZERS = {"char": CharTokenizer(TEXT), "byte": ByteTokenizer(), "bpe": BPE}


@pytest.mark.parametrize("shape", [{}, MODERN | {"bias": False}, {"pos": "rope"}], ids=str)
@pytest.mark.parametrize("kind", TOKENIZERS)
def test_a_pipeline_writes_as_long_as_the_context_and_complains_of_nothing(tmp_path, kind, shape, caplog):
    tokenizer = TOKENIZERS[kind]
    config = tiny_config(vocab_size=tokenizer.vocab_size + 5, block_size=40, **shape)
    hub.write(tmp_path, GPT(config).eval(), tokenizer)
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert saved["vocab_size"] == tokenizer.vocab_size and saved.get("n_ctx", 40) == 40
    logging.getLogger("transformers").addHandler(caplog.handler)
    try:
        write = transformers.pipeline("text-generation", str(tmp_path))
        for prompt in ("def f", " x  'tis ) \n  \t\r\n🙂 "):
            (text,) = write(prompt)
            assert text["generated_text"].startswith(prompt)
            ids = write(prompt, return_tensors=True)[0]["generated_token_ids"]
            assert len(ids) == 40 and max(ids) < tokenizer.vocab_size
        long = torch.zeros(1, 30, dtype=torch.long)
        assert [write.model.generate(long, **n).shape[1] for n in ({}, {"max_length": 35})] == [40, 35]
    finally:
        logging.getLogger("transformers").removeHandler(caplog.handler)
    assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_folder_says_how_long_a_text_may_be_and_how_it_ends(tmp_path):
    hub.write(tmp_path, GPT(tiny_config(vocab_size=256)).eval(), ByteTokenizer())
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert tokenizer.model_max_length == 8 and tokenizer.eos_token is None
    assert tokenizer.clean_up_tokenization_spaces is False
    assert tokenizer.decode(tokenizer("a , b .").input_ids) == "a , b ."
    assert model.config.eos_token_id is model.generation_config.bos_token_id is None
    assert model.config.bos_token_id is model.generation_config.eos_token_id is None


@pytest.mark.parametrize("kind", ["byte", "bpe"])
def test_a_model_of_documents_leaves_with_their_end(kind, tmp_path):
    """The token is one id behind all others, text that spells it comes back, and generating stops at it."""
    tokenizer = ByteTokenizer() if kind == "byte" else train_bpe([TEXT], 300)
    tokenizer.end_at(end := tokenizer.vocab_size)
    hub.write(tmp_path, GPT(tiny_config(vocab_size=end + 9)).eval(), tokenizer)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert theirs.eos_token_id == end and len(theirs) == end + 1
    for text in ("a <|endoftext|>\r\n\t b", "  <|endoftext|>", "🙂<|endoftext|><|endoftext|>"):
        assert theirs(text).input_ids == tokenizer.encode_special(text).tolist()
        assert theirs.decode(theirs(text).input_ids) == text
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert model.generation_config.eos_token_id == model.config.eos_token_id == end
    with torch.no_grad():  # every token is the end
        model.lm_head.weight.zero_()[end] = 1
        model.transformer.ln_f.weight.zero_()
        model.transformer.ln_f.bias.fill_(1)
    assert model.generate(torch.tensor([[97]])).tolist() == [[97, end]]


def test_what_was_written_wrong_is_found(tmp_path, monkeypatch, train_config):
    """Against the run itself: other weights by a little, and a tokenizer with two ids exchanged."""
    ours, real = GPT(tiny_config(vocab_size=256)).eval(), init_from.to_transformers

    def bent(model, vocab_size):
        theirs = real(model, vocab_size)
        theirs.transformer.ln_f.weight.data.mul_(1.001)
        return theirs

    with monkeypatch.context() as patch:
        patch.setattr(init_from, "to_transformers", bent)
        with pytest.raises(ValueError, match=r"the logits of what was written differ by .*nothing was kept"):
            hub.write(tmp_path / "a", ours, ByteTokenizer())
        train(train_config(max_iters=1))
        with pytest.raises(ValueError, match="nothing was kept"):
            export.main([str(tmp_path / "run"), str(tmp_path / "out")])
        assert {path.name for path in tmp_path.iterdir()} == {"a", "run"}
    ours.ln_f.weight.data.fill_(torch.nan)
    with pytest.raises(ValueError, match="differ by nan; nothing was kept"):
        hub.write(tmp_path / "n", ours, ByteTokenizer())
    ours.ln_f.weight.data.fill_(1.0)
    other = BPETokenizer("x", BPE.pattern, {bytes([byte ^ 1]): byte for byte in range(256)})
    made = hub.make_tokenizer(other, ours)
    monkeypatch.setattr(hub, "make_tokenizer", lambda *_: made)
    with pytest.raises(ValueError, match="the tokenizer that was written gives other ids; nothing was kept"):
        hub.write(tmp_path / "b", ours, ByteTokenizer())


def test_a_folder_that_is_in_the_way_stays_as_it_is(train_config, tmp_path):
    train(train_config(max_iters=1))
    (tmp_path / "file").write_text("mine")
    for place in (tmp_path / "run", tmp_path / "file"):
        before = sorted(tmp_path.rglob("*"))
        for more in ([], ["--overwrite"]):
            with pytest.raises(ValueError, match=r"exists, and nothing is replaced unasked|is a file"):
                export.main([str(tmp_path / "run"), str(place), *more])
        assert sorted(tmp_path.rglob("*")) == before
