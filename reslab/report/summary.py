"""Runs as rows of a table, groups of runs as rows of another, and what differs between settings."""

import os
import re
from pathlib import Path

from reslab.report.diagnosis import crossing
from reslab.report.facts import UNKNOWN, baselines_of, known, outside
from reslab.report.groups import (
    arm,
    folder_names,
    group_names,
    groups,
    losses_by_seed,
    mean_of,
    paired_difference,
    references,
)
from reslab.run.fields import with_role
from reslab.run.log import Run
from reslab.run.settings import TrainConfig
from reslab.run.streams import terminal_width, wrapped

COLUMNS = {
    "run": "run directory",
    "arm": "wiring",
    "layers": "n_layer",
    "params": "trainable parameters",
    "steps": "updates",
    "train": "loss on the training sequences, nats/token",
    "val": "loss on the validation sequences, nats/token, ± its standard error over sequences (not seeds)",
    "bits/byte": "validation loss in bits per byte of text, whatever the tokenizer",
    "-unigram": "val minus the unigram baseline, which knows token frequencies alone, on the same sequences",
    "-bigram": "val minus the bigram baseline, which knows the one token before, on the same sequences",
    "<unigram at": "first evaluated step below the unigram baseline by more than two standard errors",
    "<bigram at": "first evaluated step below the bigram baseline by more than two standard errors",
    "tok/s": "training tokens per second",
    "status": "finished, diverged or unfinished",
}
GROUP_COLUMNS = {
    "group": "all settings but the seed",
    "n": "seeds that finished, of those begun",
    "val": "mean over seeds of the final validation loss, nats/token",
    "sd": "standard deviation over those seeds; one seed has none",
    "train": "mean over seeds of the final training loss, nats/token",
    "-pre": "val minus that of the same settings with skips, paired by seed",
    "95 % interval": "of that difference, by Student's t over seeds; from one seed, two standard errors over "
    "sequences",
    "difference": "lower, higher, or none where the interval holds 0; else why there is no difference",
}
EXPLAINED = ("val", "-unigram", "-bigram", "<unigram at", "<bigram at", "-pre", "95 % interval")
TEXT_COLUMNS = {"run", "arm", "status", "setting", "group", "difference"}
FOLD_FIRST = (
    *("params", "tok/s", "<unigram at", "<bigram at", "steps"),
    *("bits/byte", "train", "-unigram", "-bigram", "layers", "arm", "95 % interval", "sd"),
)
NOT_SHOWN = "not shown for want of width"
FACTS = ("torch", "git_commit", "device", "machine")  # of where a run was made


def row(run: Run) -> dict[str, str]:
    """One run as text, by COLUMNS."""
    val = run.last("val/loss")
    cells = {
        "run": str(run.folder),
        "arm": arm(run.config),
        "layers": str(known(run.config["n_layer"])),
        "params": f"{run.facts['parameters']:,}" if run.facts["parameters"] else UNKNOWN,
        "steps": str(run.rows[-1]["step"]) if run.rows else "0",
        "train": _number(run.last("train/loss")),
        "val": "" if val is None else f"{_number(val)}{_error(run)}",
        "bits/byte": _number(run.last("val/bits_per_byte")),
        "tok/s": "" if run.last("tokens_per_s") is None else f"{run.last('tokens_per_s'):,.0f}",
        "status": status(run),
    }
    for name in ("unigram", "bigram"):
        baseline = baselines_of(run, "val")[name]
        if baseline is None:
            cells[f"-{name}"] = cells[f"<{name} at"] = UNKNOWN
            continue
        cells[f"-{name}"] = "" if val is None else f"{val - baseline:+.3f}"
        step = crossing(run.rows, baseline)
        # A run that goes on may still cross it, and one without an evaluation has not been asked.
        without = "" if val is None else "not yet" if run.status == "unfinished" else "never"
        cells[f"<{name} at"] = without if step is None else str(step)
    return {column: cells[column] for column in COLUMNS}


def status(run: Run) -> str:
    """How a run ended, and where its losses are from if not from its last step."""
    steps, _ = run.series("val/loss")
    if steps and run.rows[-1]["step"] != steps[-1]:
        return f"{run.status}, val of step {steps[-1]}"
    return run.status


def _error(run: Run) -> str:
    error = run.last("val/loss_se")
    return f" ± {error:.3f}" if error else ""


def group_rows(runs: list[Run]) -> list[dict[str, str]]:
    """A row for each group of runs that differ in the seed alone, by GROUP_COLUMNS."""
    by_key, rows = groups(runs), []
    compared_with = references(by_key)
    names = dict(zip((run.folder for run in runs), group_names(runs), strict=True))
    for key, members in by_key.items():
        losses = losses_by_seed(members)
        val, train = mean_of(losses.values()), mean_of(losses_by_seed(members, "train/loss").values())
        begun = len({run.config["seed"] for run in members})
        rows.append(
            {
                "group": names[members[0].folder],
                "n": str(len(losses)) if len(losses) == begun else f"{len(losses)} of {begun}",
                "val": _number(val.mean if val else None),
                "sd": "n = 1" if val and val.n == 1 else _number(val.sd if val else None),
                "train": _number(train.mean if train else None),
                **_against_pre(key, by_key, compared_with),
            }
        )
    return rows


def _against_pre(
    key: tuple, by_key: dict[tuple, list[Run]], compared_with: dict[tuple, list[Run] | None]
) -> dict[str, str]:
    """The cells of a group's difference from the same settings with skips, or why there is none."""
    cells, members = {"-pre": "", "95 % interval": "", "difference": ""}, by_key[key]
    if key not in compared_with:
        compared = any(reference is members for reference in compared_with.values())
        return cells | ({"difference": "the reference"} if compared else {})
    reference = compared_with[key]
    if reference is None:
        return cells | {"difference": "no pre run"}
    difference = paired_difference(members, reference)
    if difference is None:
        return cells | {"difference": "no common seed"}
    cells |= {"-pre": f"{difference.mean:+.3f}", "difference": difference.reading}
    if (half := difference.interval) is not None:
        cells["95 % interval"] = f"{difference.mean - half:+.3f} to {difference.mean + half:+.3f}"
    return cells


def table(rows: list[dict[str, str]]) -> str:
    """Rows as aligned text; words to the left, numbers to the right."""
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(r[c]) for r in rows)) for c in columns}
    texts = []
    for cells in [{c: c for c in columns}, *rows]:
        aligned = [(str.ljust if c in TEXT_COLUMNS else str.rjust)(cells[c], widths[c]) for c in columns]
        texts.append("  ".join(aligned).rstrip())
    return "\n".join(texts)


def fitted_table(rows: list[dict[str, str]], width: int | None = None) -> str:
    """A table whose common cells are said once, and whose columns fit a width; where its names alone are too
    long, they stand above their numbers.

    Args:
        width: of the terminal; None asks it, and a file or a pipe has no limit.
    """
    width = width or terminal_width()
    rows, notes = [dict(cells) for cells in rows], []
    kind = "run" if "run" in rows[0] else "group"
    if empty := [column for column in rows[0] if all(cells[column] in ("", UNKNOWN) for cells in rows)]:
        notes.append(f"no {kind} has: {', '.join(empty)}")
        rows = [{c: v for c, v in cells.items() if c not in empty} for cells in rows]
    if len(rows) > 1:
        if "run" in rows[0] and (parent := _common_parent([cells["run"] for cells in rows])):
            notes.append(f"all runs: in {parent}")
            for cells in rows:
                cells["run"] = os.path.relpath(cells["run"], parent)
        same = [c for c in rows[0] if len({cells[c] for cells in rows}) == 1 and rows[0][c]]
        notes += [f"all {kind}s: {column} {rows[0][column]}" for column in same]
        rows = [{c: v for c, v in cells.items() if c not in same} for cells in rows]
    # The names of groups are long sentences: their numbers are worth more than one line for both.
    above = kind == "group" and not _fits(rows, width)
    rows, folded = fold(rows, FOLD_FIRST, width, named=not above)
    if folded:
        notes.append(f"{NOT_SHOWN}: {', '.join(folded)}; --csv FILE has them")
    notes = [line for note in notes for line in wrapped(note, width)]
    above = above or not _fits(rows, width)
    return "\n".join([_names_above(rows, width) if above else table(rows), *notes])


def fold(
    rows: list[dict[str, str]], order: tuple, width: int, named: bool = True
) -> tuple[list[dict[str, str]], list[str]]:
    """Rows without the columns that don't fit a width, and the names of these.

    Args:
        order: the columns that may go, the first one first.
        named: whether the first cell of a row stands in its line.
    """
    folded = []
    for column in order:
        if _fits(rows if named else [_first(cells)[1] for cells in rows], width):
            break
        if column in rows[0]:
            folded.append(column)
            rows = [{c: v for c, v in cells.items() if c != column} for cells in rows]
    return rows, folded


def _fits(rows: list[dict[str, str]], width: int) -> bool:
    return max(map(len, table(rows).splitlines())) <= width


def _names_above(rows: list[dict[str, str]], width: int) -> str:
    """A table in which the first cell of each row has a line of its own, or several."""
    names, numbers = zip(*map(_first, rows), strict=True)
    head, *lines = table(list(numbers)).splitlines()
    names = [wrapped(name, width) for name in names]
    return "\n".join(
        [f"  {head}", *("\n".join([*name, f"  {line}"]) for name, line in zip(names, lines, strict=True))]
    )


def legend(rows: list[dict[str, str]], shown: str) -> str:
    """What the columns of a table mean that its reader can't guess, a line each, of those with a number.

    Args:
        shown: the table, fitted: a column that it has left out is not explained.
    """
    texts, shown = GROUP_COLUMNS if "group" in rows[0] else COLUMNS, shown.partition(NOT_SHOWN)[0]
    known = [c for c in EXPLAINED if any(cells.get(c, "") not in ("", UNKNOWN) for cells in rows)]
    known = [column for column in known if re.search(rf"(?<!\S){re.escape(column)}(?!\S)", shown)]
    return "\n".join(line for column in known for line in wrapped(f"{column}: {texts[column]}"))


def _common_parent(paths: list[str]) -> str:
    """The folder that holds all of some paths; empty where there is none to name."""
    return os.path.commonpath(paths) if len({Path(path).is_absolute() for path in paths}) == 1 else ""


def differences(runs: list[Run]) -> list[dict[str, str]]:
    """The settings in which the runs differ, one row each, a column per run."""
    keys = {key for run in runs for key in run.config} - with_role(TrainConfig, "place")
    runs = [run for run in runs if "foreign" not in run.facts]
    columns = folder_names(runs)
    rows = []
    for key in [*sorted(keys - set(FACTS)), *FACTS]:
        values = [str(known((run.facts if key in FACTS else run.config).get(key))) for run in runs]
        silent = {UNKNOWN} if any(map(outside, runs)) else set()  # they don't tell all their settings
        if len(set(values) - silent) > 1:
            rows.append({"setting": key} | dict(zip(columns, values, strict=True)))
    return rows


def fitted_differences(runs: list[Run], width: int | None = None) -> str:
    """differences() as a table, or as sentences where the table is too wide."""
    rows, width = differences(runs), width or terminal_width()
    if not rows:
        return "No setting differs."
    if _fits(rows, width):
        return table(rows)
    told = [
        f"{setting}: {', '.join(f'{v} ({k})' for k, v in rest.items())}"
        for setting, rest in map(_first, rows)
    ]
    return "\n".join(line for text in told for line in wrapped(text, width))


def _first(cells: dict[str, str]) -> tuple[str, dict[str, str]]:
    """The first cell of a row, and the others."""
    (_, name), *others = cells.items()
    return name, dict(others)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
