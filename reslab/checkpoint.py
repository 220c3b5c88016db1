"""Checkpoints: a folder that is either whole or not there, and that never runs code when loaded.

    model.safetensors    the weights
    optimizer.pt         the optimizer's and the gradient scaler's state (read with weights_only)
    state.json           step, config, tokenizer and whatever else a resumed run or a sampler needs

A new checkpoint is written beside the old one, flushed to the disk, and renamed.
"""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file


def save(folder: Path, model: torch.nn.Module, optimizer_state: dict, state: dict) -> None:
    """Write a checkpoint; at any instant folder, or folder.old, is a whole one."""
    temporary = _sibling(folder, ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
    torch.save(optimizer_state, temporary / "optimizer.pt")
    (temporary / "state.json").write_text(json.dumps(state, ensure_ascii=False, indent=1), encoding="utf-8")
    for path in temporary.iterdir():
        _flush(path)
    _swap(temporary, folder)


def copy(source: Path, folder: Path) -> None:
    """Make folder the same checkpoint as source, sharing its files where the disk can."""
    temporary = _sibling(folder, ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        shutil.copytree(source, temporary, copy_function=os.link)
    except (OSError, shutil.Error):
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source, temporary)
    _swap(temporary, folder)


def find(folder: Path) -> Path | None:
    """The whole checkpoint at folder, or the older one that an interrupted save left, or None."""
    for candidate in (folder, _sibling(folder, ".old")):
        if (candidate / "state.json").is_file():
            return candidate
    return None


def remove(folder: Path) -> None:
    """Delete a folder of checkpoints, if it is there."""
    if folder.exists():
        shutil.rmtree(folder)


def load_state(folder: Path) -> dict:
    """state.json of a checkpoint. Raises ValueError when it is damaged."""
    path = folder / "state.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: can't be read ({error})") from None


def load_model(folder: Path, model: torch.nn.Module) -> None:
    """Fill model with the weights. Raises ValueError when they are damaged or of another shape."""
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: can't be loaded ({str(error).splitlines()[0]})") from None


def load_optimizer(folder: Path) -> dict:
    """What save() got as optimizer_state. Raises ValueError when it is damaged."""
    path = folder / "optimizer.pt"
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path}: can't be loaded ({str(error).splitlines()[0]})") from None


def _sibling(folder: Path, ending: str) -> Path:
    return folder.with_name(folder.name + ending)


def _swap(temporary: Path, folder: Path) -> None:
    """A folder can't be renamed onto another, so the old one steps aside first."""
    old = _sibling(folder, ".old")
    if folder.exists():
        shutil.rmtree(old, ignore_errors=True)
        folder.rename(old)
    temporary.rename(folder)
    _flush(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
