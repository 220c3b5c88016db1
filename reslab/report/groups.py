"""Runs that differ in the seed alone: names, colours, means, and arms compared seed by seed."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from reslab.report.facts import UNKNOWN, data_hash
from reslab.run.fields import from_flat, with_part, with_role
from reslab.run.log import Run
from reslab.run.settings import GPTConfig, TrainConfig

# What a run may differ in and still be the same experiment with another seed.
ONE_EXPERIMENT = with_role(TrainConfig, "place", "machine", "measuring") | {"seed"}
NICKNAMES = {"learning_rate": "lr"}
# Colours that are told apart by eyes of all kinds (Okabe & Ito 2008), on white and on black.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash"]
FIRST_ARMS = ("pre", "none")  # drawn first, and in the same colours in every figure
WITH, WITHOUT = "with skips", "without skips"  # what people call them
SYMBOLS = ["circle", "square", "diamond", "cross", "triangle-up", "star", "hexagon", "pentagon"]
# 97.5 % points of Student's t with 1, 2, ... 30 degrees of freedom.
T_QUANTILES = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


def wiring_names(config: dict) -> dict[str, str]:
    """The wiring of the two kinds of sublayers, from every setting of a run, flat."""
    shape = from_flat(GPTConfig, config)
    return {kind: shape.wiring(kind) for kind in ("attn", "mlp")}


def arm(config: dict) -> str:
    """The wiring in one word: `none`, or `attn:pre mlp:none` where the two sublayers differ."""
    own = {"scaled": f" {config['residual_scale']:g}"} if "residual_scale" in config else {}
    own |= {"partial_skips": f" {config['skip_blocks']}"} if "skip_blocks" in config else {}
    kinds = {kind: name + own.get(name, "") for kind, name in wiring_names(config).items()}
    if kinds["attn"] == kinds["mlp"]:
        return kinds["attn"]
    return " ".join(f"{kind}:{name}" for kind, name in kinds.items())


def settings_key(run: Run, leave_out: Iterable[str] = ()) -> tuple:
    """What makes a run's experiment: all its settings but the seed, and its data.

    Args:
        leave_out: settings that may differ as well.
    """
    hidden = ONE_EXPERIMENT | set(leave_out)
    settings = tuple(sorted((k, str(v)) for k, v in run.config.items() if k not in hidden))
    return (*settings, ("data", data_hash(run)))


def groups(runs: list[Run], leave_out: Iterable[str] = ()) -> dict[tuple, list[Run]]:
    """The runs of each experiment, in the order of their first run."""
    by_key: dict[tuple, list[Run]] = {}
    for run in runs:
        by_key.setdefault(settings_key(run, leave_out), []).append(run)
    return by_key


def group_names(runs: list[Run], leave_out: Iterable[str] = ()) -> list[str]:
    """For each run the name of its group: the wiring and the depth, then what else tells the groups apart. A
    value that most of the groups have is left out.

    Args:
        leave_out: settings whose values are no part of a name.
    """
    by_key = groups(runs, leave_out)
    start = {}
    for key, (run, *_) in by_key.items():
        depth = (
            ""
            if "n_layer" in leave_out or run.config["n_layer"] is None
            else f", {run.config['n_layer']} layers"
        )
        start[key] = arm(run.config) + depth
    names, alike = {}, {}
    for key, name in start.items():
        alike.setdefault(name, []).append(key)
    for name, keys in alike.items():
        varied = _varied([dict(key) for key in keys])
        for key in keys:
            config, settings = by_key[key][0].config, dict(key)
            unusual = [k for k, usual in varied.items() if usual is None or settings.get(k) != usual]
            told = [k for k in unusual if config.get(k) is not None]
            names[key] = name + "".join(f", {NICKNAMES.get(k, k)} {config[k]}" for k in told)
    data = {key: dict(key)["data"] for key in names}
    short = {key: text if UNKNOWN in text else text[:8] for key, text in data.items()}
    names = _told_apart(names, {key: f", data {text}" for key, text in short.items()})
    # Of two that are still alike, one does not tell what the other tells.
    names = _told_apart(names, {key: f" ({run.folder})" for key, (run, *_) in by_key.items()})
    return [names[settings_key(run, leave_out)] for run in runs]


def _told_apart(names: dict[tuple, str], ends: dict[tuple, str]) -> dict[tuple, str]:
    """Names of groups, with ends where several groups have the same name and their ends differ."""
    alike: dict[str, set] = {}
    for key, name in names.items():
        alike.setdefault(name, set()).add(ends[key])
    return {key: name + ends[key] if len(alike[name]) > 1 else name for key, name in names.items()}


def _varied(settings: list[dict]) -> dict[str, str | None]:
    """The settings that tell some groups apart, and of each the value that more than half of the groups have;
    None where no value is so common. That value needs no place in a name, and names stay different: a name
    without the setting means it."""
    keys = sorted({k for one in settings for k in one} - {"data"})
    told = [k for k in keys if len({one.get(k, "None") for one in settings} - {"None"}) > 1]
    enough = len({tuple(one.get(k) for k in told) for one in settings}) == len(settings)
    varied = told if enough else [k for k in keys if len({one.get(k) for one in settings}) > 1]
    most = {k: Counter(one.get(k) for one in settings).most_common(1)[0] for k in varied}
    return {k: value if 2 * count > len(settings) else None for k, (value, count) in most.items()}


def labels(runs: list[Run]) -> list[str]:
    """A short name for each run, different for different runs: its group, its seed, its folder."""
    names = group_names(runs)
    seeds = [run.config["seed"] for run in runs]
    if len(set(seeds)) > 1:
        names = [name if s is None else f"{name}, seed {s}" for name, s in zip(names, seeds, strict=True)]
    if len(set(names)) < len(names):
        folders = folder_names(runs)
        names = [f"{name} ({folder})" for name, folder in zip(names, folders, strict=True)]
    return names


def folder_names(runs: list[Run]) -> list[str]:
    """The folders' last names, or their paths where two have the same."""
    names = [run.folder.name for run in runs]
    return [str(run.folder) for run in runs] if len(set(names)) < len(names) else names


def shades(colour: str, count: int) -> list[str]:
    """A ramp of one colour, from light to dark, for the ordered values of a setting."""
    channels = [int(part, 16) for part in re.findall("..", colour[1:])]
    ramp = []
    for k in range(count):
        mix = 0.0 if count == 1 else 0.6 - 1.1 * k / (count - 1)  # 0.6 towards white to 0.5 towards black
        towards = 255 if mix > 0 else 0
        parts = [round(c + (towards - c) * abs(mix)) for c in channels]
        ramp.append("#" + "".join(f"{part:02X}" for part in parts))
    return ramp


def styles(names: list[str]) -> dict[str, dict]:
    """Colour, dash and symbol for each name, no two alike. A name that begins with the plain arm `pre` or
    `none` takes that arm's colour first, so that these two look the same in every figure."""
    order = list(dict.fromkeys(names))
    first = {arm: next((n for n in order if re.split("[, ]", n)[0] == arm), arm) for arm in FIRST_ARMS}
    order = [*first.values(), *(name for name in order if name not in first.values())]
    looks = {}
    for k, name in enumerate(order):
        colour, dash = k % len(COLOURS), k // len(COLOURS)
        looks[name] = {
            "color": COLOURS[colour],
            "dash": DASHES[dash % len(DASHES)],
            "symbol": SYMBOLS[dash // len(DASHES) % len(SYMBOLS)],
        }
    return {name: looks[name] for name in dict.fromkeys(names)}


def run_lines(runs: list[Run]) -> list[dict[str, str]]:
    """Colour and dash of each run's curves: the colour tells the wiring, the dash the depth, and what else
    differs where both are the same. Only the runs of one group look alike."""
    arms = list(dict.fromkeys([*FIRST_ARMS, *(arm(run.config) for run in runs)]))
    names = group_names(runs)
    cells: dict[str, tuple[int, int, int]] = {}  # group -> number of its arm, depth, which of those alike
    for run, name in zip(runs, names, strict=True):
        cell = arms.index(arm(run.config)), run.config["n_layer"] or 0
        if name not in cells:
            cells[name] = (*cell, sum(other[:2] == cell for other in cells.values()))
    # An arm beyond the last colour has the colour of an earlier one, and dashes of its own.
    ranks = sorted({(number // len(COLOURS), *rest) for number, *rest in cells.values()})
    rounds = -(-len(ranks) // len(DASHES))  # beyond the last dash the colours get shades
    looks = {}
    for name, (number, *rest) in cells.items():
        turn, dash = divmod(ranks.index((number // len(COLOURS), *rest)), len(DASHES))
        looks[name] = {
            "color": shades(COLOURS[number % len(COLOURS)], rounds)[turn],
            "dash": DASHES[dash],
        }
    return [looks[name] for name in names]


@dataclass(frozen=True)
class Mean:
    """Losses over seeds: their mean, their standard deviation (None for one seed), and how many there are."""

    mean: float
    sd: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """One arm minus another, nats per token.

    Args:
        interval: half the width of the 95 % interval; None where no error is known.
        n: seeds that both arms have; with 1 the interval is two standard errors over sequences.
    """

    mean: float
    interval: float | None
    n: int

    @property
    def reading(self) -> str:
        """lower, higher, or none where the interval holds 0."""
        if self.interval is None:
            return "error unknown"
        if abs(self.mean) <= self.interval:
            return "none"
        return "lower" if self.mean < 0 else "higher"


def losses_by_seed(runs: list[Run], key: str = "val/loss") -> dict[int, float]:
    """Final losses of the runs that finished, by seed; runs that repeat a seed count once, by their mean.
    A foreign curve counts as one that finished. Runs of unknown seed are those of the seed None.
    """
    at: dict[int, list[float]] = {}
    for run in runs:
        if run.status in ("finished", "foreign") and run.last(key) is not None:
            at.setdefault(run.config["seed"], []).append(run.last(key))
    return {seed: sum(values) / len(values) for seed, values in at.items()}


def mean_of(values: Iterable[float]) -> Mean | None:
    """Mean and standard deviation (n - 1); None of no value."""
    values = list(values)
    if not values:
        return None
    mean = sum(values) / len(values)
    squares = sum((value - mean) ** 2 for value in values)
    return Mean(mean, math.sqrt(squares / (len(values) - 1)) if len(values) > 1 else None, len(values))


def paired_difference(runs: list[Run], reference: list[Run]) -> Difference | None:
    """The validation loss less the reference's, seed by seed, so that what a seed does to both cancels.

    None where no seed is in both, or where the two read other sequences.
    """
    sequences = {
        (data_hash(r), r.config["block_size"], r.config.get("eval_sequences")) for r in [*runs, *reference]
    }
    ours, theirs = losses_by_seed(runs, "val/loss"), losses_by_seed(reference, "val/loss")
    shared = sorted(ours.keys() & theirs.keys() - {None})
    if not shared or len(sequences) > 1:
        return None
    differences = mean_of(ours[seed] - theirs[seed] for seed in shared)
    if differences.n == 1:
        errors = [_last_of_seed(side, shared[0], "val/loss_se") for side in (runs, reference)]
        interval = 2 * math.hypot(*errors) if all(errors) else None
        return Difference(differences.mean, interval, 1)
    quantile = T_QUANTILES[differences.n - 2] if differences.n <= len(T_QUANTILES) + 1 else 1.96
    return Difference(differences.mean, quantile * differences.sd / math.sqrt(differences.n), differences.n)


def _last_of_seed(runs: list[Run], seed: int, key: str) -> float | None:
    """The newest value of a key in the run that finished with a seed."""
    return next(run.last(key) for run in runs if run.config["seed"] == seed and run.status == "finished")


def references(by_key: dict[tuple, list[Run]]) -> dict[tuple, list[Run] | None]:
    """What each group of another wiring than `pre` is compared with: the runs with the wiring `pre` and
    otherwise the same settings; None where there are none.

    Args:
        by_key: what groups() gave; the result has keys of it.
    """
    wiring = with_part(TrainConfig, "wiring")
    shared = {key: settings_key(members[0], wiring) for key, members in by_key.items()}
    with_skips = {key: members for key, members in by_key.items() if arm(members[0].config) == "pre"}
    first = {shared[key]: members for key, members in reversed(with_skips.items())}
    return {key: first.get(shared[key]) for key in by_key if key not in with_skips}
