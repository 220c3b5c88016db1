"""Choosing a token, and the text that a checkpoint gives: sample.py and the samples of a run."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import tiny_model

import sample
from reslab.data.dataset import TokenDataset
from reslab.data.documents import Plan, prepare
from reslab.data.source import Source
from reslab.data.tokenizer import ByteTokenizer
from reslab.model import GPT
from reslab.nn.generate import sample_next_token
from reslab.run import checkpoint
from reslab.run.log import read_run
from reslab.run.options import SampleConfig
from reslab.system import device
from reslab.training import samples
from reslab.training.load import load
from reslab.training.loop import train

LOGITS = torch.tensor([[0.3, 2.0, -1.0, 1.2, 0.9], [1.0, -2.0, 0.5, 3.0, 0.0]])


def probabilities(logits, temperature=1.0, top_k=None, top_p=None) -> list[float]:
    """One row in plain Python: sharpen, keep the k likeliest, renormalise, keep the p likeliest."""
    weights = [math.exp(logit / temperature) for logit in logits]
    order = sorted(range(len(weights)), key=lambda i: -weights[i])[:top_k]
    total, before, kept = sum(weights[i] for i in order), 0.0, []
    for i in order:
        if top_p is None or before < top_p:
            kept.append(i)
        before += weights[i] / total
    return [w / sum(weights[j] for j in kept) if i in kept else 0.0 for i, w in enumerate(weights)]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("top_k", [None, 1, 2, 4, 5, 9])
@pytest.mark.parametrize("top_p", [None, 0.01, 0.5, 0.8, 0.95, 1.0])
def test_a_token_is_drawn_with_exactly_these_probabilities(monkeypatch, temperature, top_k, top_p):
    seen, real = [], torch.multinomial

    def watched(probs, count, **options):
        seen.append(probs)
        return real(probs, count, **options)

    monkeypatch.setattr(torch, "multinomial", watched)
    before = LOGITS.clone()
    ids = sample_next_token(LOGITS, temperature, top_k, top_p)
    assert ids.shape == (2,) and torch.equal(LOGITS, before)
    expected = [probabilities(row.tolist(), temperature, top_k, top_p) for row in LOGITS]
    assert torch.allclose(seen[0], torch.tensor(expected), atol=1e-6)
    assert all(probs[i] > 0 for probs, i in zip(expected, ids.tolist(), strict=True))


def test_the_likeliest_is_taken_without_a_draw():
    state = torch.random.get_rng_state()
    assert sample_next_token(LOGITS, 0).tolist() == [1, 3]
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_coldest_draw_is_the_likeliest():
    assert sample_next_token(LOGITS, 1e-300).tolist() == [1, 3]


def test_a_generator_alone_decides():
    many = LOGITS[:1].expand(200, 5)
    draws = [sample_next_token(many, generator=torch.Generator().manual_seed(s)).tolist() for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


class Script:
    """A model that says given ids, and remembers what it was asked for."""

    def __init__(self, content):
        self.content, self.calls = content, []

    def generate(self, idx, max_new_tokens, temperature, top_k, top_p, generator, vocab_size):
        seed = generator.initial_seed()
        self.calls.append((idx, max_new_tokens, temperature, top_k, top_p, seed, vocab_size))
        yield from (torch.tensor([byte]) for byte in self.content)


def test_a_text_is_asked_for_as_it_was_set_and_shown_in_whole_characters():
    model = Script("né漢🙂".encode() + b"\xe6\xbc")
    config = SampleConfig(max_new_tokens=7, temperature=0.3, top_k=4, top_p=0.6, seed=20)
    prompt = torch.zeros(1, 1, dtype=torch.long)
    shown = list(samples.pieces(model, ByteTokenizer(), prompt, config, 2))
    assert [text for text in shown if text] == ["n", "é", "漢", "🙂", "\N{REPLACEMENT CHARACTER}"]
    assert model.calls == [(prompt, 7, 0.3, 4, 0.6, 22, 256)]
    list(samples.pieces(model, ByteTokenizer(), prompt, replace(config, top_k=0)))
    assert model.calls[1][3] is None  # 0 keeps all


@pytest.mark.parametrize(
    ("key", "allowed", "refused"),
    [
        ("num_samples", [1], [0, -1]),
        ("max_new_tokens", [1], [0]),
        ("temperature", [0.0, 5.0], [-0.1, math.inf, math.nan]),
        ("top_k", [0, 1], [-1]),
        ("top_p", [1.0, 0.01], [0.0, 1.01]),
        ("seed", [0, 2**63 - 1], [-1, 2**63]),
        ("dtype", ["auto", "bfloat16"], ["int8"]),
        ("prompt", [" "], [""]),
    ],
)
def test_settings_of_a_text_are_taken_up_to_their_edge(key, allowed, refused):
    for value in allowed:
        assert not SampleConfig(**{key: value}).faults()
    for value in refused:
        (fault,) = SampleConfig(**{key: value}).faults()
        assert fault.startswith((f"{key}={value}: ", f"{key}: "))


@pytest.fixture
def run(train_config):
    """A run with dropout whose best checkpoint is not its last, and whose vocabulary is padded."""
    config = train_config(dropout=0.5, max_iters=3, vocab_size=300)
    train(config)
    folder = Path(config.out_dir)
    best = folder / "checkpoint" / "best"
    model = load(best)[0]
    with torch.no_grad():
        model.wte.weight.copy_(0.3 * torch.randn_like(model.wte.weight))
    state = checkpoint.load_state(best) | {"step": 1}
    checkpoint.save(best, model, checkpoint.load_optimizer(best), state)
    return folder


def test_weights_that_are_not_finite_are_refused(run):
    best = run / "checkpoint" / "best"
    model, _, state = load(best)
    with torch.no_grad():
        model.wte.weight[0, 0] = torch.nan
    checkpoint.save(best, model, checkpoint.load_optimizer(best), state)
    with pytest.raises(
        ValueError, match=r"best: wte\.weight has values that are not finite; give a model that"
    ):
        sample.main([str(run), "--device=cpu"])


def test_a_text_has_the_precision_in_which_one_token_is_faster(run, monkeypatch):
    asked = []
    monkeypatch.setattr(
        device, "pick_dtype", lambda *told, token=False: asked.append((told, token)) or "float32"
    )
    assert sample.main([str(run), "--device=cpu", "--max_new_tokens=2"]) == 0
    assert asked == [(("auto", "cpu", 16), True)]


def test_a_text_comes_from_the_best_weights_without_dropout(run, capsys):
    model, tokenizer, state = load(run)
    best, last = (load(run / "checkpoint" / name)[0] for name in ("best", "last"))
    assert state["step"] == 1 and torch.equal(model.wte.weight, best.wte.weight)
    assert not torch.equal(best.wte.weight, last.wte.weight)
    assert not any(module.training for module in model.modules())
    argv = [str(run), "--prompt=def ", "--max_new_tokens=40", "--device=cpu", "--dtype=float32"]
    texts = []
    for more in (["--seed=5"], ["--seed=6"], ["--seed=5", "--num_samples=2"]):
        assert sample.main([*argv, *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[2] == f"--- 1 of 2 ---\n{texts[0]}--- 2 of 2 ---\n{texts[1]}" and texts[0] != texts[1]
    prompt = torch.from_numpy(tokenizer.encode("def "))[None]
    draws = torch.Generator().manual_seed(5)
    ids = model.generate(prompt, 40, 0.8, generator=draws, vocab_size=tokenizer.vocab_size)
    text = tokenizer.decode_bytes([int(token) for token in ids]).decode()
    assert texts[0] == f"def {text}\n" and len(text) == 40
    assert sample.main([*argv, "--seed=5", "--temperature=0", "--max_new_tokens=9"]) == 0
    greedy = model.generate(prompt, 9, 0, vocab_size=tokenizer.vocab_size)
    assert capsys.readouterr().out == f"def {tokenizer.decode_bytes([int(i) for i in greedy]).decode()}\n"


def test_a_prompt_file_is_read_or_refused(run, tmp_path, capsys):
    file = tmp_path / "p.txt"
    argv = [str(run), f"--prompt=FILE:{file}", "--max_new_tokens=1", "--device=cpu"]
    file.write_text("import", encoding="utf-8")
    assert sample.main(argv) == 0 and capsys.readouterr().out.startswith("import")
    for nothing, message in ((b"", r"p\.txt: is empty"), (b"\xef\xbb\xbf", "needs at least one character")):
        file.write_bytes(nothing)
        with pytest.raises(ValueError, match=message):
            sample.main(argv)
    file.write_bytes(b"\xff")
    with pytest.raises(ValueError, match=r"p\.txt: not UTF-8 text"):
        sample.main(argv)
    with pytest.raises(ValueError, match="no checkpoint here; give a run directory"):
        load(tmp_path)
    with pytest.raises(ValueError, match="none: no such file or folder"):
        load(tmp_path / "none")


def test_a_sample_continues_the_first_words_of_val(train_config):
    config = train_config()
    dataset = TokenDataset(Path(config.dataset), 32, config.seed)
    size = dataset.vocab_size
    shape = replace(config.model, block_size=32, vocab_size=size + 500)
    model = GPT(shape).eval()
    row = samples.write(model, dataset, 30, seed=3)
    prompt = dataset.ids["val"][:16].astype("int64")
    assert row["sample/prompt"] == dataset.tokenizer.decode_bytes(prompt.tolist()).decode()
    draws = torch.Generator().manual_seed(3)
    ids = model.generate(torch.from_numpy(prompt)[None], 30, 0.8, generator=draws, vocab_size=size)
    text = dataset.tokenizer.decode_bytes([int(token) for token in ids]).decode()
    assert row["sample/text"] == text and len(text) == 30


@pytest.mark.parametrize(
    ("layers", "sample_tokens", "length"), [(1, 30, 30), (300, 30, 24), (1000, 30, 16), (1000, 5, 5)]
)
def test_deep_stacks_write_less(train_config, layers, sample_tokens, length):
    dataset = TokenDataset(Path(train_config().dataset), 32, 1)
    asked_for = []

    class Deep(GPT):
        def generate(self, prompt, count, *args, **options):
            asked_for.append(count)
            return iter([torch.tensor([0])] * count)

    shape = replace(train_config().model, n_layer=1, vocab_size=dataset.vocab_size)
    model = Deep(shape)
    model.config = replace(shape, n_layer=layers)
    samples.write(model, dataset, sample_tokens, seed=1)
    assert asked_for == [length]


def test_a_run_writes_a_handful_of_samples():
    assert [n for n in range(100) if samples.due(n, n == 99)] == [0, 1, 2, 4, 8, 16, 32, 64, 99]


def test_a_generated_text_keeps_to_its_limits():
    """With one likeliest token, or a tiny share, the text is the greedy one; a seed gives the same again."""
    model, ids = tiny_model(), torch.zeros(1, 1, dtype=torch.long)

    def text(**limits):
        return [int(token) for token in model.generate(ids, 30, **limits)]

    greedy = text(temperature=0)
    assert text(top_k=1) == text(top_p=1e-9) == text(temperature=1e-9) == greedy
    draws = [text(temperature=3.0, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]


def of_documents() -> ByteTokenizer:
    tokenizer = ByteTokenizer()
    tokenizer.end_at(256)
    return tokenizer


def test_a_text_stops_at_the_end_of_its_document_or_holds_it():
    model, prompt = Script([*b"one", 256, *b"two"]), torch.zeros(1, 1, dtype=torch.long)
    texts = {
        end: "".join(samples.pieces(model, of_documents(), prompt, SampleConfig(end_of_text=end)))
        for end in ("stop", "write")
    }
    assert texts == {"stop": "one", "write": "one<|endoftext|>two"}
    assert model.calls[0][-1] == 257  # the end may be chosen


@pytest.fixture
def documents(tmp_path) -> Path:
    """A dataset of short documents in bytes, each ended by one id."""
    rows = (json.dumps({"text": f"d {i % 7}"}) for i in range(400))
    (tmp_path / "d.jsonl").write_text("\n".join(rows), encoding="utf-8")
    source = Source("local", None, (tmp_path / "d.jsonl",), "text")
    prepare(tmp_path / "data", source, Plan("byte", val_share=0.3), quiet=True)
    return tmp_path / "data"


def test_a_run_on_documents_and_the_door_write_the_same(documents, train_config, tmp_path, capsys):
    """The prompt of a run holds ends of documents, and its text stops at one."""
    config = train_config(dataset=str(documents), sample_tokens=40, max_iters=40, learning_rate=3e-2)
    train(config)
    row = next(row for row in reversed(read_run(tmp_path / "run").rows) if "sample/text" in row)
    assert "<|endoftext|>" in row["sample/prompt"] and "<|endoftext|>" not in row["sample/text"]
    assert 0 < len(row["sample/text"]) < 40
    argv = [str(tmp_path / "run"), "--weights=last", f"--prompt={row['sample/prompt']}", "--special"]
    argv += [f"--seed={config.seed}", "--max_new_tokens=40", "--device=cpu"]
    capsys.readouterr()
    assert sample.main(argv) == 0
    assert capsys.readouterr().out == row["sample/prompt"] + row["sample/text"] + "\n"
    assert sample.main([*argv, "--end_of_text=write"]) == 0
    longer = capsys.readouterr().out
    assert longer.startswith(row["sample/prompt"] + row["sample/text"] + "<|endoftext|>d ")
    assert sample.main([str(tmp_path / "run"), "--prompt=<|endoftext|>", "--special", "--device=cpu"]) == 0


def test_a_tokenizer_without_an_end_refuses_special(run):
    with pytest.raises(ValueError, match="no end-of-text token; leave out --special"):
        sample.main([str(run), "--prompt=def", "--special", "--device=cpu"])
