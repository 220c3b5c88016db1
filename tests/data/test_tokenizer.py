"""Tokenizers at their edges: ids that stand for nothing, characters that have none."""

import json

import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from reslab.data import tokenizer
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.data.documents import Plan
from reslab.data.tokenizer import (
    GPT2_PATTERN,
    BPETokenizer,
    ByteTokenizer,
    CharTokenizer,
    GPT2Tokenizer,
    TokenizerKind,
    make_tokenizer,
    tokenizer_from_json,
    train_bpe,
)

BPE = train_bpe(["the thing that they thought of then " * 20], 270)
ODD = BPETokenizer("odd", r"\w|\W", {bytes([i]): 255 - i for i in range(256)} | {b"ab": 256})


def test_characters_are_numbered_in_their_order():
    tokenizer = CharTokenizer("cab\nbä😀")
    assert tokenizer.chars == "\nabcä😀" and tokenizer.vocab_size == 6
    assert tokenizer.encode("\nabcä😀").tolist() == [0, 1, 2, 3, 4, 5]
    assert tokenizer.encode("a").tolist() == [1] and tokenizer.encode("").tolist() == []


@given(st.text(alphabet="abc\n"), st.sampled_from("d`\0é\uffff😀"), st.text(alphabet="abcd"))
def test_the_first_character_without_an_id_is_named(known, unknown, rest):
    """Below, between and beyond those that have one."""
    with pytest.raises(ValueError, match="is not among the 4 that this model was trained on") as told:
        CharTokenizer("\nabc").encode(known + unknown + rest)
    assert str(told.value).startswith(f"character {unknown!r} at position {len(known)} ")


@pytest.mark.parametrize(
    ("tokenizer", "text"),
    [(CharTokenizer("abé"), "aéb"), (ByteTokenizer(), "aéb\xff"), (BPE, "the aéb thing"), (ODD, "aabéb")],
)
def test_the_last_byte_counts_and_ids_that_only_pad_are_no_text(tokenizer, text):
    ids = tokenizer.encode(text).tolist()
    for end in range(len(text) + 1):
        assert tokenizer.decode_bytes(tokenizer.encode(text[:end]).tolist()).decode() == text[:end]
    padded = tokenizer.decode_bytes([tokenizer.vocab_size, *ids, tokenizer.vocab_size + 99]).decode()
    assert padded.replace("\N{REPLACEMENT CHARACTER}", "") == text
    tokenizer.decode_bytes(range(tokenizer.vocab_size))  # all of them stand for something


@pytest.mark.parametrize("tokenizer", [CharTokenizer("abc"), ByteTokenizer(), BPE, ODD])
def test_a_tokenizer_comes_back_from_json_as_it_was(tokenizer):
    saved = json.loads(json.dumps(tokenizer.to_json()))
    again = tokenizer_from_json(saved)
    assert again.to_json() == saved and again.vocab_size == tokenizer.vocab_size
    assert again.encode("abcab").tolist() == tokenizer.encode("abcab").tolist()


def test_gpt2s_tokenizer_has_the_end_of_text_that_its_text_never_spells(monkeypatch):
    ranks = {bytes([number]): number for number in range(256)}
    special = {"<|endoftext|>": 256}
    theirs = tiktoken.Encoding("gpt2", pat_str=".", mergeable_ranks=ranks, special_tokens=special)
    monkeypatch.setattr(tiktoken, "get_encoding", {"gpt2": theirs}.__getitem__)
    ours = GPT2Tokenizer()
    assert (ours.end_of_text_id, ours.vocab_size, ours.pattern) == (256, 257, GPT2_PATTERN)
    assert 256 not in ours.encode("one<|endoftext|>two")
    assert ours.encode_special("one<|endoftext|>").tolist() == [*b"one", 256]
    again = tokenizer_from_json(ours.to_json())
    assert again.end_of_text_id == 256 and again.to_json() == ours.to_json()


def test_a_bpe_has_as_many_tokens_as_were_asked_for():
    assert BPE.vocab_size == 270 and BPE.name == "bpe:270"
    assert make_tokenizer("bpe:256", ["abc"], "abc").vocab_size == 256
    assert make_tokenizer("bpe:257", ["abc abc"], "abc").encode("abc").tolist()
    assert max(BPE.encode("the thing").tolist()) >= 256
    assert len(BPE.encode("<|endoftext|>")) > 1  # a text that names a special token is a text


@pytest.mark.parametrize("spec", ["bpe:255", "bpe:", "bpe", "bpe:-300", "bpe:3e2", "char:5", "word", ""])
def test_other_names_are_refused(spec):
    with pytest.raises(ValueError, match=f"tokenizer={spec}: allowed are char, byte, gpt2, bpe:N"):
        make_tokenizer(spec, ["abc"], "abc")
    assert make_tokenizer("char", [], "cab").chars == "abc"
    assert make_tokenizer("byte", [], "").vocab_size == 256


def test_a_tokenizer_is_added_by_one_entry(monkeypatch, tmp_path):
    """A class and an entry: it is named, refused by its name, saved, loaded, and makes a dataset."""

    class Upper(ByteTokenizer):
        def encode(self, text):
            return super().encode(text.upper())

        def to_json(self):
            return {"kind": "upper"}

    entry = TokenizerKind("upper", "upper".__eq__, lambda *_: Upper(), lambda saved: Upper())
    monkeypatch.setitem(tokenizer.TOKENIZERS, "upper", entry)
    with pytest.raises(ValueError, match=r"tokenizer=lower: allowed are char, .* and upper"):
        make_tokenizer("lower")
    write_dataset(tmp_path, lambda: ["a text of some twenty letters and more"], "upper", "a text", quiet=True)
    dataset = TokenDataset(tmp_path, 2, 0)
    assert bytes(dataset.ids["train"][:6].astype("uint8")) == b"A TEXT"
    assert isinstance(dataset.tokenizer, Upper) and Plan("upper").tokenizer == "upper"


def test_a_tokenizer_of_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="tokenizer of kind 'words': known are char, byte, gpt2, bpe"):
        tokenizer_from_json({"kind": "words"})
