"""A run as a folder of Hugging Face's transformers: GPT-2, Llama, Qwen or GPT-NeoX, where it is one."""

import json
import os
import shutil
from pathlib import Path

from reslab.run import config as configure
from reslab.run.files import output_fault, parse_json, write_atomically
from reslab.run.options import ExportConfig

HELP = """
    python export.py runs/smoke exported
    python train.py --init_from=exported --out_dir=runs/back     the reverse

The folder is loaded again and compared with the run before it gets its name. A program of transformers
opens it with `pipeline("text-generation", "exported")`.
"""


RECORD = "reslab.json"  # of what was written: only that is ever replaced


def check_replaceable(folder: Path, overwrite: bool) -> None:
    """Raises ValueError where a folder holds anything that this program did not write, or nobody asked."""
    try:
        ours = {RECORD, *parse_json((folder / RECORD).read_bytes(), f"{folder / RECORD}")["files"]}
        others = sorted({path.name for path in folder.iterdir()} - ours)
        advice = f"it holds {', '.join(others[:3])}, not written by export.py;" if others else ""
    except (OSError, ValueError, LookupError, TypeError):
        advice = "it holds no model that export.py wrote;"
    if advice or not overwrite:
        advice = advice or "give --overwrite or"
        raise ValueError(f"{folder}: exists, and nothing is replaced unasked; {advice} choose another DIR")


def main(argv: list[str]) -> int:
    config, (run, place), _ = configure.parse(ExportConfig, argv, HELP)
    from reslab.training.formats import architecture  # here, so that help and faults come before torch
    from reslab.training.hub import write
    from reslab.training.load import load

    folder = Path(place).resolve()  # a link stays
    if reason := output_fault(folder, folder=True):
        raise configure.UsageError(f"{place}: {reason}")
    if folder.exists():
        check_replaceable(folder, config.overwrite)
    model, tokenizer, state = load(Path(run), weights=config.weights)
    temporary = folder.with_name(f"{folder.name}.{os.getpid()}.tmp")
    old = folder.with_name(f"{folder.name}.{os.getpid()}.old")
    try:
        apart = write(temporary, model, tokenizer)
        files = sorted(path.name for path in temporary.iterdir())
        write_atomically(temporary / RECORD, json.dumps({"run": run, "step": state["step"], "files": files}))
        if folder.exists():
            folder.rename(old)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)
    print(
        f"{place}: step {state['step']} of {run} as {architecture(model)}, "
        f"{model.count_parameters():,} parameters; loaded again, its logits differ by {apart:.0e} at most"
    )
    return 0


if __name__ == "__main__":
    configure.run_door(main)
