"""The tokenizer of another model: its ids are ours, in a dataset, a checkpoint and a sample."""

import json

import numpy as np
import pytest
from conftest import ROOT, run_python
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from experiments.rezero import words
from experiments.rezero.words import word_tokenizer
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.data.documents import Plan, prepare
from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.source import Source
from reslab.data.survey import count_words
from reslab.data.tokenizer import make_tokenizer, tokenizer_from_json
from reslab.data.tokenizer_json import load_tokenizer
from reslab.training.loop import train

TEXT = "the größer cat 日本 sat\n\ton the 😀 mat, and <|end|> is a word. " * 60


def byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, special_tokens=["<|end|>"], initial_alphabet=alphabet)
    made.train_from_iterator([TEXT], trainer)
    made.post_processor = processors.TemplateProcessing(single="<|end|> $A", special_tokens=[("<|end|>", 0)])
    made.enable_truncation(10)
    return made


def sentence_piece() -> Tokenizer:
    """As Llama 2 has it: blanks are written as a block, and bytes stand for unknown characters."""
    bytes_of = {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary = {"<unk>": 0, "<s>": 1, "<|end|>": 2} | bytes_of
    for piece in "▁theca ondmwisr.,\n\t<>|":
        vocabulary.setdefault(piece, len(vocabulary))
    vocabulary |= {"▁t": len(vocabulary), "▁th": len(vocabulary) + 1, "▁the": len(vocabulary) + 2}
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e")]
    made = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    made.add_special_tokens(["<unk>", "<s>", "<|end|>"])
    return made


KINDS = {"byte level": byte_level, "sentence piece": sentence_piece}


@pytest.fixture(params=KINDS)
def folder(request, tmp_path):
    (tmp_path / "model").mkdir()
    KINDS[request.param]().save(str(tmp_path / "model" / "tokenizer.json"))
    config = json.dumps({"eos_token": {"content": "<|end|>"}, "auto_map": {"AutoTokenizer": "evil.py"}})
    (tmp_path / "model" / "tokenizer_config.json").write_text(config, encoding="utf-8")
    return tmp_path / "model"


def test_its_ids_are_ours_and_come_back_as_the_text(folder):
    tokenizer, theirs = make_tokenizer(str(folder)), Tokenizer.from_file(str(folder / "tokenizer.json"))
    theirs.no_truncation()
    plain = TEXT.replace("<|end|>", "")
    assert tokenizer.encode(plain).tolist() == theirs.encode(plain, add_special_tokens=False).ids
    again = tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))
    ids = again.encode(TEXT).tolist()
    assert ids == tokenizer.encode(TEXT).tolist() and again.decode_bytes(ids).decode() == TEXT
    assert b"".join(again.decode_bytes([i]) for i in ids) == TEXT.encode()  # one at a time, as sampling does
    assert tokenizer.end_of_text_id == theirs.token_to_id("<|end|>")
    assert tokenizer.end_of_text_id not in ids  # a text that spells it is a text
    assert again.decode_bytes([tokenizer.end_of_text_id, again.vocab_size + 5]) == b""
    assert to_tokenizers(again).to_str() == Tokenizer.from_file(str(folder / "tokenizer.json")).to_str()


def test_a_dataset_and_a_run_need_the_folder_no_more(folder, tmp_path, train_config):
    (tmp_path / "in.txt").write_text(TEXT * 2, encoding="utf-8")
    argv = [tmp_path / "in.txt", "--tokenizer", folder, "--out", tmp_path / "out", "--quiet"]
    run_python(ROOT / "data/text/prepare.py", *argv)
    for path in folder.iterdir():
        path.unlink()
    dataset = TokenDataset(tmp_path / "out", 16, 0)
    ids = np.concatenate([dataset.ids[split][:] for split in ("train", "val")]).tolist()
    assert dataset.tokenizer.decode_bytes(ids).decode() == TEXT * 2 + "\n"
    assert train(train_config(dataset=str(tmp_path / "out"), max_iters=2, sample_tokens=8)) == 0


def test_documents_end_with_its_own_end_of_text(folder, tmp_path):
    (tmp_path / "in.jsonl").write_text((json.dumps({"text": "the cat"}) + "\n") * 9, encoding="utf-8")
    (tmp_path / "in.jsonl").open("a", encoding="utf-8").write('{"text": "sat"}\n{"text": "mat 3"}\n')
    end = make_tokenizer(str(folder)).end_of_text_id
    plan, source = Plan(str(folder), 99, 0.5, jobs=1), Source("x", None, (tmp_path / "in.jsonl",))
    meta = prepare(tmp_path / "out", source, plan, quiet=True)
    assert meta["end_of_text"] == end and meta["vocab_size"] == make_tokenizer(str(folder)).vocab_size
    for about in meta["splits"].values():
        ids = np.concatenate(
            [np.fromfile(tmp_path / "out" / s["file"], meta["dtype"]) for s in about["shards"]]
        )
        assert (ids == end).sum() == about["documents"] and ids[-1] == end
    moved = folder.rename(tmp_path / "elsewhere")
    assert prepare(tmp_path / "out", source, Plan(str(moved), 99, 0.5), quiet=True) == meta
    (moved / "tokenizer.json").write_text(
        (moved / "tokenizer.json").read_text(encoding="utf-8") + " ", "utf-8"
    )
    with pytest.raises(ValueError, match="holds shards of another tokenizer"):
        prepare(tmp_path / "out", source, Plan(str(moved), 99, 0.5), quiet=True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"model: no tokenizer\.json in it; .*save_pretrained\(FOLDER\)"),
        ("{", r"tokenizer=model: its tokenizer\.json can't be read \("),
        ('{"model": {"type": "Code"}}', r"tokenizer=model: its tokenizer\.json can't be read \("),
        ("\udcff", r"model: can't be read \('utf-8' codec"),
    ],
)
def test_what_is_no_tokenizer_is_told_in_a_line(tmp_path, content, message):
    (tmp_path / "model").mkdir()
    if content is not None:
        (tmp_path / "model" / "tokenizer.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match=message) as caught:
        write_dataset(tmp_path / "out", lambda: ["text " * 9], str(tmp_path / "model"), "x", quiet=True)
    assert len(str(caught.value).splitlines()) == 1
    with pytest.raises(ValueError, match="can't be read"):
        tokenizer_from_json(
            {"kind": "tokenizer.json", "name": "x", "json": content or "", "end_of_text": None}
        )


def test_the_words_of_wikitext_are_its_tokens(tmp_path):
    """In small letters; a token is a word as words are counted, so both perplexities agree."""
    train = [" = A Title = \n", " \n The ca", "t <unk> . The mat\n"]
    (tmp_path / "tokenizer.json").write_text(word_tokenizer(train).to_str(), encoding="utf-8")
    tokenizer, count = load_tokenizer(tmp_path), {"words": 0}
    text = "".join(count_words(train, count))
    ids = tokenizer.encode(text).tolist()
    title, the = ["=", "a", "title", "=", "\n", "\n"], ["the", "cat", "<unk>", ".", "the", "mat", "\n"]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(["\n", "<unk>", *title, *the]))}
    assert ids == [numbers[word] for word in title + the] and len(ids) == count["words"]
    assert tokenizer.vocab_size == len(numbers)
    (tmp_path / "wiki.train.tokens").write_text("".join(train), encoding="utf-8")
    for _ in range(2):  # a second time into the same folder
        words.main([str(tmp_path / "new" / "folder"), str(tmp_path / "wiki.train.tokens")])
    made = (tmp_path / "new" / "folder" / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(made) == json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    assert tokenizer.encode("The DOG\n").tolist() == [numbers["the"], numbers["<unk>"], numbers["\n"]]
