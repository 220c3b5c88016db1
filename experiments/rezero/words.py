"""The words of WikiText-2 as a tokenizer, in small letters as the published models have them.

    python -m experiments.rezero.words FOLDER               of the text on the Hugging Face Hub
    python -m experiments.rezero.words FOLDER PATH...       of local files, as data/wikitext/prepare.py takes

A word is what stands between blanks; the end of a line is one too. Those of the training split have an id
each; any other is <unk>, which the corpus itself writes for rare words.
"""

from collections.abc import Iterable

from reslab.data.standard import SUBSETS, hub_lines, local_lines
from reslab.run.arguments import ArgumentParser, home_path, output_folder
from reslab.run.config import run_door
from reslab.run.files import write_atomically

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


def main(argv: list[str]) -> None:
    parser = ArgumentParser(__doc__)
    add = parser.add_argument
    add("folder", type=output_folder, help="where tokenizer.json goes")
    add("paths", nargs="*", default=[], type=home_path, metavar="PATH", help="files, or their folder")
    options = parser.parse_args(argv)
    pieces = local_lines(options.paths, "train") if options.paths else hub_lines(SUBSETS[0], "train")
    tokenizer = word_tokenizer(pieces)
    options.folder.mkdir(parents=True, exist_ok=True)
    write_atomically(options.folder / "tokenizer.json", tokenizer.to_str(pretty=True))


if __name__ == "__main__":
    run_door(main)
