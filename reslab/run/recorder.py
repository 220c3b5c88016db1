"""A run directory for a training loop that is not ours: Recorder, which `reslab.Recorder` is."""

import math
import sys
import time
from collections.abc import Mapping
from dataclasses import is_dataclass
from pathlib import Path

from reslab.run.fields import flat, short
from reslab.run.log import RunLog, git_commit, is_number, no_number, whole_row, write_config

# Short names of log() -> the keys of a row.
NAMES = {
    "loss": "batch/loss",
    "grad_norm": "batch/grad_norm",
    "train_loss": "train/loss",
    "train_loss_se": "train/loss_se",
    "val_loss": "val/loss",
    "val_loss_se": "val/loss_se",
}

# Settings that readers compute with; the others are shown as they are.
NUMBERS = ("n_layer", "n_embd", "block_size", "batch_size", "learning_rate", "seed")
TEXTS = ("residual", "attn_residual", "mlp_residual", "skip_blocks")


class Recorder:
    """Writes the run directory of a loop of your own, which compare.py reads beside ours.

        with reslab.Recorder("runs/mine", config={"learning_rate": 3e-4, "seed": 1}, model=model) as log:
            for step in range(1000):
                log(step, loss=loss)
            log(1000, val_loss=val_loss)

    When the block ends, the run is finished, or diverged where its newest loss is not finite; an exception
    leaves it unfinished. What is not told is unknown to compare.py. The commit is that of the program that
    runs the loop, where it lies in a git repository.

    Args:
        folder: the run directory; it must not exist, or be empty.
        config: settings, flat, under train.py's names where they are the same: n_layer, seed, ...
        model: its parameters are counted, and its device is noted. The settings of one of our models, which
            is a model whose `config` is a dataclass, come first; those in `config` win.
        facts: whatever else config.json should hold, such as {"dataset": {"source": ..., "source_sha256":
            ..., "vocab_size": ...}, "baselines_nats": {"uniform": ..., "unigram": {"train": ..., "val": ...},
            "bigram": {...}}}.

    Raises:
        ValueError: the folder is not empty, or the config is no mapping of names to values, or one that has
            to be a number (n_layer, seed, ...) is none.
    """

    def __init__(
        self, folder: str | Path, config: Mapping | None = None, model=None, facts: dict | None = None
    ):
        self.folder = Path(folder)
        if self.folder.exists() and not (self.folder.is_dir() and not any(self.folder.iterdir())):
            raise ValueError(
                f"{self.folder}: holds something already and is left as it is; give this run a folder of its "
                "own, or delete what an earlier run has left there"
            )
        if not isinstance(config or {}, Mapping) or not all(isinstance(key, str) for key in config or {}):
            raise ValueError(f"config={short(config)}: must be a dict from names to values")
        own = getattr(model, "config", None)
        settings = flat(own) if is_dataclass(own) else {}
        settings |= {key: _plain(value) for key, value in (config or {}).items()}
        if fault := setting_fault(settings):
            raise ValueError(f"config: {fault}")
        self._rows, self._started = None, time.perf_counter()
        self._step, self._finite = 0, True
        origin = {"recorder": True, "git_commit": git_commit(_script_folder())}
        self._content = settings, origin | _facts_of(model) | (facts or {})

    def __enter__(self) -> "Recorder":
        self.folder.mkdir(parents=True, exist_ok=True)
        write_config(self.folder, *self._content)
        self._rows, self._started = RunLog(self.folder), time.perf_counter()
        return self

    def __call__(self, step: int, **values) -> None:
        """Add a row.

        Args:
            step: the updates that the weights have had; it never falls.
            values: numbers under the short names of NAMES or under keys of reslab/run/log.py, as in
                **{"val/bits_per_byte": 1.2}; losses in nats per token. A tensor of one number is one.

        Raises:
            ValueError: the step or a value is none of that.
        """
        if self._rows is None:
            raise ValueError("a Recorder is used in a with block: with reslab.Recorder(...) as log: ...")
        if isinstance(step, bool) or not isinstance(step, int) or step < self._step:
            raise ValueError(
                f"step={short(step)}: must be a whole number of at least {self._step}, the step before"
            )
        row = {NAMES.get(name, name): _plain(value) for name, value in values.items()}
        whole_row({"step": step} | row)
        losses = [value for name, value in row.items() if name.endswith("/loss") and value is not None]
        self._step = step
        self._finite = all(map(math.isfinite, losses)) if losses else self._finite
        self._rows.write({"step": step} | row | {"elapsed_s": round(time.perf_counter() - self._started, 3)})

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self._rows.write({"step": self._step, "status": "finished" if self._finite else "diverged"})
        self._rows.close()
        self._rows = None


def setting_fault(config: dict) -> str | None:
    """What is wrong with a setting that readers compute with; one that is None is not told, and no fault."""
    for key, value in config.items():
        if key in TEXTS and not isinstance(value, str | None):
            return f"{key} is a {type(value).__name__}, must be text"
        if key in (*NUMBERS, "residual_scale") and not (value is None or is_number(value)):
            return no_number(key, value)
    return None


def _plain(value):
    """A value as JSON has it: numbers of torch and numpy become Python's, and what is no value its text."""
    if hasattr(value, "item") and getattr(value, "size", None) is not None and _count(value) == 1:
        return value.item()
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return value  # RunLog makes null of it
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _count(array) -> int:
    """How many numbers a tensor or an array holds."""
    return array.numel() if hasattr(array, "numel") else array.size


def _script_folder() -> Path:
    """Where the program lies that runs the loop; the current folder of a notebook, which has no file."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    return Path(script).resolve().parent if script else Path.cwd()


def _facts_of(model) -> dict:
    """What a model and the process tell; torch is not imported for that."""
    torch = sys.modules.get("torch")
    facts = {"torch": torch.__version__} if torch else {}
    parameters = list(model.parameters()) if hasattr(model, "parameters") else []
    if parameters:
        trained = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        facts |= {"parameters": trained, "device": str(parameters[0].device)}
    return facts
