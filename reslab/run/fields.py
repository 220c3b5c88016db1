"""What a setting is: a field of a dataclass whose annotation holds its role, its type and its bounds.

    n_layer: Weights[Count] = 12        its help is the docstring under it

The role is the outer word. What a resumed run may change, what makes two runs one experiment and what a
figure may vary over is derived from it with `with_role`, so no other list of setting names is kept.

    role         decides                               a resumed run     part of the experiment
    place        where a run is kept and shown         may change it     no
    machine      how the arithmetic is carried out     may change it     no
    measuring    when and what is measured             may change it     no
    schedule     how the updates to come are made      may change it     yes
    experiment   everything else                       keeps it          yes
"""

import ast
import dataclasses
import difflib
import math
import os
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from reslab import TOP

T = TypeVar("T")
Config = TypeVar("Config")

INT_LIMIT = 2**63  # of every whole number: what a tensor's index can be
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "True or False", str: "text", Path: "a path"}


@dataclass(frozen=True)
class Role:
    """Why a setting exists; see the table above.

    Args:
        part: of a model's settings, `weights` where other weights don't fit once it changes, and `wiring`
            where it says how a branch joins the stream.
    """

    name: str
    part: str = ""


@dataclass(frozen=True)
class Check:
    """Bounds of a value: whether they hold, and how a message names them after `key=value: must be`."""

    holds: Callable[[Any], bool]
    bounds: str


@dataclass(frozen=True)
class IsPath:
    """Marks text that may be a path, so that a leading ~ is expanded."""


@dataclass(frozen=True)
class Output:
    """Marks a path that a program writes: a file, or a folder of files."""

    folder: bool = False


Place = Annotated[T, Role("place")]
Machine = Annotated[T, Role("machine")]
Measuring = Annotated[T, Role("measuring")]
Schedule = Annotated[T, Role("schedule")]
Experiment = Annotated[T, Role("experiment")]
Weights = Annotated[T, Role("experiment", "weights")]
Wiring = Annotated[T, Role("experiment", "wiring")]

PathText = Annotated[str, IsPath()]
GivenPath = Annotated[PathText, Check(bool, "a path")]
OutputFile = Annotated[Path, Output()]
OutputFolder = Annotated[Path, Output(folder=True)]
Count = Annotated[int, Check(lambda n: n >= 1, "at least 1")]
Whole = Annotated[int, Check(lambda n: n >= 0, "at least 0")]
Seed = Annotated[int, Check(lambda n: 0 <= n < INT_LIMIT, "at least 0 and below 2**63")]
Number = Annotated[float, Check(math.isfinite, "finite")]
Amount = Annotated[float, Check(lambda x: 0 <= x < math.inf, "finite and not negative")]
LEAST = sys.float_info.min  # what is smaller becomes 0, see prepare_torch() of reslab/system/device.py
ABOVE_0 = "finite and above 0 (smaller than 2.3e-308 is 0)"
Positive = Annotated[float, Check(lambda x: LEAST <= x < math.inf, ABOVE_0)]
Base = Annotated[float, Check(lambda x: 1 <= x < math.inf, "finite and at least 1")]
Share = Annotated[float, Check(lambda x: 0 <= x < 1, "at least 0 and below 1")]


@dataclass(frozen=True)
class Setting:
    """One field, its annotation taken apart."""

    name: str
    annotation: Any
    kind: Any
    """int, float, bool, str, Path, or a Literal; of an optional setting, what it is when it is given."""
    role: Role
    checks: tuple[Check, ...]
    is_path: bool
    output: Output | None = None

    @property
    def choices(self) -> tuple[str, ...]:
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def must_be(self) -> str:
        """What values are, as a message ends: the choices, or the type."""
        if self.choices:
            return f"allowed are {', '.join(filter(None, self.choices))}"
        return f"must be {TYPE_NAMES[self.kind]}"

    def fault(self, value) -> str | None:
        """What is wrong with a value of the right type, as a message ends; None where it is allowed."""
        if value is None:
            return None
        if self.choices and value not in self.choices:
            return self.must_be + did_you_mean(str(value), self.choices)
        broken = next((check for check in self.checks if not check.holds(value)), None)
        if broken:
            return f"must be {broken.bounds}"
        return "must be below 2**63" if self.kind is int and abs(value) >= INT_LIMIT else None


@cache
def settings(cls: type) -> dict[str, Setting]:
    """All settings of a dataclass, nested dataclasses opened; a key has no prefix.

    Raises:
        TypeError: a field has no role.
    """
    by_name = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            by_name |= settings(field.type)
            continue
        kind, *marks = get_args(field.type) if get_origin(field.type) is Annotated else (field.type,)
        role = next((mark for mark in marks if isinstance(mark, Role)), None)
        if role is None:
            raise TypeError(f"{cls.__name__}.{field.name}: needs a role, such as Experiment[{kind}]")
        if get_origin(kind) in (Union, UnionType):  # X | None
            kind = get_args(kind)[0]
        if get_origin(kind) is Annotated:
            kind, *inner = get_args(kind)
            marks += inner
        checks = tuple(mark for mark in marks if isinstance(mark, Check))
        is_path = kind is Path or any(isinstance(mark, IsPath) for mark in marks)
        output = next((mark for mark in marks if isinstance(mark, Output)), None)
        by_name[field.name] = Setting(field.name, field.type, kind, role, checks, is_path, output)
    return by_name


def with_role(cls: type, *roles: str) -> frozenset[str]:
    """Names of the settings that have one of these roles."""
    return frozenset(name for name, setting in settings(cls).items() if setting.role.name in roles)


def with_part(cls: type, part: str) -> frozenset[str]:
    """Names of a model's settings that are `weights` or `wiring`."""
    return frozenset(name for name, setting in settings(cls).items() if setting.role.part == part)


def keys_of(path: str, name: str, flag: str = "") -> tuple[str, ...]:
    """The keys of a dict literal, read from the source of a module, which may be slow to import.

    So a choice is listed once, in the dict that holds it; the help and the messages know it without torch.

    Args:
        path: of the module: reslab/..., or another of a checkout.
        name: of the dict, assigned at the top level with plain strings as keys.
        flag: only the keys of entries that are calls with `flag=True` among their arguments.
    """
    root = Path(__file__).resolve().parents[2] if path.startswith("reslab/") else TOP
    for node in ast.parse((root / path).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == [name]:
            entries = zip(node.value.keys, node.value.values, strict=True)
            return tuple(ast.literal_eval(key) for key, call in entries if not flag or _is_set(call, flag))
    raise LookupError(f"{path}: no dict {name} at its top level")


def _is_set(call: ast.expr, flag: str) -> bool:
    """Whether a call in some source has the argument `flag=True`."""
    keywords = getattr(call, "keywords", [])
    return any(word.arg == flag and getattr(word.value, "value", None) is True for word in keywords)


def value_faults(config) -> list[str]:
    """What the annotations of a config's own fields don't allow, one line per fault."""
    names = [field.name for field in dataclasses.fields(config) if not dataclasses.is_dataclass(field.type)]
    values = {name: getattr(config, name) for name in names}
    faults = {name: settings(type(config))[name].fault(value) for name, value in values.items()}
    return [f"{name}={short(values[name])}: {fault}" for name, fault in faults.items() if fault]


def flat(config) -> dict:
    """Key -> value of a config, nested dataclasses opened; paths as text."""
    values = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            values |= flat(value)
        else:
            values[field.name] = str(value) if isinstance(value, Path) else value
    return values


def from_flat(cls: type[Config], values: dict) -> Config:
    """The config that flat() took apart; keys that are no setting of cls are left out."""
    arguments = {}
    for field in dataclasses.fields(cls):
        if dataclasses.is_dataclass(field.type):
            arguments[field.name] = from_flat(field.type, values)
        elif field.name in values:
            arguments[field.name] = values[field.name]
    return cls(**arguments)


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """The end of a message about a name that nothing has: the nearest one that there is, if any is near."""
    near = difflib.get_close_matches(word[:80], [name for name in names if name], 1)
    return f"; did you mean {near[0]}?" if near else ""


def word_and_count(text: str, *words: str) -> tuple[str, int] | None:
    """`every:500` as ("every", 500); None of another word, or of a number that is not at least 1."""
    word, _, number = text.partition(":")
    fits = word in words and number.isdecimal() and len(number) < 10 and int(number)
    return (word, int(number)) if fits else None


def expand(path: str) -> str:
    """A path as the user's shell would have it: ~ is the home folder; ~nobody and runs/x/ stay."""
    return os.path.expanduser(path) if path.startswith("~") else path  # noqa: PTH111


def short(value) -> str:
    """For a message: one line, not too long."""
    try:
        text = str(value)
    except ValueError:  # a whole number of thousands of digits
        text = hex(value)
    text = one_line(text[:81])
    return text if len(text) <= 80 else f"{text[:77]}..."


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def named_line(error: Exception) -> str:
    """An error's kind, and the first line of what it says."""
    kind = type(error).__name__
    return f"{kind}: {first_line(error)}" if str(error).strip() else kind


def one_line(text) -> str:
    """What a terminal shows in one line: a path may hold newlines, too."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def not_text(word: str) -> str | None:
    """Why a typed word can't be written into a file of UTF-8, as a message ends: its bytes are no characters
    of the locale, and Python has kept them as halves of surrogate pairs. None for text."""
    try:
        word.encode()
    except UnicodeEncodeError:
        try:
            os.fsencode(word).decode()
        except UnicodeError:
            return "is not UTF-8 text; give another name"
        return "can't be read in this locale; set PYTHONUTF8=1, or a UTF-8 locale such as LC_ALL=C.UTF-8"
    return None
