"""Where else a run's metrics go: TensorBoard, Weights & Biases, trackio.

metrics.jsonl stays the record; a tracker gets a copy of every row. One that fails is left out with a
warning, and training goes on. Numbers become curves, beside each evaluation stand the baselines of its
split, a probe's list over layers becomes the curves of its first and last value and a picture of layers by
steps, words become text. When the run ends its page becomes an artifact where a tracker takes artifacts.
"""

import json
import math
import os
import shutil
import sys
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from reslab.report.facts import baselines_of, load
from reslab.report.pixels import curve, picture, scale_of
from reslab.run.derived import with_derived
from reslab.run.fields import named_line
from reslab.run.files import parse_json, write_atomically
from reslab.run.log import RunLog
from reslab.run.settings import tracker_names

ONE_CHART = ["train/loss", "val/loss", "baseline/unigram", "baseline/bigram"]


@dataclass(frozen=True)
class Identity:
    """What a tracker needs to open a run, or to go on with one."""

    folder: Path
    run_id: str
    """The same however often the run is resumed."""
    config: dict
    step: int = 0
    """The first step that will be written."""
    baselines: dict = field(default_factory=dict)
    """Of the validation split: name -> nats per token."""
    probes: dict = field(default_factory=dict)
    """What config.json tells of each probe: name -> label, scale, ends."""

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

        # It forgets what a crashed process wrote from this step on.
        self.writer = SummaryWriter(str(run.folder / "tensorboard"), purge_step=run.step)
        rows = "".join(f"| {key} | {value} |\n" for key, value in run.config.items())
        self.writer.add_text("config", f"| setting | value |\n|---|---|\n{rows}", run.step)
        self.writer.add_custom_scalars({"loss": {"losses and baselines": ["Multiline", ONE_CHART]}})
        self.config, self.losses = run.config, {}

    def write(self, step: int, numbers: dict, pictures: dict, texts: dict) -> None:
        for key, value in numbers.items():
            self.writer.add_scalar(key, value, step)
        for key, image in pictures.items():
            self.writer.add_image(key, image, step, dataformats="HWC")
        for key, text in texts.items():
            self.writer.add_text(key, fenced(text), step)
        self.losses |= {f"final/{k}": v for k, v in numbers.items() if k in ("train/loss", "val/loss")}

    def close(self) -> None:
        if self.losses:  # a run without an evaluation has no place in the table of hparams
            usable = {k: v if isinstance(v, bool | int | float) else str(v) for k, v in self.config.items()}
            self.writer.add_hparams(usable, self.losses, run_name=".")
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

    def write(self, step: int, numbers: dict, pictures: dict, texts: dict) -> None:
        images = {key: self.wandb.Image(image) for key, image in pictures.items()}
        if numbers or images:
            self.run.log({"step": step} | numbers | images)
        self.run.summary.update(texts)

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

    def write(self, step: int, numbers: dict, pictures: dict, texts: dict) -> None:
        images = {key: self.trackio.Image(image) for key, image in pictures.items()}
        markdown = {key: self.trackio.Markdown(fenced(text)) for key, text in texts.items()}
        self.run.log(numbers | images | markdown, step=step)

    def page(self, path: Path) -> None:
        self.trackio.log_artifact(path, name=f"page-{self.name}", type="page")

    def close(self) -> None:
        self.run.finish()


class TrackedLog:
    """A run's log whose rows go to trackers as well; used like a RunLog.

    Args:
        rows: what the log holds already.
    """

    def __init__(self, log: RunLog, names: list[str], run: Identity, rows: list[dict]):
        self.log, self.folder, self.columns, self.trackers = log, run.folder, {}, {}
        self.baselines, self.probes = run.baselines, run.probes
        for name in names:
            self._try(name, lambda name=name: self.trackers.update({name: TRACKERS[name].open(run)}))
        for row in rows:
            again = row["step"] >= run.step
            self._send(row, {n: t for n, t in self.trackers.items() if again and TRACKERS[n].forgets})

    def write(self, row: dict) -> None:
        """Add a row to the log and to every tracker."""
        self.log.write(row)
        self._send(with_derived(row), self.trackers)

    def _send(self, row: dict, to: dict) -> None:
        lists = {key: curve(value) for key, value in row.items() if key.startswith("probe/")}
        lists = {key: values for key, values in lists.items() if values}
        for key, values in lists.items():
            self.columns.setdefault(key, []).append(values)
        if not to:
            return
        numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and math.isfinite(v)}
        numbers.pop("step", None)
        if "val/loss" in numbers:
            numbers |= {f"baseline/{name}": value for name, value in self.baselines.items()}
        for key, values in lists.items():
            ends = {f"{key}/first": values[0], f"{key}/last": values[-1]}
            numbers |= {k: v for k, v in ends.items() if v is not None and math.isfinite(v)}
        pictures = {}
        for key in lists:
            scale = scale_of(self.probes.get(key.removeprefix("probe/"), {}))
            pictures[f"{key}/{scale.name}"] = picture(self.columns[key], scale)
        texts = {key: value for key, value in row.items() if isinstance(value, str)}
        for name, tracker in list(to.items()):
            self._try(name, lambda tracker=tracker: tracker.write(row["step"], numbers, pictures, texts))

    def size(self) -> int:
        """Bytes of the log on the disk."""
        return self.log.size()

    def close(self) -> None:
        """Close the log, hand the run's page to the trackers that take artifacts, and close all of them."""
        self.log.close()
        takers = [name for name in self.trackers if TRACKERS[name].takes_page]
        if takers:
            with tempfile.TemporaryDirectory() as place:
                self._hand_page(takers, Path(place) / "page.html")
        for name, tracker in list(self.trackers.items()):
            self._try(name, tracker.close)

    def _hand_page(self, takers: list[str], path: Path) -> None:
        from reslab.report.html import write_page  # here: a run without trackers starts without plotly

        try:
            write_page(path, [load(self.folder)], self.folder.name)
        except Exception as error:
            _warn(f"{path.name}: not written ({error})")
            return
        for name in takers:
            self._try(name, lambda name=name: self.trackers[name].page(path))

    def _try(self, name: str, call) -> None:
        try:
            call()
        except Exception as error:  # whatever it is, it is not the run's fault
            self.trackers.pop(name, None)
            _warn(f"{name} failed ({named_line(error)}); going on without it")


def fenced(text: str) -> str:
    """Text as Markdown that keeps its line breaks: a fence longer than any inside."""
    if "\n" not in text:
        return text
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}\n{text}\n{fence}"


def open_log(folder: Path, keep_bytes: int, log: str, config: dict, step: int) -> RunLog | TrackedLog:
    """A run's log, with copies to the trackers that --log names.

    Args:
        keep_bytes: see RunLog; 0 begins a new run in every tracker.
        log: names of TRACKERS, with commas.
        config, step: see Identity.
    """
    runlog = RunLog(folder, keep_bytes)
    if not tracker_names(log):
        return runlog
    if not keep_bytes:
        shutil.rmtree(folder / "tensorboard", ignore_errors=True)
    run = load(folder)
    known = {name: value for name, value in baselines_of(run, "val").items() if value is not None}
    identity = Identity(folder, _run_id(folder, keep_bytes > 0), config, step, known, run.facts["probes"])
    return TrackedLog(runlog, tracker_names(log), identity, run.rows if keep_bytes else [])


def _run_id(folder: Path, goes_on: bool) -> str:
    """The id by which trackers know the run of this directory."""
    path = folder / "trackers.json"
    try:
        if goes_on:
            return str(parse_json(path.read_bytes(), f"{path}")["id"])
    except (OSError, ValueError, KeyError):
        pass  # it was begun without trackers
    run_id = uuid.uuid4().hex[:8]
    write_atomically(path, json.dumps({"id": run_id}))
    return run_id


def publish_page(path: Path, log: str, folder: Path) -> None:
    """Hand the page that compares the runs of a folder to the trackers that take artifacts."""
    for name in tracker_names(log):
        if not TRACKERS[name].takes_page:
            continue
        try:
            tracker = TRACKERS[name].open(Identity(folder, _run_id(folder, True), {}))
            tracker.page(path)
            tracker.close()
        except Exception as error:
            _warn(f"{name} did not take {path} ({named_line(error)})")


def _warn(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Tracker:
    """One place where metrics go; its name is that of --log and of its package.

    Args:
        open: from an Identity to an object with write(step, numbers, pictures, texts) and close().
        takes_page: whether that object has page(path) too, which keeps an HTML file beside the run.
        forgets: whether it drops what was written from the first step on, so that it must be sent again.
    """

    open: type
    takes_page: bool = False
    forgets: bool = False


TRACKERS = {
    "tensorboard": Tracker(TensorBoard, forgets=True),
    "wandb": Tracker(WandB, takes_page=True),
    "trackio": Tracker(Trackio, takes_page=True),
}
