"""The instruments of the residual laboratory. `reslab.frame` gives runs as pandas tables, `reslab.Recorder`
records a loop of your own, `reslab.train` trains a model. Importing this imports neither torch nor pandas.
"""

from importlib import import_module
from pathlib import Path

__version__ = "0.1.0"

_PACKAGE = Path(__file__).resolve().parent
INSTALLED = (_PACKAGE / "top").is_dir()
"""Whether this package is from a wheel, which holds the files of TOP; pyproject.toml puts them there."""
TOP = _PACKAGE / "top" if INSTALLED else _PACKAGE.parent
"""Where model.py, train.py and the other programs, config/, data/*/prepare.py and benchmarks/ are."""
__path__.append(str(TOP))  # model.py is reslab.model, in a checkout as in a wheel

_PLACES = {
    "frame": "reslab.report.frames",
    "Recorder": "reslab.run.recorder",
    "train": "reslab.training.library",
}


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'reslab' has no attribute {name!r}")
