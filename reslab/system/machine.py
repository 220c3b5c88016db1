"""What this CPU is fastest at: measured once, in a second or two, and kept for all later runs.

Which precision, library and kernel is fastest differs between CPUs, and each of them changes the last digits
of a loss. So the choice is made once for a CPU and a version of torch, and stays until its file is deleted.
It is what `auto` means; --dtype, --kernels and --compile overrule it. What compiling gains takes half a
minute, and is measured before the first long run (reslab/training/compiling.py).
"""

import functools
import hashlib
import json
import math
import os
import platform
import re
import sys
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from reslab.run.fields import first_line
from reslab.run.files import parse_json, write_atomically
from reslab.run.streams import wrapped
from reslab.system.comparisons import SIZES, WIDTHS, Ratios, measure

CLEARLY = 0.8  # of the usual way's time; what gains less, or is within the noise of that, is not chosen
COMPILED = "compiled step"  # its time over that of an eager one, of the widths that were measured


@dataclass(frozen=True)
class Fastest:
    """What is fastest on a machine.

    Args:
        ratios: what was compared -> n_embd or number of tokens -> its time over that of the usual way.
    """

    ratios: Ratios

    def bfloat16_pays(self, width: int, token: bool = False) -> bool:
        """Whether products of a model this wide are faster in bfloat16 than in float32.

        Args:
            width: n_embd.
            token: for text that is written one token at a time, not for training.
        """
        least = _from(self.ratios["bfloat16, one token" if token else "bfloat16"])
        return least is not None and width >= least

    @property
    def onednn_pays(self) -> bool:
        """Whether a step in float32 is faster by oneDNN than by torch's choice, with all digits."""
        return _from(self.ratios["float32 by oneDNN"]) == min(WIDTHS)

    def longest_scores(self, dtype: str) -> int:
        """Up to how many tokens attention made of products trains faster than torch's kernel; 0 is never. In
        float32 it does beside products by oneDNN alone."""
        if dtype == "float32" and not self.onednn_pays:
            return 0
        ratios = self.ratios[f"scores, {dtype}"]
        slow = min((length for length, ratio in ratios.items() if ratio > CLEARLY), default=math.inf)
        return max((length for length in ratios if length < slow), default=0)

    @property
    def compiled_from(self) -> int | None:
        """The n_embd from which on compiled steps are faster; a width that was not measured is no faster."""
        return _from(dict.fromkeys(WIDTHS, 1.0) | self.ratios.get(COMPILED, {}))

    def told(self, dtype: str) -> str:
        """What a training in float32 or bfloat16 is made of."""
        library = " by oneDNN" if dtype == "float32" and self.onednn_pays else ""
        longest = self.longest_scores(dtype)
        attention = f"attention by products up to {longest} tokens" if longest else "torch's attention"
        return f"{dtype}{library}, {attention}"

    def __str__(self) -> str:
        least = {job: _from(self.ratios[job]) for job in ("bfloat16", "bfloat16, one token")}
        train, write = (f"bfloat16 from n_embd {n}" if n else "float32" for n in least.values())
        ways = "; ".join(self.told(dtype) for dtype in ("float32", "bfloat16"))
        compiled = f"; compiled from n_embd {self.compiled_from}" if self.compiled_from else ""
        return f"training in {train}, text in {write}; {ways}{compiled}"


def _from(ratios: dict[int, float]) -> int | None:
    """The size from which on all are clearly faster; None where the largest is not."""
    slow = max((size for size, ratio in ratios.items() if ratio > CLEARLY), default=0)
    return min((size for size in ratios if size > slow), default=None)


@functools.cache
def fastest() -> Fastest:
    """What is clearly faster here than the usual way, as the first run on this machine measured it."""
    path, kept, reason = None, None, ""
    try:
        path = place()
        kept = read(path)
    except (OSError, RuntimeError) as error:
        reason = _reason(error)
    if kept:
        return kept
    kept = Fastest(measure())
    try:
        kept = keep(path, kept) if path and not reason else kept
    except OSError as error:
        reason = _reason(error)
    where = f"kept in {path}"
    if reason:
        where = f"each run measures it again, since it can't be kept ({reason}); RESLAB_CACHE names a folder"
    told = f"measured what is fastest on {name()}: {kept}; {where}. --dtype and --kernels overrule it"
    print("\n".join(wrapped(told)), file=sys.stderr)
    return kept


def compiled_from(measured: Callable[[int], float | None]) -> int | None:
    """The n_embd from which on compiled steps are clearly faster here, as the first long run measured it.

    Args:
        measured: from an n_embd to the time of compiled steps over that of eager ones; None where nothing can
            be compiled, which is not kept.
    """
    found = fastest()
    if COMPILED in found.ratios:
        return found.compiled_from
    print("measuring what compiling gains on this CPU: half a minute, once", file=sys.stderr)
    ratios = {width: measured(width) for width in WIDTHS}
    if None in ratios.values():
        return None
    found, where = Fastest(found.ratios | {COMPILED: ratios}), "kept"
    try:
        write_atomically(place(), _text(found))
    except (OSError, RuntimeError) as error:
        where = f"not kept ({_reason(error)}); RESLAB_CACHE names a folder"
    fastest.cache_clear()
    told = ", ".join(f"{ratio:.2f} at n_embd {width}" for width, ratio in ratios.items())
    print(
        "\n".join(wrapped(f"compiled steps take {told} of the time of eager ones, {where}")), file=sys.stderr
    )
    return found.compiled_from


def _reason(error: Exception) -> str:
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else first_line(error)


def name() -> str:
    """What the choice belongs to: the CPU and its units, and the version of torch."""
    units = [*bfloat16_units(), torch.backends.cpu.get_cpu_capability()]
    with suppress(OSError):  # Linux tells apart the CPUs that share a name
        numbers = r"^(?:cpu family|model|stepping)\s*: (\d+)"
        found = re.findall(numbers, Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)[:3]
        units += [" ".join(["model", *found])] if found else []
    return f"{cpu_name()} ({', '.join(units)}), torch {torch.__version__}"


def _able() -> dict:
    return torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}


def cpu_name() -> str:
    """The CPU's model, or what is known of it."""
    return _able().get("cpu_name") or platform.processor() or platform.machine()


def bfloat16_units() -> list[str]:
    """The CPU's units for products of bfloat16."""
    able = _able()
    return [unit for unit in ("avx512_bf16", "amx_bf16") if able.get(unit)]


def place() -> Path:
    """The file of this machine's choice: in the folder that RESLAB_CACHE names, else in ~/.cache/reslab.

    Raises:
        RuntimeError: there is no home folder.
    """
    folder = Path(os.environ.get("RESLAB_CACHE") or "~/.cache/reslab").expanduser()
    return folder / f"fastest-{hashlib.sha256(name().encode()).hexdigest()[:12]}.json"


def read(path: Path) -> Fastest | None:
    """What is kept; None where nothing is. A file that is no such choice is removed."""
    if not path.is_file():
        return None
    try:
        kept = parse_json(path.read_bytes(), f"{path}")["ratios"]
        ratios = {what: {n: _checked(kept[what][f"{n}"]) for n in sizes} for what, sizes in SIZES.items()}
        if COMPILED in kept:
            ratios[COMPILED] = {int(n): _checked(ratio) for n, ratio in kept[COMPILED].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        print(f"{path}: damaged, or of another version; measuring again", file=sys.stderr)
        path.unlink()
        return None
    return Fastest(ratios)


def _checked(ratio: float) -> float:
    if type(ratio) is not float or not 0 < ratio < math.inf:
        raise ValueError(ratio)
    return ratio


def keep(path: Path, found: Fastest) -> Fastest:
    """Keep what was measured, but for a file that another run has written meanwhile; returns what is kept."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with open(handle, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(_text(found))
        try:
            os.link(temporary, path)
        except FileExistsError:
            if (kept := read(path)) is None:
                raise
            return kept
        except OSError:  # a file system without links
            os.replace(temporary, path)  # noqa: PTH105
    finally:
        with suppress(OSError):
            os.unlink(temporary)  # noqa: PTH108
    return found


def _text(found: Fastest) -> str:
    told = {"machine": name(), "measured": f"{datetime.now(UTC):%Y-%m-%d}", "fastest": f"{found}"}
    return json.dumps(told | {"ratios": found.ratios}, indent=1) + "\n"
