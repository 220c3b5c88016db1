"""text8: 100 million letters and blanks of Wikipedia, in 27 characters (Mahoney). Its splits are 90, 5 and 5
million characters.

    python data/text8/prepare.py                       downloads 31 MB
    python data/text8/prepare.py --input FILE          takes a copy of text8, or of text8.zip
    python data/text8/prepare.py --split test          writes data/text8_test

config/text8.py trains on it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import run_script
from reslab.data.standard import run_wikipedia

URL = "http://mattmahoney.net/dc/text8.zip"
SHA256 = "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232"

if __name__ == "__main__":
    run_script(lambda: run_wikipedia(__doc__, own_folder(__file__), URL, SHA256, "char"))
