"""What a probe is: a function of a snapshot, what a page needs to show its numbers, and how the numbers of
several sequences become one.
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch

from reslab.instruments.snapshot import Snapshot
from reslab.run import capacity
from reslab.run.streams import warn_once

# Sites: what the values of a list belong to, in each layer in turn. A list over the stream has one value more
# than that, of the last resid_post.
BLOCK = ("block",)
STREAM = ("resid_pre",)
AROUND = ("resid_pre", "resid_mid")
BRANCHES = ("attn_branch", "mlp_branch")
ADDED = ("attn_out", "mlp_out")
MODEL = ()  # one number
SCALES = ("log", "linear")
NULL = "it is null in the log"  # what a warning says of a probe that failed


@dataclass(frozen=True)
class Probe:
    """A measurement of the model, and what a page needs to show it."""

    function: Callable[[Snapshot], object] | None
    """Gives a number, a list, or a list of lists; None stands for a value that there is not. With `value`,
    a tuple of sums over the sequences stands in the place of each number."""
    label: str
    """What a person reads on an axis."""
    scale: str = "log"
    """One of SCALES."""
    ends: tuple[float, float] | None = None
    """What the two ends of a colour bar stand for; None is 1e-10 to 1e3 for log, and 0 to 1 for linear."""
    sites: tuple[str, ...] = BLOCK
    """What the values belong to, in each layer in turn: see BLOCK, STREAM, AROUND, BRANCHES, ADDED."""
    value: Callable[..., float] | None = None
    """Of the sums of one place. Without it numbers become their mean over the sequences."""
    averages: bool = False
    """Of several sequences at once it gives their mean, so a GPU may look at several. Sums always do."""
    of_weights: bool = False
    """Reads the parameters' gradients alone, which a snapshot has added to those of the parts before it."""

    @property
    def takes_several(self) -> bool:
        """Whether a snapshot of several sequences gives what those of each alone come to."""
        return self.averages or self.value is not None

    def __post_init__(self):
        if self.scale not in SCALES:
            raise ValueError(f"probe {self.label!r}: scale={self.scale}: allowed are {', '.join(SCALES)}")


class Sums:
    """What one probe has given for the parts of a batch so far. A probe that raises is left out of the row,
    with one warning line, and the run goes on."""

    def __init__(self, name: str, probe: Probe):
        self.name, self.probe = name, probe
        self.parts, self.shape, self.sums, self.failed = 0, None, [], False

    def add(self, part: Snapshot) -> None:
        self._guarded(lambda: self._add(part))

    def read(self):
        """A number, a list, or a list of lists; None where the probe raised."""
        return self._guarded(lambda: _map(lambda k: self._value(self.sums[k]), self.shape))

    def _guarded(self, call):
        if self.failed:
            return None
        try:
            return call()
        except Exception as error:  # whatever it is, training does not depend on it
            if capacity.ran_out(error):
                raise
            self.failed = True
            warn_once(f"probe {self.name}", error, NULL)

    def _add(self, part: Snapshot) -> None:
        leaves, places = [], itertools.count()
        tree = self.probe.function(part)
        _map(leaves.append, tree)
        self._check(tree, leaves, len(part.anatomy.blocks))
        shape = _map(lambda _: next(places), tree)
        if self.parts and shape != self.shape:
            raise ValueError("it gives another shape for each sequence")
        rows = [leaf if leaf is None or isinstance(leaf, tuple) else (leaf,) for leaf in leaves]
        flat = [x for row in rows if row is not None for x in row]
        tensors = [x.double() for x in flat if torch.is_tensor(x)]  # counts are numbers, and on no GPU
        read = iter(torch.stack(tensors).tolist() if tensors else [])  # one wait for a GPU
        numbers = (next(read) if torch.is_tensor(x) else float(x) for x in flat)
        sums = [None if row is None else [next(numbers) for _ in row] for row in rows]
        if self.parts:
            pairs = zip(self.sums, sums, strict=True)
            sums = [now and was and [a + b for a, b in zip(was, now, strict=True)] for was, now in pairs]
        self.parts, self.shape, self.sums = self.parts + 1, shape, sums

    def _check(self, tree, leaves: list, layers: int) -> None:
        """Raises ValueError where the probe gives something else than its sites have, in so many layers."""
        for leaf in leaves:
            if any(getattr(x, "ndim", 0) for x in (leaf if isinstance(leaf, tuple) else (leaf,))):
                kind = type(leaf).__name__.lower()
                raise ValueError(f"it gives a {kind}; give numbers or lists of numbers, not a {kind}")
        sites = self.probe.sites
        count = layers * len(sites) + ("resid_pre" in sites)
        if isinstance(tree, list) and len(tree) != count:
            held = (
                f"the sites {', '.join(sites)} of {layers} layers have {count}"
                if sites
                else "MODEL is one number"
            )
            raise ValueError(f"it gives a list of {len(tree)}; {held}")

    def _value(self, sums: list | None) -> float | None:
        if sums is None:
            return None
        return self.probe.value(*sums) if self.probe.value else sums[0] / self.parts


def _map(function: Callable, tree):
    """A function of the leaves of nested lists."""
    return [_map(function, branch) for branch in tree] if isinstance(tree, list) else function(tree)


def only_nan(value) -> bool:
    """Whether what a probe gave has numbers, and none of them is one."""
    leaves = []
    _map(leaves.append, value)
    numbers = [leaf for leaf in leaves if leaf is not None]
    return bool(numbers) and all(map(math.isnan, numbers))


def ratio(a: float, b: float) -> float:
    """a / b, and 0 where b is 0."""
    return a / b if b else 0.0


def norm_ratio(a: float, b: float) -> float:
    return ratio(math.sqrt(a), math.sqrt(b))


def rms(square: float, count: float) -> float:
    return math.sqrt(square / count)


def share(part: float, total: float) -> float:
    return part / total if total > 0 else 1.0


def cosine(product: float, a: float, b: float) -> float:
    return ratio(product, math.sqrt(a * b))
