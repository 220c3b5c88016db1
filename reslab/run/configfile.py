"""Config files: Python files of plain assignments, which may import what is beside them."""

import contextlib
import os
import runpy
import sys
import types
from pathlib import Path

from reslab import TOP
from reslab.run.fields import did_you_mean, short

CONFIG_BYTES = 1 << 20  # of the largest config file; beyond that it is something else


class UsageError(ValueError):
    """What the user typed can't be run; each line of the message is one fault."""


def read_config_file(path: str) -> dict:
    """What a config file assigns, its imports included. Names that start with _ and modules are its own.

    Args:
        path: from the current folder, or where nothing is there, from the project's: config/deep.py is found
            from anywhere.

    Raises:
        UsageError: there is no such file, it is far too large, or running it fails.
    """
    if not Path(path).is_file() and (TOP / path).is_file():
        path = str(TOP / path)
    if not Path(path).is_file():
        if os.path.lexists(path):
            kind = "a folder" if Path(path).is_dir() else "no regular file"
            raise UsageError(f"{path}: is {kind}, must be a config file")
        beside = (*Path(path).parent.glob("*.py"), *(TOP / path).parent.glob("*.py"))
        names = (str(Path(path).parent / file.name) for file in beside)
        raise UsageError(f"{path}: no such config file{did_you_mean(path, names)}")
    if (size := Path(path).stat().st_size) > CONFIG_BYTES:
        raise UsageError(f"{path}: {size:,} bytes; a config file has at most {CONFIG_BYTES:,}")
    try:
        with _importing_from(Path(path).resolve().parent):
            names = runpy.run_path(path)
    except (Exception, SystemExit) as error:
        raise UsageError(f"{path}: {type(error).__name__}: {short(error)}") from None
    return {k: v for k, v in names.items() if not k.startswith("_") and not isinstance(v, types.ModuleType)}


@contextlib.contextmanager
def _importing_from(folder: Path):
    """Modules of a folder can be imported inside, and are forgotten afterwards: another folder may have its
    own of the same name."""
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the file has changed the path itself
            sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).resolve().parent == folder:
                del sys.modules[name]
