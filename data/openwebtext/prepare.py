"""OpenWebText: 8 million web pages, about 9 billion GPT-2 tokens; an open copy of what GPT-2 read.

    python data/openwebtext/prepare.py                            streams all of it: 18 GB of shards
    python data/openwebtext/prepare.py --max_tokens 1e9           a part; a later run with more goes on
    python data/openwebtext/prepare.py --input FILE_OR_FOLDER ...  your copies of its files, or your own

Stop it at any time: the same command goes on. data/README.md is the format.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import run_documents, run_script

if __name__ == "__main__":
    run_script(lambda: run_documents(__doc__, own_folder(__file__), "Skylion007/openwebtext", None))
