"""Write text with a trained model. The checkpoint alone suffices: no dataset, no network."""

from pathlib import Path

from reslab.run import config as configure
from reslab.run.files import read_input
from reslab.run.options import SampleConfig

HELP = """
    python sample.py runs/smoke --prompt "def "
    python sample.py runs/smoke --temperature 0    the likeliest token
    python sample.py runs/smoke --prompt FILE:start.txt --num_samples 3
"""


def main(argv: list[str]) -> int:
    config, (run,), _ = configure.parse(SampleConfig, argv, HELP)
    import torch  # here, so that help and faults come before it

    from reslab.data.textfiles import clean
    from reslab.nn.packed import packed
    from reslab.system import device
    from reslab.training.load import load
    from reslab.training.samples import pieces

    run_device = device.pick_device(config.device)
    model, tokenizer, _ = load(Path(run), run_device, config.weights)
    prompt = config.prompt
    if prompt.startswith("FILE:"):
        path = Path(prompt.removeprefix("FILE:")).expanduser()
        try:
            prompt = clean(read_input(path).decode())
        except UnicodeDecodeError:
            raise ValueError(f"{path}: not UTF-8 text") from None
        if not prompt:
            raise ValueError(f"{path}: is empty; a prompt needs at least one character")
    encode = tokenizer.encode_special if config.special else tokenizer.encode
    ids = torch.from_numpy(encode(prompt))[None].to(run_device)  # (1, T)
    dtype = device.pick_dtype(config.dtype, run_device, model.config.n_embd, token=True)
    with device.autocast(run_device, dtype), packed(model):  # around all tokens: weights are cast once
        for sample in range(config.num_samples):
            if config.num_samples > 1:
                print(f"--- {sample + 1} of {config.num_samples} ---")
            print(prompt, end="", flush=True)
            for piece in pieces(model, tokenizer, ids, config, sample):
                print(piece, end="", flush=True)
            print()
    return 0


if __name__ == "__main__":
    configure.run_door(main)
