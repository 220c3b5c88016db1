"""The tokenizer of another model, by its tokenizer.json, as one of ours.

It is read by the `tokenizers` library, which transformers brings, and saved whole: a dataset and a checkpoint
need neither the model nor its folder. It is data: reading it runs no code.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np

BLANK = "\N{LOWER ONE EIGHTH BLOCK}"  # how SentencePiece writes one
BYTE_TOKEN = re.compile(r"<0x([0-9A-F]{2})>")  # a byte that SentencePiece has no other token for


class HFTokenizer:
    """A tokenizer.json as one of our tokenizers.

    Ordinary text never gives a special token, whatever it spells, and special tokens are no text.

    Args:
        name: what to call it.
        text: the content of the tokenizer.json.
        end_of_text: the token that ends a document, if that is known.

    Raises:
        ValueError: the library is not installed, or the text is no tokenizer.
    """

    cut_anywhere = False

    def __init__(self, name: str, text: str, end_of_text: str | None = None):
        try:
            from tokenizers import Tokenizer
        except ImportError:
            raise ValueError(
                f"tokenizer={name}: needs the tokenizers library; run: pip install transformers"
            ) from None
        try:
            self._tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # the library raises plain Exceptions
            raise ValueError(f"tokenizer={name}: its tokenizer.json can't be read ({error})") from None
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self.name, self.text, self.end_of_text = name, text, end_of_text
        self.vocab_size = 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values(), default=-1)
        self.end_of_text_id = end_of_text and self._tokenizer.token_to_id(end_of_text)
        self._bytes = self._bytes_of_tokens(json.loads(text))

    def _bytes_of_tokens(self, saved: dict) -> dict[int, bytes] | None:
        """What each token is, or None where that depends on the tokens around it."""
        decoder = json.dumps(saved.get("decoder"), ensure_ascii=False)
        if '"ByteLevel"' in decoder:
            of_letter = {letter: byte for byte, letter in enumerate(byte_letters())}

            def spell(token):
                return (
                    bytes(of_letter[c] for c in token) if of_letter.keys() >= set(token) else token.encode()
                )
        elif BLANK in decoder:

            def spell(token):
                byte = BYTE_TOKEN.fullmatch(token)
                return bytes.fromhex(byte[1]) if byte else token.replace(BLANK, " ").encode()
        else:
            return None
        added = self._tokenizer.get_added_tokens_decoder()
        known = {i: spell(token) for token, i in self._tokenizer.get_vocab(with_added_tokens=True).items()}
        return known | {i: b"" if token.special else token.content.encode() for i, token in added.items()}

    def encode(self, text: str) -> np.ndarray:
        """Ids (n,), int64, without the tokens that a model wants before or after a text."""
        return np.array(self._tokenizer.encode(text, add_special_tokens=False).ids, dtype=np.int64)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        ids = [i for i in ids if i < self.vocab_size]
        if self._bytes is None:
            return self._tokenizer.decode(ids).encode()
        return b"".join(self._bytes.get(i, b"") for i in ids)

    def to_json(self) -> dict:
        named = {"name": self.name, "end_of_text": self.end_of_text}
        return {"kind": "tokenizer.json", "json": self.text} | named


def load_tokenizer(folder: Path) -> HFTokenizer:
    """The tokenizer of a model's folder, by its tokenizer.json. Raises ValueError where there is none."""
    path, about = folder / "tokenizer.json", folder / "tokenizer_config.json"
    try:
        text = path.read_text(encoding="utf-8")
        settings = json.loads(about.read_text(encoding="utf-8")) if about.exists() else {}
    except OSError:
        raise ValueError(
            f"tokenizer={folder}: no tokenizer.json in it; where there are other files of a tokenizer, "
            "transformers writes one: AutoTokenizer.from_pretrained(FOLDER).save_pretrained(FOLDER)"
        ) from None
    except ValueError as error:
        raise ValueError(f"tokenizer={folder}: can't be read ({error})") from None
    end = settings.get("eos_token") if isinstance(settings, dict) else None
    end = end.get("content") if isinstance(end, dict) else end
    return HFTokenizer(folder.resolve().name, text, end if isinstance(end, str) else None)


def byte_letters() -> list[str]:
    """A printable character for each byte (Radford et al. 2019): itself, or one from U+0100 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
