"""What this CPU is fastest at: measured once, in a second or two, and kept for all later runs.

Which precision, library and kernel is fastest differs between CPUs, and each of them changes the last digits
of a loss. So the choice is made once for a CPU and a version of torch, and stays until its file is deleted.
It is what `auto` means; --dtype and --kernels overrule it.
"""

import functools
import hashlib
import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F

from reslab.nn.attention import attention_by_products, float32_by_onednn
from reslab.nn.packed import packed_linear
from reslab.run.files import parse_json
from reslab.run.streams import wrapped

WIDTHS = (128, 384)  # n_embd; narrower models keep the digits of float32, which studies over depth compare
LENGTHS = (64, 256, 512)  # tokens; the scores of longer sequences take too much memory
CLEARLY = 0.8  # of the usual way's time; what gains less, or is within the noise of that, is not chosen
TURNS, SECONDS = 3, 0.08  # of a comparison, at least; the fastest turn counts, others only slow it down
SIZES = {
    "bfloat16": WIDTHS,
    "bfloat16, one token": WIDTHS,
    "float32 by oneDNN": WIDTHS,
    "scores, float32": LENGTHS[:2],  # at 512 tokens both are as fast, so noise would choose
    "scores, bfloat16": LENGTHS,
}

Ratios = dict[str, dict[int, float]]


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
        """Whether a step in float32 is faster by oneDNN than by the library that torch takes."""
        return _from(self.ratios["float32 by oneDNN"]) == min(WIDTHS)

    def longest_scores(self, dtype: str) -> int:
        """Up to how many tokens attention made of products trains faster than torch's kernel; 0 is never."""
        ratios = self.ratios[f"scores, {dtype}"]
        return max((length for length, ratio in ratios.items() if ratio <= CLEARLY), default=0)

    def __str__(self) -> str:
        least = {job: _from(self.ratios[job]) for job in ("bfloat16", "bfloat16, one token")}
        train, write = (f"bfloat16 from n_embd {n}" if n else "float32" for n in least.values())
        library = "oneDNN" if self.onednn_pays else "torch's choice"
        lengths = {dtype: self.longest_scores(dtype) for dtype in ("float32", "bfloat16")}
        return (
            f"training in {train}, text in {write}, float32 by {library}, attention by products up to "
            + " and ".join(f"{length} tokens in {dtype}" for dtype, length in lengths.items())
        )


def _from(ratios: dict[int, float]) -> int | None:
    """The size from which on all are clearly faster; None where the largest is not."""
    slow = max((size for size, ratio in ratios.items() if ratio > CLEARLY), default=0)
    return min((size for size in ratios if size > slow), default=None)


@functools.cache
def fastest() -> Fastest:
    """What is fastest here: as the first run on this machine measured it, or measured now."""
    path = place()
    if kept := read(path):
        return kept
    found = Fastest(measure())
    kept, where = found, f"kept in {path}"
    try:
        kept = keep(path, found)
    except OSError as error:
        where = f"each run measures it again, since {path} can't be written ({error.strerror})"
    told = f"measured what is fastest on {name()}: {kept}; {where}. --dtype and --kernels overrule it"
    print("\n".join(wrapped(told)), file=sys.stderr)
    return kept


def name() -> str:
    """What the choice belongs to: the CPU and its units, and the version of torch."""
    able = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    units = [unit for unit in ("avx512_bf16", "amx_bf16") if able.get(unit)]
    units.append(torch.backends.cpu.get_cpu_capability())
    cpu = able.get("cpu_name") or able.get("architecture") or "this CPU"
    return f"{cpu} ({', '.join(units)}), torch {torch.__version__}"


def place() -> Path:
    """The file of this machine's choice: in the folder that RESLAB_CACHE names, else in ~/.cache/reslab."""
    folder = Path(os.environ.get("RESLAB_CACHE") or Path.home() / ".cache" / "reslab").expanduser()
    return folder / f"fastest-{hashlib.sha256(name().encode()).hexdigest()[:12]}.json"


def read(path: Path) -> Fastest | None:
    """What is kept; None where nothing is. A file that is no such choice is removed."""
    try:
        kept = parse_json(path.read_bytes(), f"{path}")["ratios"]
        return Fastest({what: {n: float(kept[what][f"{n}"]) for n in sizes} for what, sizes in SIZES.items()})
    except OSError:
        return None
    except (ValueError, KeyError, TypeError):
        print(f"{path}: damaged, or of another version; measuring again", file=sys.stderr)
        path.unlink(missing_ok=True)
        return None


def keep(path: Path, found: Fastest) -> Fastest:
    """Keep what was measured, but for a file that another run has written meanwhile; returns what is kept."""
    told = {"machine": name(), "measured": f"{datetime.now(UTC):%Y-%m-%d}", "fastest": f"{found}"}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_text(json.dumps(told | {"ratios": found.ratios}, indent=1) + "\n", encoding="utf-8")
    try:
        os.link(temporary, path)
    except FileExistsError:
        return read(path) or found
    finally:
        temporary.unlink()
    return found


def measure() -> Ratios:
    """All ratios; a run's random numbers stay what they were. One thread's CPU seconds are taken, which on a
    busy machine are nearly those of an idle one."""
    with torch.random.fork_rng(devices=()), torch.enable_grad(), _one_thread():
        return {
            "bfloat16": {C: _ratio(_products(C, torch.bfloat16), _products(C)) for C in WIDTHS},
            "bfloat16, one token": {C: _ratio(_token(C, torch.bfloat16), _token(C)) for C in WIDTHS},
            "float32 by oneDNN": {C: _ratio(_by_onednn(_products(C)), _products(C)) for C in WIDTHS},
            "scores, float32": {
                T: _ratio(*map(_by_onednn, _attention(T, torch.float32))) for T in LENGTHS[:2]
            },
            "scores, bfloat16": {T: _ratio(*_attention(T, torch.bfloat16)) for T in LENGTHS},
        }


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _ratio(way: Callable[[], None], usual: Callable[[], None]) -> float:
    """The time of one way over that of the other, each the shortest of some turns."""
    way(), usual()  # what is loaded and allocated once counts for nothing
    shortest, spent, turns = {way: math.inf, usual: math.inf}, 0.0, 0
    while turns < TURNS or spent < SECONDS:
        for each in shortest:
            begin = time.thread_time()
            each()
            took = time.thread_time() - begin
            shortest[each], spent = min(shortest[each], took), spent + took
        turns += 1
    return round(shortest[way] / shortest[usual], 3)


def _products(C: int, dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """The products of an MLP's step: forward, and the gradients of inputs and weights; 512 tokens."""
    x = torch.randn(512, C, requires_grad=True)
    weight = torch.randn(4 * C, C, requires_grad=True)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = F.linear(x, weight)
        y.backward(y.detach())
        x.grad = weight.grad = None

    return step


def _token(C: int, dtype: torch.dtype = torch.float32) -> Callable[[], None]:
    """One token's products, with so many weights that they come from memory; packed as sample.py does."""
    x = torch.randn(1, C)
    products = [packed_linear(torch.randn(4 * C, C), None, dtype) for _ in range(12)]

    def token():
        with torch.no_grad():
            for product in products:
                product(x)

    return token


def _attention(T: int, dtype: torch.dtype) -> tuple[Callable[[], None], Callable[[], None]]:
    """A step of attention by products and by torch's kernel: 512 tokens, two heads of 64 channels."""
    qkv = torch.randn(3, 512 // T, 2, T, 64, dtype=dtype, requires_grad=True)

    def by_products():
        attention_by_products(*qkv, dropout=0.0).sum().backward()

    def by_kernel():
        F.scaled_dot_product_attention(*qkv, is_causal=True).sum().backward()

    return by_products, by_kernel


def _by_onednn(way: Callable[[], None]) -> Callable[[], None]:
    def within():
        with float32_by_onednn():
            way()

    return within
