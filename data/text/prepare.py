"""Your own text: files, or folders whose .txt, .md, .py, ... files are read in sorted order.

    python data/text/prepare.py book.txt notes/ --tokenizer char
    python data/text/prepare.py src/ --suffix .c --suffix .h --out data/mycode

Tokenizers: char (one id per character), byte (256 ids), gpt2 (50,257 ids, downloaded once), bpe:N
(N byte-pair tokens learned from the training split), or the folder of a model of `transformers`, whose
tokenizer.json is taken. Train on it with the --dataset that is printed: its name where it is among the
other datasets, else its path.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import arguments, run_prepare, run_script
from reslab.data.textfiles import FoundFiles, find_files, read_files
from reslab.data.tokenizer import allowed_specs
from reslab.run.arguments import home_path

SUFFIXES = [".txt", ".md", ".rst", ".py"]


def search(paths: list[Path], suffixes: list[str]) -> FoundFiles:
    """The files themselves, and those with the given suffixes in the folders.

    Raises ValueError for a path that does not exist, and when nothing is found.
    """
    endings = tuple("." + suffix.lower().removeprefix(".") for suffix in suffixes)
    inputs = find_files(paths, lambda name: name.lower().endswith(endings))
    if not inputs.files:
        raise ValueError(
            f"no file that ends in {', '.join(endings)} in {', '.join(map(str, paths))}; see --suffix"
        )
    return inputs


def main() -> None:
    parser = arguments(__doc__, own_folder(__file__))
    add = parser.add_argument
    add("paths", nargs="+", type=home_path, metavar="PATH", help="files and folders of UTF-8 text")
    add("--tokenizer", default="char", help=f"{allowed_specs()} (default: %(default)s)")
    read = f"what to read in folders (default: {' '.join(SUFFIXES)})"
    add("--suffix", action="append", metavar=".X", help=read)
    args = parser.parse_args()
    inputs = search(args.paths, args.suffix or SUFFIXES)
    if not args.quiet:
        print(inputs, flush=True)
    run_prepare(args, lambda: read_files(inputs.files), args.tokenizer, ", ".join(map(str, args.paths)))


if __name__ == "__main__":
    run_script(main)
