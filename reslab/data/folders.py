"""Where datasets are kept by name, and the scripts that prepare them."""

import os
from pathlib import Path

from reslab import INSTALLED, TOP

SCRIPTS = TOP / "data"


def data_folder() -> Path:
    """The folder of the datasets: what RESLAB_DATA names, else data/ of a checkout, or ~/.cache/reslab where
    this is installed from a wheel."""
    if place := os.environ.get("RESLAB_DATA"):
        return Path(place).expanduser().resolve()
    return Path.home() / ".cache" / "reslab" if INSTALLED else SCRIPTS


def own_folder(script: str) -> Path:
    """Where a data/NAME/prepare.py keeps its dataset.

    Args:
        script: its __file__.
    """
    return data_folder() / Path(script).resolve().parent.name


def dataset_argument(folder: Path) -> str:
    """What --dataset takes for a folder: its name in data_folder(), else its path, which has a slash."""
    if folder.resolve().parent == data_folder().resolve():
        return folder.resolve().name
    return str(folder) if len(folder.parts) > 1 else f".{os.sep}{folder}"


def prepare_script(folder: Path) -> Path | None:
    """The script that fills a folder of data_folder(), where there is one."""
    script = SCRIPTS / folder.name / "prepare.py"
    return script if folder.resolve().parent == data_folder().resolve() and script.is_file() else None
