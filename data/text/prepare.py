"""Your own text: files, or folders whose .txt, .md, .py, ... files are read in sorted order.

    python data/text/prepare.py book.txt notes/ --tokenizer char
    python data/text/prepare.py src/ --tokenizer bpe:4096 --out data/mycode --suffix .c --suffix .h

Tokenizers: char (one id per character), byte (256 ids), gpt2 (50,257 ids, downloaded once),
bpe:N (N byte-pair tokens learned from this text). Train on it with --dataset=text, or the name
or path that --out gave.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.corpus import arguments, read_files, run_prepare


def find_files(paths: list[Path], suffixes: list[str]) -> list[Path]:
    """The files themselves, and those with the given suffixes in the folders.

    Raises ValueError for a path that does not exist, and when nothing is found.
    """
    found = []
    for path in paths:
        if path.is_dir():
            found += sorted(p for p in path.rglob("*") if p.is_file() and p.suffix in suffixes)
        elif path.is_file():
            found.append(path)
        else:
            raise ValueError(f"{path}: no such file or folder")
    if not found:
        raise ValueError(
            f"no file that ends in {', '.join(suffixes)} in {', '.join(map(str, paths))}; see --suffix"
        )
    return found


def main() -> None:
    parser = arguments(__doc__, Path(__file__).resolve().parent)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="files and folders of UTF-8 text")
    parser.add_argument(
        "--tokenizer", default="char", help="char, byte, gpt2 or bpe:N (default: %(default)s)"
    )
    parser.add_argument(
        "--suffix", action="append", metavar=".X", help="what to read in folders (default: .txt .md .rst .py)"
    )
    args = parser.parse_args()
    suffixes = args.suffix or [".txt", ".md", ".rst", ".py"]
    try:
        files = find_files(args.paths, suffixes)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    run_prepare(args, lambda: read_files(files), args.tokenizer, ", ".join(map(str, args.paths)))


if __name__ == "__main__":
    main()
