"""Checkpoints: folders whose damage is noticed, and which never run code when they are loaded.

    model.safetensors        the weights
    optimizer.safetensors    the optimizer's and the gradient scaler's state, what is no tensor as JSON
    state.json               step, config, tokenizer and whatever else a resumed run or a sampler needs
    shards/                  of a model that is sharded across ranks, see reslab/system/fsdp.py
    SHA256SUMS               of every file, as `sha256sum` writes it

A new checkpoint is written beside the old one, flushed to the disk, and renamed; the old one stays
as <name>.previous, to fall back to.
"""

import contextlib
import json
import math
import os
import shutil
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from reslab.run.config import MachineError
from reslab.run.fields import INT_LIMIT, TYPE_NAMES, first_line, short
from reslab.run.files import flush, parse_json, sha256

SUMS = "SHA256SUMS"
SAMPLED = ("state.json", "model.safetensors")  # what writing text needs
RESUMED = (*SAMPLED, "optimizer.safetensors")


def save(folder: Path, model: torch.nn.Module, optimizer_state: dict, state: dict, more=None) -> None:
    """Write a checkpoint; at any instant folder, or folder.previous, is a whole one.

    Args:
        more: is given the unfinished folder, to write more into it.

    Raises:
        MachineError: it can't be written; the one that was there stays.
    """
    temporary = unfinished(folder)
    with saving(folder):
        _discard(temporary)
        temporary.mkdir(parents=True)
        if more:
            more(temporary)
        save_file({k: v.contiguous() for k, v in model.state_dict().items()}, temporary / "model.safetensors")
        tensors = {}
        rest = json.dumps(_take_apart(optimizer_state, "", tensors))
        save_file(tensors, temporary / "optimizer.safetensors", metadata={"rest": rest})
        text = json.dumps(state, ensure_ascii=False, indent=1)
        (temporary / "state.json").write_text(text, encoding="utf-8")
        parts = sorted(path.relative_to(temporary).as_posix() for path in temporary.glob("shards/*"))
        # RESUMED comes last: whatever is cut off the list, one of them is missing
        sums = [f"{sha256(temporary / name)}  {name}\n" for name in (*parts, *RESUMED)]
        (temporary / SUMS).write_text("".join(sums), encoding="utf-8")
        for path in (*temporary.rglob("*"), temporary):
            flush(path)
        _swap(temporary, folder, keep=True)


@contextlib.contextmanager
def saving(folder: Path):
    """Inside, what can't be written is a MachineError, and nothing is left of what was begun."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        with contextlib.suppress(OSError):
            _discard(unfinished(folder))
        reason = getattr(error, "strerror", None) or str(error)
        raise MachineError(f"{folder}: can't be saved ({reason}); what was saved before is whole") from None


def unfinished(folder: Path) -> Path:
    """Where save() writes until all is there."""
    return _sibling(folder, ".tmp")


def copy(source: Path, folder: Path) -> None:
    """Make folder the same checkpoint as source, sharing its files where the disk can.

    Raises:
        MachineError: it can't be written; the one that was there stays.
    """
    temporary = unfinished(folder)
    with saving(folder):
        _discard(temporary)
        try:
            shutil.copytree(source, temporary, copy_function=os.link)
        except (OSError, shutil.Error):
            _discard(temporary)
            shutil.copytree(source, temporary)
        _swap(temporary, folder, keep=False)


def find(*folders: Path, needs: tuple[str, ...] = RESUMED) -> Path | None:
    """The first whole checkpoint among folders and, after each, the one before it; None if there is none.

    A damaged one that is passed over is named on stderr.

    Args:
        needs: files that have to be there, with the right checksum; RESUMED stands for all that were written.

    Raises:
        ValueError: there are checkpoints, and all of them are damaged.
    """
    faults = []
    for folder in folders:
        for candidate in (folder, _sibling(folder, ".previous")):
            if not any((candidate / name).is_file() for name in (*RESUMED, SUMS)):
                continue
            if not (fault := damage(candidate, needs)):
                if faults:
                    print("\n".join([*faults, f"taking {candidate} instead"]), file=sys.stderr, flush=True)
                return candidate
            faults.append(fault)
    if faults:
        raise ValueError("\n".join(faults))
    return None


def damage(folder: Path, needs: tuple[str, ...] = RESUMED) -> str | None:
    """What is wrong with a checkpoint's files, in one line; None when they are as they were written."""
    try:
        *lines, end = (folder / SUMS).read_bytes().decode("ascii").split("\n")
        sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        if end:
            return f"{folder / SUMS}: damaged (its last line is cut)"
        for name in dict.fromkeys((*needs, *sums)) if needs == RESUMED else needs:
            if name not in sums:
                return f"{folder / SUMS}: damaged (no checksum of {name})"
            if (actual := sha256(folder / name)) != sums[name]:
                return f"{folder / name}: damaged (its sha256 is {actual}, {SUMS} says {sums[name][:64]!r})"
    except OSError as error:
        return f"{error.filename}: damaged ({error.strerror})"
    except UnicodeDecodeError:
        return f"{folder / SUMS}: damaged (not text)"
    except ValueError as error:  # a zero byte in a name
        return f"{folder / SUMS}: damaged ({error})"
    return None


def replace_damaged(folder: Path, intact: Path) -> None:
    """Make `intact`, which find() returned, the checkpoint `folder`: the one before it takes its place.

    Where a run was killed after it saved its best state and before it copied that to best, it is copied now.
    """
    if intact != folder:
        _discard(_sibling(folder, ".damaged"))
        if folder.exists():
            folder.rename(_sibling(folder, ".damaged"))
        intact.rename(folder)
    if load_state(folder).get("best"):
        copy(folder, folder.with_name("best"))


def remove(folder: Path) -> None:
    """Delete the checkpoints in a folder, if it is there, and nothing that is not ours; a link stays."""
    for name in ("last", "best", *(place.name for place in folder.glob("step-*[0-9]"))):
        for ending in ("", ".tmp", ".previous", ".damaged"):
            _discard(_sibling(folder / name, ending))
    with contextlib.suppress(OSError):  # not there, not empty, or a link
        folder.rmdir()


def load_state(folder: Path) -> dict:
    """state.json of a checkpoint. Raises ValueError when it is damaged."""
    path = folder / "state.json"
    try:
        return parse_json(path.read_bytes(), f"{path}")
    except OSError as error:
        raise ValueError(f"{path}: can't be read ({error})") from None


def load_model(folder: Path, model: torch.nn.Module) -> None:
    """Fill model with the weights. Raises ValueError when they are damaged or of another shape."""
    path = folder / "model.safetensors"
    try:
        model.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ValueError(f"{path}: can't be loaded ({first_line(error)})") from None


def load_optimizer(folder: Path) -> dict:
    """What save() got as optimizer_state; tuples come back as lists. Raises ValueError when it is damaged."""
    path = folder / "optimizer.safetensors"
    try:
        with safe_open(path, "pt") as file:
            return _put_together(json.loads(file.metadata()["rest"]), file.get_tensor)
    except (OSError, SafetensorError, TypeError, ValueError, LookupError) as error:
        raise ValueError(f"{path}: can't be loaded ({first_line(error)})") from None


@contextlib.contextmanager
def reading(folder: Path):
    """Inside, a field that is missing or of another type is a ValueError that names the checkpoint."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ArithmeticError, AssertionError, RecursionError) as error:
        raise ValueError(f"{folder}: not what train.py writes ({type(error).__name__}: {error})") from None


def number(saved: dict, key: str, kind: type = int):
    """A number of state.json: a whole one from -1 on, or a finite one. Raises TypeError for anything else."""
    value = saved[key]
    if type(value) is int and (kind is float or -1 <= value < INT_LIMIT) and abs(value) < INT_LIMIT:
        return value
    if kind is float and type(value) is float and math.isfinite(value):
        return value
    raise TypeError(f"{key} is {short(value)}, must be {TYPE_NAMES[kind]}")


def _take_apart(tree, name: str, tensors: dict):
    """The tree as JSON can hold it, its tensors moved to `tensors` under their place in the tree."""
    if torch.is_tensor(tree):
        tensors[name] = tree.detach().contiguous()
        return {"tensor": name}
    if isinstance(tree, dict):  # as pairs: keys may be numbers
        return {"dict": [[key, _take_apart(value, f"{name}.{key}", tensors)] for key, value in tree.items()]}
    if isinstance(tree, list | tuple):
        return [_take_apart(value, f"{name}.{number}", tensors) for number, value in enumerate(tree)]
    return tree


def _put_together(tree, tensor):
    if isinstance(tree, list):
        return [_put_together(value, tensor) for value in tree]
    if isinstance(tree, dict):
        if "tensor" in tree:
            return tensor(tree["tensor"])
        return {key: _put_together(value, tensor) for key, value in tree["dict"]}
    return tree


def _sibling(folder: Path, ending: str) -> Path:
    folder = folder.resolve() if folder.name in ("", "..") else folder  # "." has no name
    return folder.with_name(folder.name + ending)


def _swap(temporary: Path, folder: Path, keep: bool) -> None:
    """A folder can't be renamed onto another, so the old one steps aside first."""
    previous = _sibling(folder, ".previous")
    if folder.exists():
        _discard(previous)
        folder.rename(previous)
    temporary.rename(folder)
    flush(folder.parent)
    if not keep:
        _discard(previous)


def _discard(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)
