"""FineWeb-Edu: web pages that a classifier found educational; the subset of 10 billion GPT-2 tokens.

    python data/fineweb_edu/prepare.py                            streams all of it: 20 GB of shards
    python data/fineweb_edu/prepare.py --max_tokens 1e9           a part; a later run with more goes on
    python data/fineweb_edu/prepare.py --subset sample-100BT      ten times as much
    python data/fineweb_edu/prepare.py --input FILE_OR_FOLDER ...  your copies of its files, or your own

Stop it at any time: the same command goes on. data/README.md is the format.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import run_documents, run_script

if __name__ == "__main__":
    run_script(
        lambda: run_documents(__doc__, own_folder(__file__), "HuggingFaceFW/fineweb-edu", "sample-10BT")
    )
