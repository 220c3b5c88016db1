"""Tiny Shakespeare in characters: 1.1 million of them, nanoGPT's first dataset.

python data/shakespeare_char/prepare.py                    downloads 1.1 MB
python data/shakespeare_char/prepare.py --input FILE       takes a copy of yours
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.download import download
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import arguments, run_prepare, run_script
from reslab.data.textfiles import read_files
from reslab.run.arguments import home_path

URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"


def main(here: Path, tokenizer: str, doc: str) -> None:
    parser = arguments(doc, here)
    parser.add_argument("--input", type=home_path, metavar="FILE", help="the text, instead of a download")
    args = parser.parse_args()
    path = args.input

    def read():
        nonlocal path
        if path is None:
            here.mkdir(parents=True, exist_ok=True)
            path = here / "input.txt"
            download(URL, path, SHA256)
        return read_files([path])

    run_prepare(args, read, tokenizer, "tiny Shakespeare")


if __name__ == "__main__":
    run_script(lambda: main(own_folder(__file__), "char", __doc__))
