"""A run as a folder of Hugging Face's transformers: GPT-2, or Llama and Qwen3 where the model is one."""

import os
import shutil
from pathlib import Path

from reslab.run import config as configure
from reslab.run.options import ExportConfig

HELP = """
    python export.py runs/shakespeare exported
    python -c "from transformers import pipeline; print(pipeline('text-generation', 'exported')('To be'))"

The folder is loaded again and compared with the run before it gets its name. The way back is
`python train.py ... --init_from=exported`.

Exit codes: 0 done; 1 the disk or the memory is full; 2 what was asked can't be done; 130 Ctrl-C.
"""


def main(argv: list[str]) -> int:
    config, (run, place), _ = configure.parse(ExportConfig, argv, HELP)
    from reslab.training import init_from  # here, so that help and faults come before torch
    from reslab.training.hub import write
    from reslab.training.load import load

    folder = Path(place)
    is_model = init_from.is_foreign(str(folder))
    if folder.exists() and not (config.overwrite and is_model):
        advice = "give --overwrite or" if is_model else "it holds no exported model;"
        raise ValueError(f"{folder}: exists, and nothing is replaced unasked; {advice} choose another DIR")
    model, tokenizer, state = load(Path(run))
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f"{folder.name}.{os.getpid()}.old")
    try:
        apart = write(temporary, model, tokenizer)
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    print(
        f"{folder}: step {state['step']} of {run} as {init_from.architecture(model.config)}, "
        f"{model.count_parameters():,} parameters; loaded again, its logits differ by {apart:.0e} at most"
    )
    return 0


if __name__ == "__main__":
    configure.run_door(main)
