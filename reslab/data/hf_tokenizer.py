"""Our tokenizers as a tokenizer.json of Hugging Face's tokenizers, id for id.

Bytes and byte pairs become a byte-level BPE, whose files spell each byte as a printable character;
characters become a list of words of one character. Nothing is added: no start token, no blank in front.
"""

import itertools

from reslab.data.tokenizer import GPT2_PATTERN, BPETokenizer, ByteTokenizer, CharTokenizer
from reslab.data.tokenizer_json import HFTokenizer, byte_letters

END_OF_TEXT = "<|endoftext|>"


def to_tokenizers(tokenizer):
    """A tokenizers.Tokenizer with the same ids.

    Raises:
        ValueError: a kind that can't be written so.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    if isinstance(tokenizer, HFTokenizer):
        return Tokenizer.from_str(tokenizer.text)
    if isinstance(tokenizer, CharTokenizer):
        # Without a word for unknown characters encoding one is an error, as it is here.
        made = Tokenizer(models.WordLevel({c: i for i, c in enumerate(tokenizer.chars)}, unk_token=""))
        made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
        made.decoder = decoders.Fuse()
        return made
    if isinstance(tokenizer, ByteTokenizer):
        ranks = {bytes([i]): i for i in range(256)}
    elif isinstance(tokenizer, BPETokenizer) and tokenizer.pattern == GPT2_PATTERN:
        ranks = tokenizer.ranks
    else:
        name = getattr(tokenizer, "name", type(tokenizer).__name__)
        raise ValueError(f"tokenizer={name}: only characters, bytes and words cut as GPT-2 does are written")
    letters = byte_letters()
    spelled = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [tuple(spelled[part] for part in pair) for pair in merges_of(ranks)]
    made = Tokenizer(models.BPE({spelled[token]: rank for token, rank in ranks.items()}, merges))
    # Words are cut by GPT-2's pattern, which is built in; single bytes don't mind.
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    made.decoder = decoders.ByteLevel()
    return made


def merges_of(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """The pairs whose merging gave each token, in the order they were learned.

    tiktoken keeps tokens alone. The pair behind one is what its bytes have become when all merges that
    were learned before it are done.
    """
    merges = []
    for token in sorted(ranks, key=ranks.get):
        parts = [bytes([byte]) for byte in token]
        while len(parts) > 2:
            joined = [ranks.get(a + b, len(ranks)) for a, b in itertools.pairwise(parts)]
            at = min(range(len(joined)), key=joined.__getitem__)
            if joined[at] >= ranks[token]:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
    return merges
