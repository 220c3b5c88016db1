"""Which runs are compared: searched for below folders, chosen by conditions, and sorted."""

import re
from pathlib import Path
from typing import NamedTuple

from reslab.report import foreign
from reslab.report.facts import load
from reslab.report.groups import arm
from reslab.run.configfile import UsageError
from reslab.run.fields import did_you_mean, first_line, settings, short
from reslab.run.files import no_such_place
from reslab.run.log import Run
from reslab.run.settings import TrainConfig

CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|=|<|>)\s*(.*?)\s*")
NOT_RUNS = {
    "checkpoint",
    "tensorboard",
    "wandb",
}  # inside a run; may hold another's config.json
STATUS = ("finished", "diverged", "unfinished", "foreign")
SORT_KEYS = {
    "val": lambda run: run.last("val/loss"),
    "train": lambda run: run.last("train/loss"),
    "run": lambda run: str(run.folder),
    "arm": lambda run: arm(run.config),
    "status": lambda run: run.status,
}


def find_runs(places: list[str]) -> list[Path]:
    """The run directories and foreign curves at some places or anywhere below them, each once.

    A folder without any is itself among them: load_runs() tells that it is none.

    Raises:
        UsageError: a place does not exist.
    """
    folders: list[Path] = []
    for place in map(Path, places):
        if (place / "config.json").is_file():
            folders.append(place)
            continue
        if place.is_file() or (place.is_dir() and foreign.kind_of(place)):
            folders.append(place)
            continue
        if reason := no_such_place(place):
            raise UsageError(reason)
        below = [path.parent for path in sorted(place.rglob("config.json"), key=_numbers_as_numbers)]
        below = [folder for folder in below if not NOT_RUNS & set(folder.relative_to(place).parts)]
        below = below or sorted({path.parent for path in place.rglob("*tfevents*")})
        folders += below or [place]
    return list(dict.fromkeys(folders))


def _numbers_as_numbers(path: Path) -> list[tuple[str, int]]:
    """A key that sorts L2 before L16."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D*)(\d*)", str(path))]


def load_any(place: Path, names: dict[str, str]) -> Run:
    """A run directory, or a foreign curve. Raises ValueError where it can't be read."""
    if not (place / "config.json").exists():
        if place.is_dir() and not foreign.kind_of(place):
            raise ValueError(f"{place}: not a run directory (no config.json), and none is below it")
        return foreign.read_foreign(place, names)
    return load(place)


def load_runs(folders: list[Path], names: str = "", same_data: bool = False) -> tuple[list[Run], list[str]]:
    """The runs that can be read, and why each of the others is left out.

    Args:
        names: what the names in foreign files are, see foreign.parse_map().
        same_data: foreign curves are of the same data as ours.

    Raises:
        UsageError: none can be read; or a name is in no foreign file.
    """
    runs, left_out, mapped = [], [], foreign.parse_map(names)
    for folder in folders:
        try:
            runs.append(load_any(folder, mapped))
        except (ValueError, OSError) as error:
            left_out.append(first_line(error))
    if not runs:
        raise UsageError("\n".join(left_out) or "no runs")
    if (missing := foreign.unused(mapped, runs)) and not left_out:
        near = did_you_mean(missing[0], {name for run in runs for name in run.facts.get("names", ())})
        raise UsageError(f"--map={short(missing[0])}=...: no foreign file has this name{near}")
    if same_data:
        runs = foreign.on_our_data(runs)
    return runs, left_out


class Condition(NamedTuple):
    """One condition of --where, such as residual=pre,none or n_layer>=8."""

    key: str
    operator: str
    text: str

    def __str__(self) -> str:
        return f"--where={self.key}{self.operator}{short(self.text)}"

    @property
    def values(self) -> list[str]:
        return [one.strip() for one in self.text.split(",")]

    def holds(self, run: Run) -> bool:
        value = _value(run, self.key)
        if self.operator in ("=", "!="):
            return any(_same(value, one) for one in self.values) is (self.operator == "=")
        number, bound = _as_number(value), _as_number(self.text)
        if number is None:
            return False
        return {
            ">=": number >= bound,
            "<=": number <= bound,
            ">": number > bound,
            "<": number < bound,
        }[self.operator]


def choose(runs: list[Run], conditions: list[str]) -> tuple[list[Run], list[str]]:
    """The runs for which every condition holds, and a line for each value that none of the runs has.

    Raises:
        UsageError: a condition can't be read, speaks of an unknown setting or of a value that the setting
            can't have, or no run is left.
    """
    parsed = [_condition(text, runs) for text in conditions]
    notes = []
    for condition in parsed:
        has = [_value(run, condition.key) for run in runs]
        known = ", ".join(dict.fromkeys(map(str, has)))
        missing = [one for one in condition.values if not any(_same(value, one) for value in has)]
        if missing and condition.operator in ("=", "!="):
            notes.append(
                f"{condition}: no run has {condition.key} {', '.join(missing)}; there are {short(known)}"
            )
    chosen = [run for run in runs if all(condition.holds(run) for condition in parsed)]
    if not chosen:
        raise UsageError(
            "\n".join(notes) or f"--where={short(' '.join(conditions))}: none of {len(runs)} runs"
        )
    return chosen, notes


def speaks_of_outcome(condition: str) -> bool:
    """Whether a condition speaks of how a run ended, and not of a setting, which is known before it."""
    match = CONDITION.fullmatch(condition)
    return bool(match) and match[1] == "status"


def check_choice(runs: list[Run], conditions: list[str], sort: str) -> None:
    """Refuse conditions and a sort key that can't be met, before runs with these settings are trained.

    Raises:
        UsageError: see choose() and sort_runs(). Whether a run will be left is not known yet.
    """
    for text in conditions:
        _condition(text, runs)
    if sort:
        sort_runs(runs, sort)


def _condition(text: str, runs: list[Run]) -> Condition:
    """A condition that some run may meet; see choose()."""
    match = CONDITION.fullmatch(text)
    if not match:
        raise UsageError(f"--where={short(text)}: must be SETTING=VALUE,... or !=, <, <=, >, >=")
    condition, keys = (
        Condition(*match.groups()),
        {key for run in runs for key in run.config} | {"arm", "status"},
    )
    if condition.key not in keys:
        raise UsageError(f"{condition}: no such setting{did_you_mean(condition.key, keys)}")
    if condition.operator not in ("=", "!="):
        if _as_number(condition.text) is None:
            raise UsageError(f"{condition}: must be a number")
        return condition
    for one in condition.values:
        had = any(_same(_value(run, condition.key), one) for run in runs)
        if not had and (fault := _value_fault(condition.key, one)):
            raise UsageError(f"--where={condition.key}={short(one)}: {fault}")
    return condition


def _value_fault(key: str, text: str) -> str | None:
    """Why a run that train.py makes never has a value, as a message ends; None where it may."""
    if key == "status":
        return None if text in STATUS else f"allowed are {', '.join(STATUS)}{did_you_mean(text, STATUS)}"
    setting = settings(TrainConfig).get("residual" if key == "arm" else key)
    if setting is None or (key == "arm" and not text.isidentifier()):  # one's own; attn:pre mlp:none
        return None
    if setting.choices:
        return setting.fault(text)
    if setting.kind is bool:
        return None if text in ("True", "False") else setting.must_be
    return setting.must_be if setting.kind in (int, float) and _as_number(text) is None else None


def _value(run: Run, key: str):
    return {"arm": arm(run.config), "status": run.status}.get(key, run.config.get(key))


def _same(value, text: str) -> bool:
    number, other = _as_number(value), _as_number(text)
    return str(value) == text or (number is not None and number == other)


def _as_number(value) -> float | None:
    try:
        return None if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None


def sort_runs(runs: list[Run], key: str) -> list[Run]:
    """The runs by a column or a setting, smallest first, or with - before it largest first; no value is last.

    Raises:
        UsageError: there is no such key.
    """
    name, down = key.removeprefix("-"), key.startswith("-")
    names = {*SORT_KEYS, *(name for run in runs for name in run.config)}
    if name not in names:
        allowed = f"{', '.join(SORT_KEYS)}, or a setting; - before it turns it round"
        raise UsageError(f"--sort={short(key)}: allowed are {allowed}{did_you_mean(name, names)}")
    value = SORT_KEYS.get(name, lambda run: run.config.get(name))
    numbers = all(_as_number(value(run)) is not None for run in runs if value(run) is not None)
    known = [run for run in runs if value(run) is not None]
    known.sort(key=lambda run: _as_number(value(run)) if numbers else str(value(run)), reverse=down)
    return known + [run for run in runs if value(run) is None]
