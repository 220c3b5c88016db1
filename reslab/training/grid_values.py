"""The values of a grid's settings: read from the options of compare.py or from the study of a config."""

import re

from reslab.run.configfile import UsageError, read_config_file
from reslab.run.fields import did_you_mean, settings, short, with_role
from reslab.run.options import CompareConfig
from reslab.run.settings import TrainConfig

# Setting -> the option of compare.py that lists its values.
OPTIONS = {"residual": "arms", "n_layer": "depths", "learning_rate": "lrs"}
NAME = re.compile(r"\w[\w.+-]*")  # of a grid, which is the first part of its folders
MOST_VALUES = 10_000
PLACE = with_role(TrainConfig, "place")
NO_DIFFERENCE = "makes no run another experiment; give it once, for all runs"


def read_grids(config: CompareConfig, files: list[str]) -> dict[str, dict[str, list[str]]]:
    """The grids to train: name (empty for the command line's) -> setting -> values as text, each once.

    A study's grid that names no seed has one, or those of --seeds.

    Raises:
        UsageError: --vary can't be read, a value is not one of its setting's type, or --seeds would change
            nothing.
    """
    given = {key: getattr(config, option) for key, option in OPTIONS.items()}
    given = {key: values.split(",") for key, values in given.items() if values}
    for key in (varied := read_vary(config.vary)):
        option = "seeds" if key == "seed" and config.seeds > 1 else OPTIONS[key] if key in given else None
        if option:
            raise UsageError(
                f"--{option}={getattr(config, option)}: leave it out, --vary={key}=... has the values"
            )
    given |= varied
    seeds = range(config.train.seed, config.train.seed + config.seeds)
    written = [read_study(path) for path in files]
    if any(written) and not given:
        grids = {name: dict(grid) for study in written for name, grid in study.items()}
        if config.seeds > 1:
            if all("seed" in grid for grid in grids.values()):
                raise UsageError(f"--seeds={config.seeds}: leave it out, each grid of the study has its own")
            grids = {name: {**grid, "seed": grid.get("seed", seeds)} for name, grid in grids.items()}
    else:
        grid = {"n_layer": [config.train.model.n_layer], "residual": [config.train.model.residual]} | given
        grids = {"": {"seed": seeds} | grid if "seed" in given else grid | {"seed": seeds}}
    for grid in grids.values():
        for key, values in grid.items():
            grid[key] = list(dict.fromkeys(normalised(key, value) for value in values))
    return grids


def read_study(path: str) -> dict[str, dict[str, list]]:
    """The study of a config file, name of a grid -> setting -> values; empty where it has none.

    Raises:
        UsageError: it is something else.
    """
    study = read_config_file(path).get("study")
    if study is None:
        return {}
    whole = isinstance(study, dict) and all(
        isinstance(name, str) and NAME.fullmatch(name) and isinstance(grid, dict) and grid
        for name, grid in study.items()
    )
    if not whole or not study:
        example = '{"rates": {"learning_rate": [1e-3, 3e-3], "residual": ["pre", "none"]}}'
        raise UsageError(
            f"{path}: study={short(study)}: must be name of a grid -> setting -> values, as {example}"
        )
    for name, grid in study.items():
        for key, values in grid.items():
            if not isinstance(key, str):
                raise UsageError(f"{path}: study, {name}: {short(key)} is no name of a setting")
            if key in PLACE:
                raise UsageError(f"{path}: study, {name}: {key}: {NO_DIFFERENCE}")
            if not isinstance(values, list | tuple | range) or not 1 <= len(values) <= MOST_VALUES:
                allowed = f"a list of 1 to {MOST_VALUES} values"
                raise UsageError(f"{path}: study, {name}: {key}={short(values)}: must be {allowed}")
    return study


def read_vary(text: str) -> dict[str, list[str]]:
    """Settings of --vary and their values: `a=1,2;b=3`, as compare.py joins what is given several times."""
    known, varied = settings(TrainConfig), {}
    for part in filter(None, map(str.strip, text.split(";"))):
        key, equals, values = part.partition("=")
        if not equals or not values:
            raise UsageError(f"--vary={short(part)}: must be SETTING=VALUE,...")
        if key not in known:
            raise UsageError(f"--vary={short(part)}: no such setting{did_you_mean(key, known)}")
        if key in PLACE:
            raise UsageError(f"--vary={short(part)}: {NO_DIFFERENCE}")
        varied[key] = values.split(",")
    return varied


def normalised(key: str, value) -> str:
    """A value as its setting's type writes it, so that 1e-3, 0.001 and 1E-3 are one; others as they are."""
    setting, text = settings(TrainConfig).get(key), str(value).strip()
    try:
        return str(setting.kind(text)) if setting and setting.kind in (int, float) else text
    except ValueError:
        return text  # the command line tells what is wrong with it


def as_typed(message: str, config: CompareConfig, values: dict[str, str]) -> list[str]:
    """The faults of a cell under the options that its values were typed with."""
    varied, lines = read_vary(config.vary), message.split("\n")
    for key, value in values.items():
        option = f"--vary={key}" if key in varied else f"--{OPTIONS.get(key, key)}"
        if key in varied or getattr(config, OPTIONS.get(key, ""), ""):
            own = f"--{key}={short(value)}:"
            lines = [line.replace(own, f"{option}={short(value)}:") for line in lines]
    return lines
