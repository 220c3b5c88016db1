"""Where else a run's rows go: TensorBoard, Weights & Biases, trackio.

metrics.jsonl stays the record; a sink gets a copy of every row. One that fails is left out with a
warning, and training goes on. Numbers become curves, a probe's list over layers becomes the curves of
its first and last value and a picture of layers by steps, words become text, and when the run ends its
page becomes an artifact where a sink knows artifacts.
"""

import json
import math
import os
import shutil
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reslab.run.derived import with_derived
from reslab.run.log import RunLog, read_run, write_atomically
from reslab.run.settings import tracker_names

PICTURE = 256  # pixels that a picture's height and width come near to, unless it has more layers
RAMP = [(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)]  # dark is small
MISSING = (200, 200, 200)


@dataclass(frozen=True)
class Identity:
    """What a sink needs to open a run, or to go on with one."""

    folder: Path
    run_id: str
    """The same in all lives of a run."""
    config: dict
    step: int = 0
    """The first step that this life will write."""

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def group(self) -> str:
        return self.folder.absolute().parent.name


class TensorBoard:
    """Event files in the run directory: tensorboard --logdir runs"""

    def __init__(self, run: Identity):
        from torch.utils.tensorboard import SummaryWriter

        # It forgets what a crashed life wrote from this step on.
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step)
        rows = "".join(f"| {key} | {value} |\n" for key, value in run.config.items())
        self.writer.add_text("config", f"| setting | value |\n|---|---|\n{rows}", run.step)

    def write(self, step: int, numbers: dict, pictures: dict, words: dict) -> None:
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, step)
        for key, picture in pictures.items():
            self.writer.add_image(key, picture, step, dataformats="HWC")
        for key, text in words.items():
            self.writer.add_text(key, text, step)

    def page(self, path: Path) -> None:
        """TensorBoard knows no artifacts."""

    def close(self) -> None:
        self.writer.close()


class WandB:
    """A run of the project $WANDB_PROJECT, or reslab; its id is that of the run directory."""

    def __init__(self, run: Identity):
        import wandb

        self.wandb, self.id = wandb, run.run_id
        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "reslab"),
            id=run.run_id,
            name=run.name,
            group=run.group,
            dir=run.folder,
            config=run.config,
            resume="allow",
        )
        # Its own step may not go back, and a resumed run begins at its checkpoint.
        self.run.define_metric("*", step_metric="step")

    def write(self, step: int, numbers: dict, pictures: dict, words: dict) -> None:
        images = {key: self.wandb.Image(picture) for key, picture in pictures.items()}
        if numbers or images:
            self.run.log({"step": step} | numbers | images)
        self.run.summary.update(words)

    def page(self, path: Path) -> None:
        artifact = self.wandb.Artifact(f"page-{self.id}", type="page")
        artifact.add_file(str(path))
        self.run.log_artifact(artifact)

    def close(self) -> None:
        self.run.finish()


class Trackio:
    """A run of the project $TRACKIO_PROJECT, or reslab; on this machine unless trackio is told otherwise."""

    def __init__(self, run: Identity):
        import trackio

        self.trackio, self.name = trackio, f"{run.name}-{run.run_id}"
        project = os.environ.get("TRACKIO_PROJECT", "reslab")
        # A name is what trackio knows a run by.
        self.run = trackio.init(
            project, name=self.name, group=run.group, config=run.config, resume="allow", embed=False
        )

    def write(self, step: int, numbers: dict, pictures: dict, words: dict) -> None:
        images = {key: self.trackio.Image(picture) for key, picture in pictures.items()}
        texts = {key: self.trackio.Markdown(text) for key, text in words.items()}
        self.run.log(numbers | images | texts, step=step)

    def page(self, path: Path) -> None:
        self.trackio.log_artifact(path, name=f"page-{self.name}", type="page")

    def close(self) -> None:
        self.run.finish()


class Copies:
    """A run's log whose rows go to sinks as well; used like a RunLog.

    Args:
        rows: what the log holds already.
    """

    def __init__(self, log: RunLog, names: list[str], run: Identity, rows: list[dict]):
        self.log, self.folder, self.seen, self.sinks = log, run.folder, {}, {}
        for name in names:
            self._try(name, lambda name=name: self.sinks.update({name: SINKS[name](run)}))
        for row in rows:
            forgotten = row["step"] >= run.step
            self._send(row, {n: s for n, s in self.sinks.items() if forgotten and n == "tensorboard"})

    def write(self, row: dict) -> None:
        """Add a row to the log and to every sink."""
        self.log.write(row)
        self._send(with_derived(row), self.sinks)

    def _send(self, row: dict, to: dict) -> None:
        lists = {k: v for k, v in row.items() if k.startswith("probe/") and isinstance(v, list) and v}
        for key, values in lists.items():
            self.seen.setdefault(key, []).append(values)
        if not to:
            return
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
        numbers.pop("step", None)
        for key, values in lists.items():
            ends = {f"{key}/first": values[0], f"{key}/last": values[-1]}
            numbers |= {k: v for k, v in ends.items() if v is not None and math.isfinite(v)}
        pictures = {key: picture(self.seen[key]) for key in lists}
        words = {key: value for key, value in row.items() if isinstance(value, str)}
        for name, sink in list(to.items()):
            self._try(name, lambda sink=sink: sink.write(row["step"], numbers, pictures, words))

    def size(self) -> int:
        """Bytes of the log on the disk."""
        return self.log.size()

    def close(self) -> None:
        """Close the log, hand every sink the run's page, and close them."""
        self.log.close()
        if not self.sinks:
            return
        from reslab.report.html import write_page  # here, so that a run without sinks starts without plotly

        path = self.folder / "page.html"
        try:
            write_page(path, [read_run(self.folder)], self.folder.name)
        except Exception as error:
            _warn(f"{path}: not written ({error})")
        for name, sink in list(self.sinks.items()):
            self._try(name, lambda sink=sink: path.exists() and sink.page(path))
            self._try(name, sink.close)

    def _try(self, name: str, call) -> None:
        try:
            call()
        except Exception as error:  # whatever it is, it is not the run's fault
            self.sinks.pop(name, None)
            _warn(f"{name} failed ({_said(error)}); going on without it")


def picture(columns: list[list[float]]) -> np.ndarray:
    """A list over layers, seen at one step after another, as an image (height, width, 3), uint8.

    Layer 0 is the top row, time goes right. Values of one sign that span more than a decade are
    coloured by their logarithm; grey is a number that is not finite.
    """
    keep = np.unique(np.linspace(0, len(columns) - 1, min(len(columns), PICTURE)).astype(int))
    values = np.array([columns[k] for k in keep], dtype=float).T  # (layers, steps)
    finite = values[np.isfinite(values)]
    positive = finite[finite > 0]
    if len(finite) and finite.min() >= 0 and len(positive) and positive.max() > 10 * positive.min():
        values = np.log10(np.maximum(values, positive.min()))
        finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 1.0)
    place = np.nan_to_num((values - low) / ((high - low) or 1)) * (len(RAMP) - 1)
    colours = np.stack(
        [np.interp(place, range(len(RAMP)), band) for band in zip(*RAMP, strict=True)], axis=-1
    )
    colours[~np.isfinite(values)] = MISSING
    repeat = [max(1, PICTURE // size) for size in values.shape]
    return colours.round().astype(np.uint8).repeat(repeat[0], axis=0).repeat(repeat[1], axis=1)


def open_log(folder: Path, keep_bytes: int, log: str, config: dict, step: int) -> RunLog | Copies:
    """A run's log, with copies to the sinks that --log names.

    Args:
        keep_bytes: see RunLog; 0 begins a new run in every sink.
        log: names of SINKS, with commas.
        config: every setting, flat.
        step: where this life begins.
    """
    runlog = RunLog(folder, keep_bytes)
    if not tracker_names(log):
        return runlog
    if not keep_bytes:
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    run = Identity(folder, _run_id(folder, keep_bytes > 0), config, step)
    rows = read_run(folder).rows if keep_bytes else []
    return Copies(runlog, tracker_names(log), run, rows)


def _run_id(folder: Path, goes_on: bool) -> str:
    """The id by which sinks know the run of this directory."""
    path = folder / "sinks.json"
    try:
        if goes_on:
            return json.loads(path.read_text(encoding="utf-8"))["id"]
    except (OSError, ValueError, KeyError):
        pass  # it was begun without sinks
    run_id = uuid.uuid4().hex[:8]
    write_atomically(path, json.dumps({"id": run_id}))
    return run_id


def publish_page(path: Path, log: str, folder: Path) -> None:
    """Hand the page that compares the runs of a folder to the sinks that know artifacts."""
    for name in set(tracker_names(log)) - {"tensorboard"}:
        try:
            sink = SINKS[name](Identity(folder, _run_id(folder, True), {}))
            sink.page(path)
            sink.close()
        except Exception as error:
            _warn(f"{name} did not take {path} ({_said(error)})")


def _said(error: Exception) -> str:
    """An error in one line."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}"


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


SINKS = {"tensorboard": TensorBoard, "wandb": WandB, "trackio": Trackio}
