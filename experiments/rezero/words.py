"""The words of WikiText-2 as a tokenizer, in small letters as the published models have them.

    python -m experiments.rezero.words FOLDER               of the text on the Hugging Face Hub
    python -m experiments.rezero.words FOLDER PATH...       of local files, as data/wikitext/prepare.py takes

A word is what stands between blanks; the end of a line is one too. Those of the training split have an id
each; any other is <unk>, which the corpus itself writes for rare words.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

from reslab.data.standard import SUBSETS, hub_lines, local_lines

UNKNOWN = "<unk>"


def word_tokenizer(pieces: Iterable[str]):
    """A tokenizers.Tokenizer whose ids are the words of a text, in the order in which they first occur."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

    ids = {"\n": 0, UNKNOWN: 1}
    for word in "".join(pieces).lower().split():  # a piece may end within a word
        ids.setdefault(word, len(ids))
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    blanks, ends = pre_tokenizers.Split(Regex(" +"), "removed"), pre_tokenizers.Split("\n", "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([blanks, ends])
    return tokenizer


def main(folder: str, *paths: str) -> None:
    places = [Path(path) for path in paths]
    pieces = local_lines(places, "train") if places else hub_lines(SUBSETS[0], "train")
    Path(folder).mkdir(parents=True, exist_ok=True)
    word_tokenizer(pieces).save(str(Path(folder) / "tokenizer.json"))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
