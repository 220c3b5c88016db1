"""Which runs are compared: searched for below folders, chosen by conditions, and sorted."""

import difflib
import re
from pathlib import Path

from reslab.report import foreign
from reslab.report.facts import load
from reslab.report.groups import arm
from reslab.run.configfile import UsageError
from reslab.run.fields import short
from reslab.run.log import Run

CONDITION = re.compile(r"\s*(\w+)\s*(>=|<=|!=|=|<|>)\s*(.*?)\s*")
NOT_RUNS = {
    "checkpoint",
    "tensorboard",
    "wandb",
}  # inside a run; may hold another's config.json
SORT_KEYS = {
    "val": lambda run: run.last("val/loss"),
    "train": lambda run: run.last("train/loss"),
    "run": lambda run: str(run.folder),
    "arm": lambda run: arm(run.config),
    "status": lambda run: run.status,
}


def find_runs(places: list[str]) -> list[Path]:
    """The run directories and foreign curves at some places or anywhere below them, each once.

    Raises:
        UsageError: a place does not exist, or no run is there.
    """
    folders: list[Path] = []
    for place in map(Path, places):
        if (place / "config.json").is_file():
            folders.append(place)
            continue
        if place.is_file() or (place.is_dir() and foreign.kind_of(place)):
            folders.append(place)
            continue
        if not place.is_dir():
            raise UsageError(f"{place}: not a run directory (no config.json)")
        below = [path.parent for path in sorted(place.rglob("config.json"))]
        below = [folder for folder in below if not NOT_RUNS & set(folder.relative_to(place).parts)]
        below = below or sorted({path.parent for path in place.rglob("*tfevents*")})
        if not below:
            raise UsageError(f"{place}: not a run directory (no config.json), and none is below it")
        folders += below
    return list(dict.fromkeys(folders))


def load_any(place: Path, names: dict[str, str]) -> Run:
    """A run directory, or a foreign curve. Raises ValueError where it can't be read."""
    if (place / "config.json").is_file() or not (place.is_file() or foreign.kind_of(place)):
        return load(place)
    return foreign.read_foreign(place, names)


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
            left_out.append(str(error).splitlines()[0])
    if not runs:
        raise UsageError("\n".join(left_out) or "no runs")
    if (missing := foreign.unused(mapped, runs)) and not left_out:
        raise UsageError(f"--map={short(missing[0])}=...: no foreign file has this name")
    if same_data:
        runs = foreign.on_our_data(runs)
    return runs, left_out


def choose(runs: list[Run], conditions: list[str]) -> list[Run]:
    """The runs for which every condition holds, such as residual=pre,none or n_layer>=8.

    Raises:
        UsageError: a condition can't be read, names an unknown setting, or no run is left.
    """
    keys = {key for run in runs for key in run.config} | {"arm", "status"}
    parsed = []
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if not match:
            raise UsageError(f"--where={short(condition)}: must be SETTING=VALUE,... or !=, <, <=, >, >=")
        if match[1] not in keys:
            near = difflib.get_close_matches(match[1], keys, 1)
            raise UsageError(
                f"--where={short(condition)}: no such setting"
                + (f"; did you mean {near[0]}?" if near else "")
            )
        parsed.append(match.groups())
    chosen = [run for run in runs if all(_holds(run, *parts) for parts in parsed)]
    if not chosen:
        raise UsageError(f"--where={short(' '.join(conditions))}: none of {len(runs)} runs")
    return chosen


def _holds(run: Run, key: str, operator: str, text: str) -> bool:
    value = {"arm": arm(run.config), "status": run.status}.get(key, run.config.get(key))
    if operator in ("=", "!="):
        return any(_same(value, one.strip()) for one in text.split(",")) is (operator == "=")
    number, bound = _as_number(value), _as_number(text)
    if bound is None:
        raise UsageError(f"--where={key}{operator}{short(text)}: must be a number")
    if number is None:
        return False
    return {
        ">=": number >= bound,
        "<=": number <= bound,
        ">": number > bound,
        "<": number < bound,
    }[operator]


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
    if name not in SORT_KEYS and not any(name in run.config for run in runs):
        allowed = f"{', '.join(SORT_KEYS)}, or a setting"
        raise UsageError(f"--sort={short(key)}: allowed are {allowed}; - before it turns it round")
    value = SORT_KEYS.get(name, lambda run: run.config.get(name))
    numbers = all(_as_number(value(run)) is not None for run in runs if value(run) is not None)
    known = [run for run in runs if value(run) is not None]
    known.sort(key=lambda run: _as_number(value(run)) if numbers else str(value(run)), reverse=down)
    return known + [run for run in runs if value(run) is None]
