"""WikiText: articles of Wikipedia, 2 or 103 million words (Merity et al. 2016, arXiv 1609.07843), in its own
splits.

    python data/wikitext/prepare.py                               wikitext-2-v1 from the Hugging Face Hub
    python data/wikitext/prepare.py --subset wikitext-103-v1      writes data/wikitext103
    python data/wikitext/prepare.py --input FOLDER                its parquet files, or wiki.train.tokens, ...
    python data/wikitext/prepare.py --split test                  writes data/wikitext_test

Any tokenizer will do: a run tells its perplexity per word (val/word_perplexity), where the end of a line is
a word too, as in the papers. config/wikitext.py trains on it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from reslab.data.folders import own_folder
from reslab.data.prepare_cli import run_script
from reslab.data.standard import run_wikitext

if __name__ == "__main__":
    run_script(lambda: run_wikitext(__doc__, own_folder(__file__)))
