"""enwik8: the first 100 million bytes of a dump of Wikipedia, markup included (Mahoney). Its splits are 90, 5
and 5 million bytes.

    python data/enwik8/prepare.py                      downloads 36 MB
    python data/enwik8/prepare.py --input FILE         takes a copy of enwik8, or of enwik8.zip
    python data/enwik8/prepare.py --split test         writes data/enwik8_test

config/enwik8.py trains on it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import run_script
from reslab.data.standard import run_wikipedia

URL = "http://mattmahoney.net/dc/enwik8.zip"
SHA256 = "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc"

if __name__ == "__main__":
    run_script(lambda: run_wikipedia(__doc__, own_folder(__file__), URL, SHA256, "byte"))
