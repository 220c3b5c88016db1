"""Files of other programs: what a file is, what to do with it, and nanoGPT's checkpoint. No code is run."""

from pathlib import Path

import torch

from reslab.run.fields import first_line

POINTER = b"version https://git-lfs.github.com/spec/"
# How a file begins -> what it is, and what to do.
BEGINNINGS = {
    POINTER: "a pointer of Git LFS in place of the file; run: git lfs pull",
    b"GGUF": "a model of llama.cpp; give the folder of transformers that it was made from",
    b"24ka": "a model of llama2.c; its export.py writes a folder of transformers with --version -1",
}
SHAPE = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors", "adapter_model.bin")


def refuse_folder(folder: Path) -> None:
    """Raises ValueError where a folder's weights are an adapter's, or not there but as pointers."""
    if any((folder / name).exists() for name in ADAPTERS):
        raise ValueError(
            f"init_from={folder}: holds an adapter of PEFT, which changes the weights; merge them first: "
            "model.merge_and_unload().save_pretrained(NEW_FOLDER)"
        )
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin", ".json", ".model") and path.is_file():
            with path.open("rb") as file:
                if file.read(len(POINTER)) == POINTER:
                    raise ValueError(f"init_from={folder}: {path.name} is {BEGINNINGS[POINTER]}")


def read_nanogpt(source: str) -> dict:
    """model, model_args and config of a checkpoint of nanoGPT.

    Raises:
        ValueError: it is something else, which is named; no code of it was run.
    """
    path = Path(source)
    if fault := _by_its_bytes(path):
        raise ValueError(f"init_from={source}: {fault}")
    try:
        saved = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # of many kinds, some without a text
        reason = first_line(error)
        raise ValueError(
            f"init_from={source}: not a checkpoint of nanoGPT that loads without running code ({reason})"
        ) from None
    if fault := _by_its_content(saved):
        raise ValueError(f"init_from={source}: {fault}")
    config = saved.get("config")
    state = {name.removeprefix("_orig_mod."): tensor for name, tensor in saved["model"].items()}
    return {
        "model": state,
        "model_args": saved["model_args"],
        "config": config if isinstance(config, dict) else {},
    }


def _by_its_bytes(path: Path) -> str | None:
    """What a file is that torch did not write; None where torch may have written it."""
    with path.open("rb") as file:
        start = file.read(4096)
    if not start:
        return "an empty file"
    for beginning, what in BEGINNINGS.items():
        if start.startswith(beginning):
            return what
    if path.suffix == ".safetensors":
        return "weights without their settings; give the folder of transformers that holds its config.json"
    if start.startswith((b"PK", b"\x80")):
        return None
    try:
        start[: len(start) - 4 if len(start) == 4096 else None].decode("utf-8")
    except UnicodeDecodeError:
        return (
            "neither a checkpoint of torch nor a folder of transformers; a model.bin of llama2.c becomes a "
            "folder by its export.py with --version -1"
        )
    return (
        "a text file, and no weights; to train on its text: python data/text/prepare.py FILE, then "
        "--dataset=text"
    )


def _by_its_content(saved) -> str | None:
    """What a file of torch holds that is no checkpoint of nanoGPT; None where it is one."""
    if not isinstance(saved, dict):
        return f"holds a {type(saved).__name__}, and no checkpoint of nanoGPT"
    if saved and all(map(torch.is_tensor, saved.values())):
        return (
            "a bare state dict: the settings of its model are not in it; save {'model': state_dict, "
            f"'model_args': {{...}}}} with {', '.join(SHAPE)} as nanoGPT does, or give a folder of "
            "transformers"
        )
    args, state = saved.get("model_args"), saved.get("model")
    if isinstance(args, dict) and "n_layers" in args and "dim" in args:
        return "a checkpoint of llama2.c; its export.py writes a folder of transformers with --version -1"
    if not isinstance(args, dict) or not isinstance(state, dict):
        keys = ", ".join(map(str, list(saved)[:5]))
        return f"not a checkpoint of nanoGPT, which holds model and model_args: this one holds {keys}"
    if wrong := [key for key in SHAPE if type(args.get(key)) is not int]:
        return f"not a checkpoint of nanoGPT: no whole number for {', '.join(wrong)} in its model_args"
    if not all(isinstance(name, str) for name in state) or not all(map(torch.is_tensor, state.values())):
        return "not a checkpoint of nanoGPT: model holds more than tensors"
    if state and all(name.removeprefix("_orig_mod.").startswith("module.") for name in state):
        return (
            "its names begin with module., those of a model inside DistributedDataParallel; save "
            "model.module.state_dict() instead, or take the prefix off"
        )
    return None
