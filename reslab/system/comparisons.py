"""Which of two ways a CPU is faster by: the comparisons of machine.py."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F

from reslab.nn.attention import attention_by_products, cpu_kernels
from reslab.nn.packed import can_pack, packed_linear

WIDTHS = (128, 384)  # n_embd; narrower models keep the digits of float32, which studies over depth compare
LENGTHS = (64, 256, 512)  # tokens; the scores of longer sequences take too much memory
TURNS, SECONDS = 3, 0.08  # of a comparison, at least; the fastest turn counts, others only slow it down

Ratios = dict[str, dict[int, float]]
Way = Callable[[], None]


def measure() -> Ratios:
    """All ratios. One thread's CPU seconds are taken, which on a busy machine are nearly those of an idle
    one."""
    found = {what: {} for what in COMPARISONS}
    with undisturbed():
        for what, (sizes, ways) in COMPARISONS.items():
            for size in sizes:
                try:
                    found[what][size] = faster(*ways(size))
                except (RuntimeError, AttributeError, NotImplementedError):  # this CPU or torch can't do it
                    found[what][size] = 1.0
    return found


@contextmanager
def undisturbed() -> Iterator[None]:
    """Context of a comparison: one thread, with gradients. A run's random numbers stay what they were."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=()), torch.inference_mode(False), torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def faster(way: Way, usual: Way) -> float:
    """The time of one way over that of the other, each the shortest of some turns; 1 where no clock tells."""
    way(), usual()  # what is loaded and allocated once counts for nothing
    shortest, spent, turns = {way: math.inf, usual: math.inf}, 0.0, 0
    while turns < TURNS or (spent < SECONDS and turns < 1000):
        for each in shortest:
            begin = time.thread_time()
            each()
            took = time.thread_time() - begin
            shortest[each], spent = min(shortest[each], took), spent + took
        turns += 1
    return round(shortest[way] / shortest[usual], 3) if min(shortest.values()) > 0 else 1.0


def _random(*shape: int, dtype: torch.dtype = torch.float32, learns: bool = False) -> torch.Tensor:
    """A draw on the CPU, whatever the defaults of the process are."""
    return torch.randn(shape, dtype=dtype, device="cpu", requires_grad=learns)


def _products(C: int, dtype: torch.dtype = torch.float32) -> Way:
    """The products of an MLP's step: forward, and the gradients of inputs and weights; 512 tokens."""
    x, weight = _random(512, C, learns=True), _random(4 * C, C, learns=True)

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            y = F.linear(x, weight)
        y.backward(y.detach())
        x.grad = weight.grad = None

    return step


def _half(C: int) -> tuple[Way, Way]:
    """A step's products in bfloat16, and in float32."""
    return _products(C, torch.bfloat16), _products(C)


def _half_token(C: int) -> tuple[Way, Way]:
    """One token's products in bfloat16, and in float32: packed as in sample.py, and with so many weights that
    they come from memory."""
    if not can_pack(torch.bfloat16):
        raise NotImplementedError

    def token(dtype: torch.dtype) -> Way:
        x, products = _random(1, C), [packed_linear(_random(4 * C, C), None, dtype) for _ in range(12)]

        def write():
            with torch.no_grad():
                for product in products:
                    product(x)

        return write

    return token(torch.bfloat16), token(torch.float32)


def _onednn(C: int) -> tuple[Way, Way]:
    """A step's products in float32 by oneDNN, and by torch's choice."""
    if not onednn_keeps_float32():
        raise NotImplementedError
    return _by_onednn(_products(C)), _products(C)


def onednn_keeps_float32() -> bool:
    """Whether a product by oneDNN has the digits of float32 here; it may round to bfloat16."""
    x = torch.full((256, 256), 1 + 2**-12, dtype=torch.float32, device="cpu")
    with cpu_kernels(torch.float32, 0, onednn=True):
        product = x @ x
    exact = torch.full_like(product, 256 * (1 + 2**-12) ** 2)
    return bool(torch.allclose(product, exact, rtol=1e-6))


def _scores(T: int, dtype: torch.dtype = torch.bfloat16) -> tuple[Way, Way]:
    """A step of attention by products, and by torch's kernel: 512 tokens, two heads of 64 channels."""
    qkv = _random(3, 512 // T, 2, T, 64, dtype=dtype, learns=True)

    def by_products():
        attention_by_products(*qkv, dropout=0.0).sum().backward()

    def by_kernel():
        F.scaled_dot_product_attention(*qkv, is_causal=True).sum().backward()

    return by_products, by_kernel


def _scores_by_onednn(T: int) -> tuple[Way, Way]:
    """The same in float32, where all products are oneDNN's."""
    by_products, by_kernel = _scores(T, torch.float32)
    return _by_onednn(by_products), _by_onednn(by_kernel)


def _by_onednn(way: Way) -> Way:
    def within():
        with cpu_kernels(torch.float32, 0, onednn=True):
            way()

    return within


COMPARISONS = {  # what -> its sizes, and from a size to the way and the usual way
    "bfloat16": (WIDTHS, _half),
    "bfloat16, one token": (WIDTHS, _half_token),
    "float32 by oneDNN": (WIDTHS, _onednn),
    "scores, float32": (LENGTHS[:2], _scores_by_onednn),  # at 512 tokens both are as fast: noise would choose
    "scores, bfloat16": (LENGTHS, _scores),
}
SIZES = {what: sizes for what, (sizes, _) in COMPARISONS.items()}
