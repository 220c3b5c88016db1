"""Checkpoints with flipped and missing bytes, and datasets whose preparation is killed."""

import contextlib
import io
import os
import random
import signal
import time
from pathlib import Path

import torch

from model import GPT
from reslab.data.corpus import write_dataset
from reslab.data.dataset import TokenDataset
from reslab.run import checkpoint
from reslab.run.settings import GPTConfig, OptimConfig
from reslab.training.optimizer import make_optimizer


def checkpoint_bytes(folder: Path, count: int, seed: int = 0) -> dict:
    """Flip a bit, a run of bytes, or cut; in turn in every file, each region of it as often as any other."""
    draw, last = random.Random(seed), folder / "last"
    models = [GPT(GPTConfig(block_size=8, vocab_size=19, n_layer=2, n_head=2, n_embd=16), s) for s in (1, 2)]
    for step, model in enumerate(models, 1):
        optimizer = {"optimizer": make_optimizer(model, OptimConfig()).state_dict(), "scaler": {}}
        checkpoint.save(last, model, optimizer, {"step": step, "tokenizer": {"kind": "byte"}})
    expected = models[0].state_dict()
    blank = GPT(models[0].config, 3)
    names = (*checkpoint.RESUMED, checkpoint.SUMS)
    fell_back = 0
    for number in range(count):
        path = last / names[number % len(names)]
        content = path.read_bytes()
        region = (number // len(names)) % 16
        place = min(len(content) - 1, (region * len(content) + draw.randrange(len(content))) // 16)
        width = draw.choice([1, 1, 8, 4096])
        noise = bytes(b ^ draw.randrange(1, 256) for b in content[place : place + width])
        path.write_bytes(draw.choice([content[:place] + noise + content[place + width :], content[:place]]))
        with contextlib.redirect_stderr(io.StringIO()) as stderr:
            taken = checkpoint.find(last)
        assert taken == folder / "last.previous", (path, place)
        assert f"{last}/" in stderr.getvalue() and f"taking {taken} instead" in stderr.getvalue()
        checkpoint.load_model(taken, blank)
        assert all(torch.equal(value, expected[name]) for name, value in blank.state_dict().items())
        fell_back += 1
        path.write_bytes(content)
    assert checkpoint.find(last) == last
    return {"cases": count, "found, named, and the one before taken": fell_back}


def killed_preparations(folder: Path, count: int, seed: int = 0) -> dict:
    """SIGKILL at a random instant; what is there then is the old dataset, or none, or the new one whole."""
    draw = random.Random(seed)
    texts = {name: f"{name} is a text, and this is its line.\n" * 20_000 for name in ("old", "new")}
    out, kinds = folder / "data", {"old": 0, "new": 0, "none": 0}

    def prepare(name):
        return write_dataset(out, lambda: [texts[name]], "char", name, quiet=True)

    hashes, takes = {}, 0.0
    for name in ("new", "old"):
        began = time.perf_counter()
        hashes[prepare(name)["source_sha256"]] = name
        takes = time.perf_counter() - began
    for _ in range(count):
        pid = os.fork()
        if not pid:
            prepare("new")
            os._exit(0)
        time.sleep(draw.random() * takes * 1.2)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        if (out / "meta.json").exists():
            meta = TokenDataset(
                out, 8, 0
            ).meta  # whole, by its hashes; kept open it would refuse the next prepare
            kinds[hashes[meta["source_sha256"]]] += 1
        else:
            kinds["none"] += 1
        prepare("old")
        assert sorted(path.name for path in out.iterdir()) == ["meta.json", "train.bin", "val.bin"]
    return {"kills": count, "then there was": kinds, "half-made datasets used": 0}


def one_line(folder: Path, characters: int) -> dict:
    """A line without an end, by each tokenizer."""
    line, seconds = "word and word, " * (characters // 15), {}
    for tokenizer in ("char", "byte", "bpe:300"):
        began = time.perf_counter()
        meta = write_dataset(folder / tokenizer[:4], lambda: [line], tokenizer, "a line", quiet=True)
        assert sum(split["chars"] for split in meta["splits"].values()) == len(line)
        seconds[tokenizer] = round(time.perf_counter() - began, 1)
    return {"characters in one line": len(line), "seconds": seconds}
