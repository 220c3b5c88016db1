"""Measure the probes again on a run's kept checkpoints: `python -m reslab.training.reprobe RUN`.

A probe that was written after a run was trained needs no new training: train with --keep=every:500, and this
measures all PROBES, on the fixed batch that the run itself probes, into RUN/probes.jsonl, which compare.py
reads with the run. What the run measured itself stands.
"""

from dataclasses import dataclass
from pathlib import Path

from reslab.instruments import probes
from reslab.report.facts import PROBED_LATER
from reslab.run import capacity, checkpoint
from reslab.run.config import Positionals, parse, run_door
from reslab.run.fields import Machine, PathText, Place, value_faults
from reslab.run.files import write_atomically
from reslab.run.launch import as_typed
from reslab.run.log import as_line, git_commit, read_run
from reslab.run.settings import DeviceName

REQUIRED = ("dataset", "block_size", "seed", "probe_sequences")  # settings of the run that are needed
HELP = """
    python train.py config/laptop.py --keep=every:100
    python -m reslab.training.reprobe runs/laptop
"""


@dataclass(frozen=True)
class ReprobeConfig:
    """Measure the probes on the kept checkpoints of RUN, a run directory."""

    POSITIONALS = Positionals("RUN", count=1)

    dataset: Place[PathText] = ""
    """Where the run's data are now, if they were moved."""
    device: Machine[DeviceName] = "cpu"
    """auto, cpu, cuda, cuda:N or mps."""

    def faults(self) -> list[str]:
        """What can't be measured, one line per fault."""
        return value_faults(self)


def checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints of a run directory, one for each step, in their order.

    Raises:
        ValueError: there is none, or one is damaged.
    """
    places = [
        *sorted((folder / "checkpoint").glob("step-*")),
        *(folder / "checkpoint" / n for n in ("best", "last")),
    ]
    by_step = {}
    for place in places:
        if not place.name.endswith((".previous", ".tmp", ".damaged")) and (
            checkpoint_dir := checkpoint.find(place, needs=checkpoint.SAMPLED)
        ):
            by_step.setdefault(checkpoint.load_state(checkpoint_dir)["step"], checkpoint_dir)
    if not by_step:
        raise ValueError(f"{folder}: no checkpoint here; give a run directory such as runs/deep")
    return [by_step[step] for step in sorted(by_step)]


def reprobe(folder: Path, config: ReprobeConfig) -> list[dict]:
    """The rows of all kept checkpoints of a run: step and probe/<name>.

    Raises:
        ValueError: it is no run, has no checkpoint, or its data are others.
    """
    from reslab.data.dataset import open_dataset
    from reslab.system import device
    from reslab.training.load import load
    from reslab.training.state import check_data

    settings, rows = read_run(folder).config, []
    places = checkpoints(folder)
    known = settings.keys() | ({"dataset"} if config.dataset else set())
    if missing := [key for key in REQUIRED if key not in known]:
        raise ValueError(
            f"{folder / 'config.json'}: no value for {', '.join(missing)}; was it made by train.py?"
        )
    run_device = device.pick_device(config.device)
    device.prepare_torch(run_device)
    dataset = open_dataset(config.dataset or settings["dataset"], settings["block_size"], settings["seed"])
    starts = dataset.eval_starts("train", settings["probe_sequences"])
    for place in places:
        model, _, state = load(place, run_device)
        check_data(place, state, dataset)
        x, y = dataset.sequences("train", starts)
        with capacity.remedy(probes.TOO_LARGE):
            row = probes.measure_batch(model, x.to(run_device), y.to(run_device))
        rows.append({"step": state["step"]} | row)
        print(f"{place}: {len(row)} probes", flush=True)
    return rows


def main(argv: list[str]) -> int:
    config, (place,), _ = parse(ReprobeConfig, argv, HELP)
    folder = Path(place)
    rows = reprobe(folder, config)
    path = folder / PROBED_LATER
    lines = [{"probes": probes.describe(), "git_commit": git_commit()}, *rows]
    write_atomically(path, "".join(map(as_line, lines)))
    print(as_typed(f"probes: {path} ({len(rows)} checkpoints); python compare.py {folder} shows them"))
    return 0


if __name__ == "__main__":
    run_door(main)
