"""Write text with a trained model. The checkpoint alone suffices: no dataset, no network.

python sample.py runs/deep --prompt "def "
python sample.py runs/deep --prompt FILE:start.txt --temperature 0.8 --top_k 50 --num_samples 3
python sample.py runs/deep --temperature 0               the likeliest token each time
"""

import codecs
import math
from dataclasses import dataclass
from pathlib import Path

import torch

from model import GPT, GPTConfig
from reslab import checkpoint, configure, device
from reslab.tokenizer import tokenizer_from_json


@dataclass(frozen=True)
class SampleConfig:
    """Sample from a run: python sample.py RUN [--key=value ...], RUN a run directory or a checkpoint."""

    prompt: str = "\n"
    """What to continue; FILE:path reads it from a file."""
    num_samples: int = 1
    """How many texts."""
    max_new_tokens: int = 500
    """Length of each, in tokens."""
    temperature: float = 0.8
    """Below 1 is surer, above 1 is wilder, 0 always takes the likeliest token."""
    top_k: int = 0
    """Choose among this many likeliest tokens; 0 among all."""
    top_p: float = 1.0
    """Choose among the likeliest tokens that together hold this probability."""
    seed: int = 1337
    """The same seed writes the same text."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: str = "auto"
    """auto (bfloat16 where it is faster), float32, bfloat16 or float16, of the matrix products."""

    def faults(self) -> list[str]:
        """What can't be sampled, one line per fault."""
        found = []
        for key in ("num_samples", "max_new_tokens"):
            if getattr(self, key) < 1:
                found.append(f"{key}={getattr(self, key)}: must be at least 1")
        if not 0 <= self.temperature < math.inf:
            found.append(f"temperature={self.temperature}: must be finite and not negative")
        if self.top_k < 0:
            found.append(f"top_k={self.top_k}: must not be negative")
        if not 0 < self.top_p <= 1:
            found.append(f"top_p={self.top_p}: must be above 0 and at most 1")
        if not 0 <= self.seed < 2**63:
            found.append(f"seed={self.seed}: must be at least 0 and below 2**63")
        found += device.faults(self.device)
        if self.dtype not in (allowed := ("auto", "float32", "bfloat16", "float16")):
            found.append(f"dtype={self.dtype}: allowed are {', '.join(allowed)}")
        if not self.prompt:
            found.append("prompt: is empty; give at least one character")
        return found


def load(folder: Path, run_device: str = "cpu"):
    """The model of a run and its tokenizer.

    Args:
        folder: a run directory, whose best checkpoint is taken, or a checkpoint.

    Returns:
        model in eval mode, tokenizer, and the checkpoint's state.

    Raises:
        ValueError: there is no checkpoint, or it is damaged.
    """
    places = (folder, folder / "checkpoint" / "best", folder / "checkpoint" / "last")
    found = checkpoint.find(*places, needs=checkpoint.SAMPLED)
    if found is None:
        raise ValueError(f"{folder}: no checkpoint here; give a run directory such as runs/deep")
    state = checkpoint.load_state(found)
    with checkpoint.reading(found):
        model = GPT(configure.from_flat(GPTConfig, state["config"]))
        tokenizer = tokenizer_from_json(state["tokenizer"])
    checkpoint.load_model(found, model)
    return model.to(run_device).eval(), tokenizer, state


def write(model, tokenizer, prompt_ids, config: SampleConfig, sample: int, show) -> None:
    """Generate one text, handing each piece to show() as soon as its characters are whole."""
    generator = torch.Generator(model.wte.weight.device).manual_seed(config.seed + sample)
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    top_k = config.top_k or None
    tokens = model.generate(
        prompt_ids,
        config.max_new_tokens,
        config.temperature,
        top_k,
        config.top_p,
        generator,
        tokenizer.vocab_size,
    )
    for token in tokens:
        show(decoder.decode(tokenizer.decode_bytes([token.item()])))
    show(decoder.decode(b"", final=True))


def main(words: list[str]) -> int:
    config, places = configure.parse(SampleConfig, words, takes_files=False)
    run_device = device.pick_device(config.device)
    model, tokenizer, _ = load(Path(places[0]), run_device)
    prompt = config.prompt
    if prompt.startswith("FILE:"):
        path = Path(prompt.removeprefix("FILE:"))
        try:
            prompt = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8 text") from None
        if not prompt:
            raise ValueError(f"{path}: is empty; a prompt needs at least one character")
    ids = torch.from_numpy(tokenizer.encode(prompt))[None].to(run_device)  # (1, T)
    dtype = device.pick_dtype(config.dtype, run_device, model.config.n_embd)
    with device.autocast(run_device, dtype):  # around all tokens: it casts the weights once
        for sample in range(config.num_samples):
            if config.num_samples > 1:
                print(f"--- {sample + 1} of {config.num_samples} ---")
            print(prompt, end="", flush=True)
            write(model, tokenizer, ids, config, sample, lambda text: print(text, end="", flush=True))
            print()
    return 0


if __name__ == "__main__":
    configure.run_door(main)
