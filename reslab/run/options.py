"""What the other doors are told: sample.py, autopsy.py, compare.py, export.py, bench.py. No torch."""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from reslab.run.config import Positionals
from reslab.run.fields import (
    Amount,
    Check,
    Count,
    Experiment,
    Machine,
    Measuring,
    OutputFile,
    OutputFolder,
    PathText,
    Place,
    Seed,
    Whole,
    keys_of,
    settings,
    short,
    value_faults,
)
from reslab.run.files import output_fault
from reslab.run.settings import DeviceName, TrainConfig

Few = Annotated[int, Check(lambda n: 1 <= n <= 10_000, "at least 1 and at most 10000")]
WeightsName = Literal["best", "last"]
PartOfOne = Annotated[float, Check(lambda x: 0 <= x <= 1, "at least 0 and at most 1")]


def outputs(config) -> dict[str, Path]:
    """Setting -> place of what a config asks to be written."""
    written = (name for name, setting in settings(type(config)).items() if setting.output)
    return {name: path for name in written if (path := getattr(config, name))}


def output_faults(config, made: Path | None = None) -> list[str]:
    """Why what a config asks to be written can't be, one line per fault: before anything is read or trained.

    Args:
        made: a folder that the program makes.
    """
    faults, taken = [], {}
    for name, path in outputs(config).items():
        reason = output_fault(path, settings(type(config))[name].output.folder, made)
        if not reason and (path.is_file() or not path.exists()):  # a device may take several
            other = taken.setdefault(os.path.realpath(path), name)
            reason = f"is where --{other} goes" if other != name else None
        if reason:
            faults.append(f"--{name}={short(path)}: {reason}")
    return faults


@dataclass(frozen=True)
class Options:
    """What all of them take."""

    POSITIONALS: ClassVar = Positionals("RUN", count=1, example="runs/out")

    print_config: Place[bool] = False
    """Print every setting and stop."""

    def faults(self) -> list[str]:
        """What can't be done, one line per fault."""
        return value_faults(self)


@dataclass(frozen=True)
class SampleConfig(Options):
    """Sample from a run: RUN is a run directory or a checkpoint."""

    weights: Experiment[WeightsName] = "best"
    """best: those of the lowest validation loss, or last: those that the run ended with."""
    prompt: Experiment[str] = "\n"
    """What to continue; FILE:path reads it from a file."""
    special: Experiment[bool] = False
    """The end-of-text token may be written in the prompt, as <|endoftext|>; else that is plain text."""
    end_of_text: Experiment[Literal["stop", "write"]] = "stop"
    """Where the model ends a document: stop there, or write the token and go on with another document."""
    num_samples: Measuring[Count] = 1
    """How many texts."""
    max_new_tokens: Measuring[Count] = 500
    """Length of each, in tokens."""
    temperature: Experiment[Amount] = 0.8
    """Below 1 is surer, above 1 is wilder, 0 always takes the likeliest token."""
    top_k: Experiment[Whole] = 0
    """Choose among this many likeliest tokens; 0 among all."""
    top_p: Experiment[Annotated[float, Check(lambda p: 0 < p <= 1, "above 0 and at most 1")]] = 1.0
    """Choose among the likeliest tokens that together hold this probability."""
    seed: Experiment[Seed] = 1337
    """The same seed writes the same text."""
    device: Machine[DeviceName] = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    dtype: Machine[Literal["auto", "float32", "bfloat16", "float16"]] = "auto"
    """Of the matrix products; auto is bfloat16 where that was measured to be faster on this machine."""

    def faults(self) -> list[str]:
        """What can't be sampled, one line per fault."""
        return value_faults(self) + ([] if self.prompt else ["prompt: is empty; give at least one character"])


@dataclass(frozen=True)
class AutopsyConfig(Options):
    """Look into a trained model: RUN is a run directory, or a model of transformers."""

    weights: Experiment[WeightsName] = "best"
    """best: those of the lowest validation loss, or last: those that the run ended with."""
    sequences: Measuring[Annotated[int, Check(lambda n: n >= 2, "at least 2")]] = 64
    """Validation sequences for lesions and lens; more give smaller standard errors."""
    tokens: Measuring[Count] = 4
    """Tokens of the sequence that Jacobians and path lengths are taken on, in fp64."""
    draws: Measuring[Count] = 3
    """Random sets of blocks for each number of removed blocks."""
    dataset: Place[PathText] = ""
    """Where the run's data are now, if they were moved."""
    text: Measuring[PathText] = ""
    """The text file that a model of transformers is measured on; a run has its validation split."""
    json: Place[OutputFile | None] = None
    """Also write what is printed, with its origin, to this JSON file."""

    def faults(self) -> list[str]:
        """What can't be done, one line per fault."""
        return value_faults(self) + output_faults(self)


@dataclass(frozen=True)
class ExportConfig(Options):
    """Write RUN, a run directory or a checkpoint, to DIR as a model of transformers."""

    POSITIONALS: ClassVar = Positionals("RUN DIR", count=2, example="runs/out exported")

    weights: Experiment[WeightsName] = "best"
    """best: those of the lowest validation loss, or last: those that the run ended with."""
    overwrite: Place[bool] = False
    """Replace a model that export.py wrote to DIR before."""


@dataclass(frozen=True)
class CompareConfig:
    """Compare runs. Give run directories, or config files whose grid is trained first."""

    POSITIONALS: ClassVar = Positionals("RUN ... | CONFIG.py ...", configs=True, count=None)

    arms: Experiment[str] = ""
    """Wirings, e.g. pre,none; empty takes the config's."""
    depths: Experiment[str] = ""
    """Numbers of layers, e.g. 4,12,24; empty takes the config's."""
    lrs: Experiment[str] = ""
    """Learning rates, e.g. 3e-4,1e-3; empty takes the config's."""
    seeds: Experiment[Few] = 1
    """Seeds per cell; in a study, of the grids that name none."""
    vary: Experiment[str] = ""
    """Values of any setting, e.g. optimizer=adamw,muon; may be given again for another setting."""
    list: Place[bool] = False
    """Print the cells of the grid with their numbers and an estimate of their time, and stop."""
    cell: Place[Whole] = 0
    """Train only the cell of this number of --list, and write no page; 0 trains all."""
    jobs: Machine[Few] = 1
    """Runs at once, on a share of the cores each."""
    ray: Machine[str] = ""
    """Train on a Ray cluster: local, auto, or HOST:PORT."""
    cpus_per_run: Machine[Count] = 1
    """With --ray: cores."""
    gpus_per_run: Machine[PartOfOne | None] = None
    """With --ray: a GPU or a part of one, 0 to 1; None is 1 where there are any."""
    page: Place[OutputFile] = Path("compare.html")
    """The page to write."""
    json: Place[OutputFile | None] = None
    """Also write the table with its origin, as JSON."""
    csv: Place[OutputFile | None] = None
    """Also write every number of every run, with its origin, as CSV."""
    tex: Place[OutputFile | None] = None
    """Also write the table as a LaTeX tabular (booktabs)."""
    curves: Place[OutputFile | None] = None
    """Also write all losses as tidy CSV: run, group, seed, split, kind, step, value."""
    map: Place[str] = ""
    """What a foreign curve calls our keys, e.g. loss/val=val/loss; may be given again for another name."""
    same_data: Place[bool] = False
    """Foreign curves are of the same data as ours: read them against our baselines."""
    where: Place[str] = ""
    """Take, and train, only some runs, e.g. residual=pre,none or n_layer>=8; given again, all must hold."""
    sort: Place[str] = ""
    """Order of the runs: val, train, run, arm, status or a setting; -val has the largest first."""
    mean: Place[Literal["", "seed"]] = ""
    """seed: the table has a row for each group of runs that differ in the seed alone."""
    title: Place[str] = ""
    """What the page and its pictures are called; empty says what its runs show."""
    png: Place[OutputFolder | None] = None
    """Also write the page's pictures into this folder, as PNG."""
    serve: Place[bool] = False
    """Show the page while the runs train, on this machine alone."""
    port: Place[Annotated[int, Check(lambda n: 0 <= n < 2**16, "at least 0 and below 65536")]] = 8000
    """Of --serve; 0 takes a free one."""
    train: TrainConfig = field(default_factory=TrainConfig)

    def faults(self) -> "list[str]":
        """What can't be done, one line per fault."""
        written = [] if self.list or self.cell else output_faults(self, Path(self.train.out_dir))
        if self.cell:
            asked = {name: path for name, path in outputs(self).items() if name != "page"}  # it has a default
            written = [f"--{name}={short(path)}: is not written with --cell" for name, path in asked.items()]
        return value_faults(self) + self.train.faults() + written


def nanogpt_fault(path: str) -> str | None:
    """Why a folder is no checkout of nanoGPT, or None."""
    known = (Path(path).expanduser() / "model.py").is_file()
    return None if known else f"no model.py in {path}; give a checkout of nanoGPT"


@dataclass(frozen=True)
class BenchConfig(Options):
    """Measure speed, side by side with a peer's checkout."""

    POSITIONALS: ClassVar = Positionals("", count=0)

    peer: Place[str] = ""
    """What runs beside ours: nanogpt=PATH (a checkout), transformers (as installed), or both with a comma."""
    only: Measuring[str] = ""
    """Run these cases only, with commas."""
    list: Place[bool] = False
    """Print the cases and stop."""
    quick: Measuring[bool] = False
    """Fewer turns and smaller cases."""
    out: Place[OutputFile | None] = None
    """Where the result goes; runs/bench-MACHINE.json when left out."""

    def faults(self) -> "list[str]":
        """What can't be measured, one line per fault."""
        cases = keys_of("benchmarks/cases.py", "CASES")
        faults = value_faults(self) + output_faults(self)
        faults += [
            f"--only={case}: no such case; there are {', '.join(cases)}"
            for case in filter(None, self.only.split(","))
            if case not in cases
        ]
        for peer in filter(None, self.peer.split(",")):
            name, _, path = peer.partition("=")
            if peer != "transformers" and (name != "nanogpt" or not path):
                faults.append(f"--peer={peer}: must be nanogpt=PATH or transformers")
            elif path and (fault := nanogpt_fault(path)):
                faults.append(f"--peer={peer}: {fault}")
        return faults
