"""Our tokenizers as a tokenizer.json of Hugging Face's tokenizers, id for id.

Bytes and byte pairs become a byte-level BPE, converted by transformers; characters become a list of words of
one character. Nothing is added: no start token, no blank in front.
"""

from reslab.data.tokenizer import BPETokenizer, ByteTokenizer, CharTokenizer
from reslab.data.tokenizer_json import HFTokenizer


def to_tokenizers(tokenizer):
    """A tokenizers.Tokenizer with the same ids.

    Raises:
        ValueError: a kind that can't be written so.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    if isinstance(tokenizer, HFTokenizer):
        return Tokenizer.from_str(tokenizer.text)
    if isinstance(tokenizer, ByteTokenizer):
        return _from_ranks({bytes([byte]): byte for byte in range(256)}, r"[\s\S]+")
    if isinstance(tokenizer, BPETokenizer):
        return _from_ranks(tokenizer.ranks, tokenizer.pattern)
    if not isinstance(tokenizer, CharTokenizer):
        kind = type(tokenizer).__name__
        raise ValueError(
            f"tokenizer={kind}: only characters, bytes, byte pairs and a tokenizer.json can be written"
        )
    # Without a word for unknown characters encoding one is an error, as it is here.
    converted = Tokenizer(models.WordLevel({c: i for i, c in enumerate(tokenizer.chars)}, unk_token=""))
    converted.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    converted.decoder = decoders.Fuse()
    return converted


def _from_ranks(ranks: dict[bytes, int], pattern: str):
    """The byte-level BPE of tiktoken's ranks, which know tokens and no merges.

    The converter gives every pair of tokens that makes a third one as a merge. Those that never happen change
    nothing: where a token begins and ends, its bytes have always become the same pair before.
    """
    from transformers.convert_slow_tokenizer import TikTokenConverter

    class Converter(TikTokenConverter):
        load_tiktoken_bpe = staticmethod(dict)  # the ranks themselves stand for the file that holds them

    return Converter(vocab_file=ranks, pattern=pattern).converted()
