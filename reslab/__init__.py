"""The instruments of the residual laboratory. `reslab.frame` gives runs as pandas tables, `reslab.Recorder`
records a loop of your own. Importing this imports neither torch nor pandas.
"""

from importlib import import_module

_PLACES = {"frame": "reslab.report.frames", "Recorder": "reslab.run.recorder"}


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'reslab' has no attribute {name!r}")
