"""Whether the ids of a foreign model mean what they mean in a dataset."""

from pathlib import Path

from reslab.data.dataset import read_meta
from reslab.data.tokenizer import tokenizer_from_json
from reslab.data.tokenizer_json import load_tokenizer

GPT2_VOCAB = 50_257


def check_tokenizer(source: str, saved: dict, vocab_size: int, may_be_gpt2: bool) -> None:
    """See that a dataset has the tokenizer of a foreign model.

    Where no tokenizer lies beside the weights, only two are certain by the size of the vocabulary: GPT-2's,
    and bytes. A size tells nothing of which characters, or which merges, the ids stand for.

    Args:
        saved: the dataset's tokenizer, as JSON.
        vocab_size: of the model.
        may_be_gpt2: the model is a GPT-2, and a vocabulary of at least its size is its own.

    Raises:
        ValueError: it has another, or nothing says which one the model has.
    """
    folder = Path(source).parent if Path(source).is_file() else Path(source)
    name = saved.get("name", saved["kind"])
    files = [file for file in ("tokenizer.json", "vocab.json", "meta.json") if (folder / file).is_file()]
    if files == ["meta.json"]:
        same, wanted = read_meta(folder)["tokenizer"] == saved, f"the tokenizer in {folder / 'meta.json'}"
    elif files:
        same, wanted = _same(folder, saved), f"the tokenizer in {folder}"
    elif may_be_gpt2 and vocab_size >= GPT2_VOCAB:
        same = name == "gpt2"
        wanted = "GPT-2's tokens (dataset=shakespeare, or --tokenizer gpt2 in prepare.py)"
    else:
        same = saved["kind"] == "byte" and vocab_size == tokenizer_from_json(saved).vocab_size
        wanted = (
            f"a vocabulary of {vocab_size}, and no file says of what: put the tokenizer.json, or the "
            "meta.json of a dataset of the same text and tokenizer, beside them"
        )
    if not same:
        raise ValueError(f"init_from={source}: its weights know {wanted}; the dataset's tokenizer is {name}")


def _same(folder: Path, saved: dict) -> bool:
    """Whether the tokenizer in a folder of transformers gives the ids of ours for a text of all tokens."""
    ours = tokenizer_from_json(saved)
    text = ours.decode_bytes(range(ours.vocab_size)).decode("utf-8", "ignore")
    try:
        return _encode(folder, text) == ours.encode(text).tolist()
    except Exception:  # a character that theirs does not know
        return False


def _encode(folder: Path, text: str) -> list[int]:
    if (folder / "tokenizer.json").is_file():
        return load_tokenizer(folder).encode(text).tolist()
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return theirs(text, add_special_tokens=False).input_ids
