"""What the tables of several experiments share: cells, Markdown, and the line that names their origin."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from reslab.run.files import parse_json

BEST_RATE = (  # under a table of at_best_rate()
    "The rate is the one with the lowest training loss; a star says that it is the smallest or the "
    "largest of those tried."
)
ARMS = {"pre": "with skips (`pre`)", "none": "without skips (`none`)", "silent": "no blocks (`silent`)"}


@dataclass(frozen=True)
class Table:
    """A table of the texts, made from results alone.

    Args:
        make: from the loaded results to Markdown.
        results: the JSON files of the experiment's folder, without their ending, in the order of make's
            arguments.
    """

    make: Callable[..., str]
    results: tuple[str, ...] = ("result",)


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table, with a line end after each of its rows."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines) + "\n"


def origin(result: dict) -> str:
    """The line under a table: command, date and machine. Where the output went is left out of the command."""
    command = re.sub(r" --(json|page|out_dir)[= ]\S+", "", result["command"])
    return source(result | {"command": command.replace("compare.py", "python compare.py", 1)})


def source(result: dict) -> str:
    """The same of a measure.py, whose result has its command as it is."""
    return f"\n`{result['command']}`, {result['date']}, {result['machine']}\n"


def read_result(path: Path) -> dict:
    """A kept result. A run that diverged ended on no loss: those in its record are of an earlier step.

    Raises:
        ValueError: the file is damaged.
    """
    result = parse_json(path.read_bytes(), f"{path}")
    runs = result.get("runs", [])
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise ValueError(f"{path}: is no result")
    ended = [_without_end(run) if run.get("status") == "diverged" else run for run in runs]
    return result | ({"runs": ended} if "runs" in result else {})


def _without_end(run: dict) -> dict:
    """The record of a run that ended on nothing."""
    words = {"val/word_perplexity": None} if "val/word_perplexity" in run else {}
    return run | {"train/loss": None, "val/loss": None} | words


def final_loss(run: dict, split: str = "val") -> float:
    """The loss that a run ended on; one that diverged has none."""
    return math.inf if run[f"{split}/loss"] is None else run[f"{split}/loss"]


def skips_first(runs: list[dict]) -> list[dict]:
    """The runs, those with skips before those without."""
    return sorted(runs, key=lambda run: run["residual"] != "pre")


def mean_and_range(values: list[float]) -> list[str]:
    """Two cells: the mean of the values, and the smallest and largest."""
    return [f"{sum(values) / len(values):.3f}", f"{min(values):.3f} to {max(values):.3f}"]


def spread(values: list[float], form: str = ".3f") -> str:
    """One value, or the mean of several, and the smallest and largest.

    Args:
        form: how a number is written.
    """
    ends = f" ({min(values):{form}} to {max(values):{form}})" if len(values) > 1 else ""
    return f"{mean(values):{form}}{ends}"


def span(values: Sequence[float], written: Callable[[float], str]) -> str:
    """The smallest and the largest of some values, once where they are written alike."""
    return " to ".join(dict.fromkeys(map(written, (min(values), max(values)))))


def over_seeds(runs: list[dict], split: str = "val", form: str = ".3f") -> str:
    """The loss of one seed, or the mean and range of several; those that diverged are counted.

    Args:
        form: how a number is written.
    """
    losses = [loss for loss in (final_loss(run, split) for run in runs) if loss < math.inf]
    told = [spread(losses, form)] if losses else []
    if lost := len(runs) - len(losses):
        told.append(f"{lost} of {len(runs)} diverged" if losses else "diverged")
    return ", ".join(told)


def control_line(result: dict, silent: list[dict]) -> str:
    """The line under a table that says where no blocks and letter frequencies end.

    Args:
        result: has the baselines.
        silent: the runs of the control.
    """
    unigram = result["baselines_nats"]["unigram"]["val"]
    return f"\n`silent`, without blocks, has {over_seeds(silent)}; the unigram baseline is {unigram:.3f}.\n"


def group_by(runs: list[dict], *keys: str) -> dict[tuple, list[dict]]:
    """Runs by the values of some settings."""
    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        groups.setdefault(tuple(run[key] for key in keys), []).append(run)
    return groups


def of_grid(result: dict, name: str) -> list[dict]:
    """The runs of one grid of a study; in a run's name the grid is followed by its wiring."""
    return [run for run in result["runs"] if run["run"].startswith(f"{name}-{run['residual']}")]


def mean_of(runs: list[dict], figure: str = "val/loss") -> float:
    """The mean of a figure over runs."""
    return sum(run[figure] for run in runs) / len(runs)


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def best_rate(runs: list[dict], setting: str) -> tuple[float, list[dict]]:
    """The rate of the lowest mean training loss, and the runs there.

    Args:
        setting: the rate that differs, such as block_lr.
    """
    rates = group_by(runs, setting)
    on_train = {rate: mean([final_loss(run, "train") for run in group]) for rate, group in rates.items()}
    best = min(on_train, key=on_train.get)
    return best[0], rates[best]


def with_rates(rates: dict[str, float | None], results: tuple[dict, ...]) -> list[dict]:
    """The runs of some results, with the learning rate that those of one share where their rows don't say it.

    Args:
        rates: result -> that rate, or None; in the order of the results.
    """
    pairs = zip(rates.values(), results, strict=True)
    return [{"learning_rate": rate} | run for rate, result in pairs for run in result["runs"]]


def by_rate(columns: list[list[dict]], rate: str, name: str = "") -> list[list[str]]:
    """A row for each value of a rate: the losses of each column's runs there, bold at the rate of its lowest
    training loss.

    Args:
        rate: the setting.
        name: what stands before its value.
    """
    best = [best_rate(runs, rate)[0] if runs else None for runs in columns]
    rows = []
    for value in sorted({run[rate] for runs in columns for run in runs}):
        cells = [over_seeds([run for run in runs if run[rate] == value]) for runs in columns]
        marks = ["**" if value == at else "" for at in best]
        rows.append(
            [f"{name} {value:g}".strip(), *(f"{m}{cell}{m}" for m, cell in zip(marks, cells, strict=True))]
        )
    return rows


def at_best_rate(runs: list[dict], setting: str) -> tuple[str, list[float]]:
    """The best rate, and the validation losses there: those choose nothing.

    The rate has a star where it is the smallest or the largest that was tried.
    """
    rate, chosen = best_rate(runs, setting)
    return starred(rate, {run[setting] for run in runs}), [final_loss(run) for run in chosen]


def starred(rate: float, tried: set[float]) -> str:
    """A rate, with a star where it is the smallest or the largest that was tried."""
    return f"{rate:g}*" if len(tried) > 1 and rate in (min(tried), max(tried)) else f"{rate:g}"


def learned(loss: float | None, silent: float) -> bool:
    """Whether a stack ended below the control; one that diverged did not."""
    return loss is not None and loss < silent


def edges(losses: dict[float, float | None], silent: float) -> list[tuple[float, float]]:
    """Neighbouring values, from the smallest on, of which one stack has learned and the other has not."""
    return [
        (low, high)
        for low, high in pairwise(sorted(losses))
        if learned(losses[low], silent) != learned(losses[high], silent)
    ]


def edge(losses: dict[float, float | None], silent: float) -> str:
    """Between which neighbouring values of a setting a stack begins to learn, or stops: `0.61 to 0.64`.

    Args:
        losses: value -> final validation loss, None of a run that diverged.
        silent: the control's; a stack has learned when it ends below that.
    """
    found = [f"{low:g} to {high:g}" for low, high in edges(losses, silent)]
    if found:
        return ", ".join(found)
    return "always" if all(learned(loss, silent) for loss in losses.values()) else "never"


def pair(result: dict, silent: dict) -> str:
    """Both arms of one depth and the control: losses, and validation losses less those of the baselines; of
    several seeds the mean, and the losses' smallest and largest.

    Args:
        silent: the result of the control, `--arms silent --depths 1`.
    """
    control = mean_of(silent["runs"])
    bigram, unigram = (result["baselines_nats"][name]["val"] for name in ("bigram", "unigram"))
    arms: dict[str, list[dict]] = {}
    for run in (*skips_first(result["runs"]), *silent["runs"]):
        arms.setdefault(ARMS[run.get("residual", "silent")], []).append(run)
    rows = [
        [name, *(over_seeds(runs, split) for split in ("train", "val"))]
        + [f"{mean_of(runs) - other:+.3f}" for other in (unigram, bigram, control)]
        for name, runs in arms.items()
    ]
    head = ["", "train loss", "val loss", "minus unigram", "minus bigram", "minus `silent`"]
    on_train = result["baselines_nats"]["unigram"]["train"]
    note = f"\nNats per token. The unigram baseline is {on_train:.3f} (train) and {unigram:.3f} (val), "
    note += f"the bigram baseline {bigram:.3f} (val).\n"
    return markdown(head, rows) + note + origin(result)


def over_depth(result: dict, figure: str, arms: dict[str, list[dict]]) -> str:
    """Mean and range of a loss over the seeds, by arm and depth.

    Args:
        figure: train/loss or val/loss.
        arms: the name of a row -> its runs.
    """
    depths = sorted({run["n_layer"] for runs in arms.values() for run in runs})
    rows = []
    for name, runs in arms.items():
        groups = [[run[figure] for run in runs if run["n_layer"] == depth] for depth in depths]
        rows.append([name, *("{} ({})".format(*mean_and_range(g)) if g else "" for g in groups)])
    note = ""
    if silent := [run[figure] for run in result["runs"] if run["residual"] == "silent"]:
        note = "\n`silent`, the same at every depth: {} ({}).\n".format(*mean_and_range(silent))
    return markdown(["layers", *map(str, depths)], rows) + note + origin(result)
