"""Corpora that others have split: text8, enwik8 and WikiText. With their splits a loss can be compared.

A dataset has two splits. The second one is the validation split of the corpus, or with --split=test its test
split, which papers report.
"""

import codecs
import itertools
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from reslab.data.download import download
from reslab.data.prepare_cli import arguments, run_prepare
from reslab.data.textfiles import PIECE, find_files, read_file
from reslab.data.tokenizer import allowed_specs
from reslab.run.arguments import home_path
from reslab.run.fields import first_line

SIZE = 100_000_000  # bytes of text8 and of enwik8
REPO = "Salesforce/wikitext"
SUBSETS = ("wikitext-2-v1", "wikitext-2-raw-v1", "wikitext-103-v1", "wikitext-103-raw-v1")
BLANK = " \n"  # a line without words in WikiText's own files; on the Hub it is an empty row
HELD_OUT = "the second split: valid to choose by, or test, which papers report and which goes to NAME_test"


def run_wikipedia(doc: str, out: Path, url: str, sha256: str, tokenizer: str) -> None:
    """data/text8/prepare.py or data/enwik8/prepare.py as a command line.

    Args:
        out: the folder of the dataset.
        url, sha256: of the zip that holds the corpus as its only file.
    """
    parser = arguments(doc, out)
    parser.add_argument("--input", type=home_path, metavar="FILE", help="the corpus or its zip, no download")
    parser.add_argument("--split", choices=("valid", "test"), default="valid", help=HELD_OUT)
    args = parser.parse_args()
    if args.out == out:
        args.out = folder_of(out, args.split)
    parts = {}

    def read(split: str) -> Iterator[str]:
        if not parts:
            path = args.input or out / Path(url).name
            if not args.input:
                out.mkdir(parents=True, exist_ok=True)
                download(url, path, sha256)
            parts.update(cut(unzipped(path), path))
        return decoded(parts[split])

    source = f"{out.name}, tested on its {args.split} split"
    run_prepare(args, lambda: read("train"), tokenizer, source, lambda: read(args.split))


def folder_of(out: Path, split: str) -> Path:
    """Where a corpus is kept whose second split is this one, unless --out says otherwise."""
    return out.with_name(f"{out.name}_test") if split == "test" else out


def unzipped(path: Path) -> bytes:
    """The bytes of a file, or of the only file in a zip. Raises ValueError where a zip holds several."""
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    if not zipfile.is_zipfile(path):
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.endswith("/")]
        if len(names) != 1:
            raise ValueError(f"{path}: holds {len(names)} files, must be one: the corpus")
        return archive.read(names[0])


def cut(data: bytes, path: Path) -> dict[str, bytes]:
    """The first 90, the next 5 and the last 5 million bytes (Mikolov et al. 2012), no character cut in two.

    Raises ValueError where the file is not as long as both corpora are.
    """
    if len(data) != SIZE:
        raise ValueError(
            f"{path}: {len(data):,} bytes; the corpus has {SIZE:,}, and its splits fit no other file; for "
            "your own text run: python data/text/prepare.py"
        )
    ends = [0, *(boundary(data, SIZE * share // 100) for share in (90, 95)), SIZE]
    return {
        name: data[begin:end]
        for name, (begin, end) in zip(("train", "valid", "test"), itertools.pairwise(ends), strict=True)
    }


def boundary(data: bytes, at: int) -> int:
    """The place `at`, or the beginning of the UTF-8 character that it would cut."""
    while at and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def decoded(data: bytes) -> Iterator[str]:
    """UTF-8 bytes as text, in pieces; a character that the end of the file has cut is left out."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for begin in range(0, len(data), PIECE):
        if text := decoder.decode(data[begin : begin + PIECE]):
            yield text


def run_wikitext(doc: str, out: Path) -> None:
    """data/wikitext/prepare.py as a command line."""
    parser = arguments(doc, out)
    add = parser.add_argument
    add("--input", nargs="+", type=home_path, metavar="PATH", help="parquet or text files, or their folder")
    subset = f"{', '.join(SUBSETS)} (default: %(default)s)"
    add("--subset", choices=SUBSETS, default=SUBSETS[0], metavar="NAME", help=subset)
    add("--split", choices=("valid", "test"), default="valid", help=HELD_OUT)
    add("--tokenizer", default="bpe:8192", help=f"{allowed_specs()} (default: %(default)s)")
    args = parser.parse_args()
    if args.out == out:
        larger = not args.input and "103" in args.subset
        args.out = folder_of(out.with_name(out.name + "103") if larger else out, args.split)

    def read(split: str) -> Iterator[str]:
        return local_lines(args.input, split) if args.input else hub_lines(args.subset, split)

    source = f"{'WikiText' if args.input else args.subset}, tested on its {args.split} split"
    run_prepare(args, lambda: read("train"), args.tokenizer, source, lambda: read(args.split))


def local_lines(paths: list[Path], split: str) -> Iterator[str]:
    """The lines of a split in local files, whose names say of which split they are.

    Raises ValueError where there is none.
    """
    files = [path for path in find_files(paths, lambda name: split in name).files if split in path.name]
    if not files:
        places = ", ".join(map(str, paths))
        raise ValueError(f"{places}: no file with {split} in its name; WikiText has train, valid and test")
    for path in files:
        with path.open("rb") as file:
            parquet = file.read(4) == b"PAR1"
        yield from parquet_lines(path) if parquet else read_file(path)


def parquet_lines(path: Path) -> Iterator[str]:
    import pyarrow.parquet

    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(columns=["text"]):
            yield from whole_lines(batch.column(0).to_pylist())
    except (pyarrow.ArrowException, IndexError) as error:
        reason = first_line(error)
        raise ValueError(f"{path}: can't be read as WikiText, a column of text ({reason})") from None


def whole_lines(rows: Iterable[str]) -> Iterator[str]:
    """Rows of the Hub as the lines that they were."""
    return (row or BLANK for row in rows)


def hub_lines(subset: str, split: str) -> Iterator[str]:
    """The lines of a split on the Hugging Face Hub, downloaded once into the cache of `datasets`."""
    import datasets

    try:
        rows = datasets.load_dataset(REPO, subset, split="validation" if split == "valid" else split)
    except Exception as error:  # the Hub's client raises errors of several libraries
        reason = first_line(error)
        raise ValueError(
            f"{REPO} ({subset}): not reachable ({reason}); go online once, or give a copy, see --help"
        ) from None
    return whole_lines(rows["text"])
