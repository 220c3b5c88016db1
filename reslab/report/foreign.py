"""Curves that other programs wrote, as runs beside ours: CSV, TensorBoard, transformers, nanoGPT.

What a file does not tell is unknown, above all its data: a foreign run has no baselines, and is marked as
foreign wherever it is shown. READERS: a record for each kind of file; no torch.
"""

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from reslab.report.facts import common_baselines, complete_config, complete_facts
from reslab.run.configfile import UsageError
from reslab.run.fields import first_line, named_line, short
from reslab.run.files import read_input
from reslab.run.log import Run

Point = tuple[int, str, float]  # step, the file's own name, value
KEYS = (
    *("train/loss", "train/loss_se", "val/loss", "val/loss_se", "val/bits_per_byte"),
    *("batch/loss", "batch/grad_norm", "learning_rate", "tokens_per_s", "elapsed_s"),
)
# Names that are understood without --map, in lower case, with _ for every other separator.
ALIASES = {re.sub(r"\W+", "_", key): key for key in KEYS} | {
    **{"loss": "batch/loss", "train_batch_loss": "batch/loss", "grad_norm": "batch/grad_norm"},
    **{"loss_train": "train/loss", "loss_val": "val/loss", "eval_loss": "val/loss", "valid_loss": "val/loss"},
    **{"validation_loss": "val/loss", "lr": "learning_rate"},
}
STEPS = ("step", "global_step", "_step", "iter", "iteration")  # a CSV's column of steps
NANOGPT = re.compile(r"^(step|iter) (\d+): (.*)$")


def read_csv(path: Path) -> Iterable[Point]:
    """The points of a CSV with a column of steps, or of one run as --curves writes it."""
    with io.StringIO(read_input(path).decode("utf-8-sig"), newline="") as file:
        reader = csv.DictReader(file, strict=True)
        columns = [name for name in reader.fieldnames or [] if name]
        step = next((name for name in columns if name.lower() in STEPS), None)
        if step is None:
            raise ValueError(f"no column of steps ({', '.join(STEPS)}); it has {_listed(columns)}")
        tidy = {"split", "kind", "value"} <= set(columns)
        first = None
        for cells in reader:
            first = first or cells
            if tidy and cells.get("run") != first.get("run"):
                raise ValueError("several runs are in it; give each a file of its own")
            pairs = [(f"{cells['split']}/{cells['kind']}", cells["value"])] if tidy else cells.items()
            for name, text in pairs:
                if name in columns or tidy:
                    value = _number(text)
                    if name != step and value is not None:
                        yield _step(cells[step]), name, value


def read_tensorboard(folder: Path) -> Iterable[Point]:
    """The scalars of a folder of TensorBoard's event files."""
    try:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise ValueError("needs tensorboard; run: python -m pip install tensorboard") from None
    events = EventAccumulator(str(folder), {"scalars": 0, "tensors": 0}).Reload()
    for tag in events.Tags()["scalars"]:
        yield from ((event.step, tag, event.value) for event in events.Scalars(tag))
    for tag in events.Tags()["tensors"]:  # scalars as TensorFlow 2 writes them
        arrays = ((event.step, make_ndarray(event.tensor_proto)) for event in events.Tensors(tag))
        yield from ((step, tag, float(a)) for step, a in arrays if a.size == 1 and a.dtype.kind in "fiu")


def read_trainer_state(path: Path) -> Iterable[Point]:
    """The log of transformers' Trainer: trainer_state.json of a checkpoint."""
    state = json.loads(read_input(path))
    if not isinstance(state, dict) or not isinstance(state.get("log_history"), list):
        raise ValueError("no log_history; must be a trainer_state.json of transformers")
    for entry in state["log_history"]:
        for name, value in entry.items():
            if name != "step" and isinstance(value, int | float):
                # at the end stands a mean over all batches of the run, which is the loss of no step
                name = "train_loss of the whole run" if name == "train_loss" else name
                yield _step(entry["step"]), name, value


def read_nanogpt(path: Path) -> Iterable[Point]:
    """What nanoGPT's train.py prints: `step N: train loss X, val loss Y` and `iter N: loss X, time ...`."""
    for line in read_input(path).decode().splitlines():
        if match := NANOGPT.match(line.strip()):
            for name, text in re.findall(r"(train loss|val loss|loss) ([-+\w.]+)", match[3]):
                value = _number(text)
                if value is not None:
                    yield int(match[2]), name, value


READERS: dict[str, Callable[[Path], Iterable[Point]]] = {
    "CSV": read_csv,
    "TensorBoard": read_tensorboard,
    "transformers": read_trainer_state,
    "nanoGPT": read_nanogpt,
}


def kind_of(path: Path) -> str | None:
    """Which of READERS a place is for; None for a folder that is none of TensorBoard's."""
    if path.is_dir():
        return "TensorBoard" if any(path.glob("*tfevents*")) else None
    return {".csv": "CSV", ".json": "transformers"}.get(path.suffix.lower(), "nanoGPT")


def parse_map(text: str) -> dict[str, str]:
    """--map, as in `loss/val=val/loss;lr=learning_rate`: the file's name -> ours.

    Raises:
        UsageError: a part is no NAME=KEY, or the key is none of ours.
    """
    names = {}
    for part in filter(None, map(str.strip, re.split("[;,]", text))):
        name, equals, key = part.rpartition("=")
        if not (name and equals) or key.strip() not in KEYS:
            raise UsageError(f"--map={short(part)}: must be NAME=KEY, KEY one of {', '.join(KEYS)}")
        names[name.strip()] = key.strip()
    return names


def read_foreign(path: Path, names: dict[str, str]) -> Run:
    """A foreign file or folder as a run.

    Args:
        names: of parse_map(); they go before ALIASES.

    Raises:
        ValueError: it can't be read, or has no curve under a known name; one line.
    """
    kind = kind_of(path)
    try:
        points = list(READERS[kind](path))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, csv.Error) as error:
        reason = first_line(error).removeprefix(f"{path}: ")
        if not isinstance(error, ValueError) or isinstance(error, UnicodeDecodeError | json.JSONDecodeError):
            reason = f"damaged ({named_line(error)})"
        raise ValueError(f"{path}: can't be read as {kind}: {reason}") from None
    known = list(dict.fromkeys(name for _, name, _ in points))
    keys = {name: names.get(name) or ALIASES.get(re.sub(r"\W+", "_", name).lower()) for name in known}
    if not any((key or "").endswith("/loss") for key in keys.values()):
        has = (
            f"it has {_listed(known)}; say which is the loss with --map=NAME=val/loss"
            if known
            else "it has none"
        )
        raise ValueError(f"{path}: no loss that is known by its name as {kind}; {has}")
    rows: dict[int, dict] = {}
    for step, name, value in points:
        if keys[name]:
            rows.setdefault(step, {"step": step})[keys[name]] = value if math.isfinite(value) else None
    last = max(rows)
    listed = [rows[step] for step in sorted(rows)] + [{"step": last, "status": "foreign"}]
    config = complete_config({"residual": f"foreign {kind}", "file": str(path)})
    return Run(path, config, complete_facts({"foreign": kind, "names": known}), listed)


def unused(names: dict[str, str], runs: list[Run]) -> list[str]:
    """Names of --map that no foreign run has."""
    there = {name for run in runs for name in run.facts.get("names", ())}
    return [name for name in names if name not in there]


def on_our_data(runs: list[Run]) -> list[Run]:
    """Runs whose foreign ones are read against the data and the baselines of ours, as --same_data says.

    Raises:
        UsageError: ours differ in their data, or there are none.
    """
    ours = [run for run in runs if "foreign" not in run.facts]
    if not ours or not common_baselines(ours):
        reason = "there is no run of ours" if not ours else "our runs differ in their baselines, or have none"
        raise UsageError(f"--same_data: {reason}, so there is nothing to read the foreign curves against")
    shared = {key: ours[0].facts[key] for key in ("dataset", "baselines_nats")}
    return [replace(run, facts=run.facts | shared) if "foreign" in run.facts else run for run in runs]


def _listed(names: list[str]) -> str:
    return short(", ".join(names)) or "nothing"


def _number(text) -> float | None:
    """A cell as a number; None where it is empty or text."""
    try:
        return float(text)
    except (TypeError, ValueError):
        return None


def _step(value) -> int:
    """A step. Raises ValueError where it is no whole number of updates."""
    number = _number(value)
    if number is None or number < 0 or number != int(number):
        raise ValueError(f"the step {short(value)} is no whole number")
    return int(number)
