"""docs/weights.md: its commands are run on a tiny Llama, and its table names what families.py knows."""

import os
import re
import subprocess

import pytest
from conftest import ROOT
from copies import copy_project

from reslab.data.hf_tokenizer import to_tokenizers
from reslab.data.tokenizer import train_bpe
from reslab.training.families import FAMILIES

PAGE = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
TEXT = "Once upon a time there was a naïve 🙂 model.\n\tIt added x to F(x), again and again.\n"


def test_the_table_is_of_all_families():
    assert set(re.findall(r"^\| `(\w+)`", PAGE, re.MULTILINE)) == set(FAMILIES)


@pytest.mark.slow
def test_the_commands_of_the_page_work_one_after_the_other(tmp_path):
    """Prepare, train on, sample, export and generate: from a folder with a model and its tokenizer."""
    transformers = pytest.importorskip("transformers")
    clone = copy_project(tmp_path / "clone")
    made = to_tokenizers(train_bpe([TEXT * 9], 280))
    wrapped = transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|end|>")
    wrapped.save_pretrained(clone / "smollm")
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    config = transformers.LlamaConfig(**shape, vocab_size=300, tie_word_embeddings=True)
    transformers.LlamaForCausalLM(config).save_pretrained(clone / "smollm")
    (clone / "book.txt").write_text(TEXT * 99, encoding="utf-8")
    (block, *_) = re.findall(r"```\n(.*?)```", PAGE, re.DOTALL)
    for line in block.splitlines():
        command = line.split("  #")[0].replace("--block_size=256 --max_iters=200", "--block_size=16")
        small = " --max_iters=3 --warmup_iters=1 --batch_size=2 --eval_sequences=4 --device=cpu"
        command += small if "train.py" in command else ""
        path = f"{clone}/.venv/bin:{os.environ['PATH']}"
        environment = os.environ | {"PATH": path, "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(
            command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, encoding="utf-8"
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "ithin the vocabulary" not in done.stderr
    assert re.search(r"'generated_text': '+Once ", done.stdout.replace('"', "'"))
