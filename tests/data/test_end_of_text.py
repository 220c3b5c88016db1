"""The end of a text: one id of a tokenizer, saved with it, never made of ordinary text."""

import json

import pytest

from reslab.data.documents import Plan, prepare
from reslab.data.source import Source
from reslab.data.tokenizer import ByteTokenizer, CharTokenizer, tokenizer_from_json, train_bpe

TEXT = "def f(x):\n    return x + F(x)  # naïve 🙂\r\n\t<|endoftext|>'tis  1234\n"
MAKERS = {
    "char": lambda: CharTokenizer(TEXT),
    "byte": ByteTokenizer,
    "bpe": lambda: train_bpe([TEXT * 9], 280),
}


def back(tokenizer):
    return tokenizer_from_json(json.loads(json.dumps(tokenizer.to_json())))


@pytest.mark.parametrize("kind", MAKERS)
def test_an_end_is_one_id_that_is_saved(kind):
    tokenizer = MAKERS[kind]()
    size, without = tokenizer.vocab_size, tokenizer.to_json()
    assert tokenizer.end_of_text_id is back(tokenizer).end_of_text_id is None
    with pytest.raises(ValueError, match="no end-of-text token; leave out --special"):
        tokenizer.encode_special(TEXT)
    tokenizer.end_at(size)
    again = back(tokenizer)
    assert again.end_of_text_id == size and again.vocab_size == tokenizer.vocab_size == size + 1
    assert again.to_json() == tokenizer.to_json() == without | {"end_of_text_id": size}
    assert size not in again.encode(TEXT)  # a text that spells it is a text
    assert again.decode_bytes(again.encode(TEXT).tolist()).decode() == TEXT
    ids = again.encode_special(TEXT).tolist()
    before, after = TEXT.split("<|endoftext|>")
    assert ids == [*again.encode(before), size, *again.encode(after)]
    assert again.spell(ids).decode() == TEXT
    assert again.encode_special("<|endoftext|><|endoftext|>").tolist() == [size, size]


@pytest.mark.parametrize("wrong", ["256", -1, 2.0, True])
def test_an_end_that_is_no_id_is_refused(wrong):
    with pytest.raises(TypeError, match="must be a whole number"):
        tokenizer_from_json({"kind": "byte", "end_of_text_id": wrong})


def test_a_dataset_of_documents_saves_the_end_in_its_tokenizer(tmp_path):
    documents = tmp_path / "d.jsonl"
    rows = (json.dumps({"text": f"document {i} with some words"}) for i in range(200))
    documents.write_text("\n".join(rows), encoding="utf-8")
    source = Source("local", None, (documents,), "text")
    meta = prepare(tmp_path / "out", source, Plan("byte", val_share=0.2), quiet=True)
    tokenizer = tokenizer_from_json(meta["tokenizer"])
    assert tokenizer.end_of_text_id == meta["end_of_text"] == 256
    assert tokenizer.vocab_size == meta["vocab_size"] == 257
