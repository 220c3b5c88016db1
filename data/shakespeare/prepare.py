"""Tiny Shakespeare in GPT-2's tokens: about 338,000 of them.

python data/shakespeare/prepare.py                    downloads the text and GPT-2's merges
python data/shakespeare/prepare.py --input FILE       takes a copy of the text
"""

import runpy
from pathlib import Path


def main() -> None:
    here = Path(__file__).resolve().parent
    sibling = runpy.run_path(str(here.parent / "shakespeare_char" / "prepare.py"))
    sibling["run_script"](lambda: sibling["main"](here, "gpt2", __doc__))


if __name__ == "__main__":
    main()
