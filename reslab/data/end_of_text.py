"""The token that ends a document, which all tokenizers may have."""

from collections.abc import Callable

import numpy as np

END_OF_TEXT = "<|endoftext|>"


class EndOfText:
    """A tokenizer's end-of-text token: no text, and known to everything that is saved with the tokenizer.

    A class of it has vocab_size, encode and decode_bytes.
    """

    end_of_text: str | None = END_OF_TEXT
    """How it is written where a person reads or writes it."""
    end_of_text_id: int | None = None
    """Its id; None where texts have no end."""

    def end_at(self, token_id: int) -> None:
        """Let an id be the end of text. Raises TypeError where it is none."""
        if type(token_id) is not int or token_id < 0:
            raise TypeError(f"end_of_text_id={token_id!r}: must be a whole number")
        self.end_of_text_id, self.vocab_size = token_id, max(self.vocab_size, token_id + 1)
        self.end_of_text = self.end_of_text or END_OF_TEXT

    def end_to_json(self) -> dict:
        """The part of to_json that says it."""
        return {} if self.end_of_text_id is None else {"end_of_text_id": self.end_of_text_id}

    def encode_special(self, text: str) -> np.ndarray:
        """Ids (n,) of a text in which the end-of-text token is written out; elsewhere that is plain text.

        Raises:
            ValueError: there is none.
        """
        if self.end_of_text_id is None:
            raise ValueError("this model's tokenizer has no end-of-text token; leave out --special")
        first, *others = text.split(self.end_of_text)
        parts = [self.encode(first)]
        for part in others:
            parts += [np.array([self.end_of_text_id]), self.encode(part)]
        return np.concatenate(parts)

    def spell(self, ids) -> bytes:
        """Tokens as bytes, the end-of-text token written out."""
        step = self.speller()
        return b"".join(step(int(token)) for token in ids)

    def speller(self) -> Callable[[int], bytes]:
        """A function that is given token after token of a text, and returns what each adds to it."""
        step = self._step()
        return lambda token: self.end_of_text.encode() if token == self.end_of_text_id else step(token)

    def _step(self) -> Callable[[int], bytes]:
        return lambda token: self.decode_bytes([token])
