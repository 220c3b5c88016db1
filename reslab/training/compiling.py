"""Whether a CPU trains a run compiled: where the run is long and wide, and compiled steps are clearly faster.

A choice of machine.py like the others, but one that takes half a minute to measure and not a second, since
torch's compiler has to be loaded and run.
"""

import math

import torch

from reslab.model import GPT
from reslab.nn.flops import flops_per_token, tokens_per_update
from reslab.run.settings import GPTConfig, TrainConfig
from reslab.system import device, machine
from reslab.system.comparisons import WIDTHS, faster, undisturbed

LONG = 5e14  # FLOPs of a run: a quarter of an hour of two cores, or more; a shorter one is over too soon
TOKENS = 128


def pays(config: TrainConfig, vocab_size: int) -> bool:
    """Whether compiling pays for a run that begins now; see above.

    Args:
        vocab_size: of its dataset.
    """
    work = tokens_per_update(config) * config.optim.max_iters * flops_per_token(config.model, vocab_size)
    width = config.model.n_embd
    return work >= LONG and width >= min(WIDTHS) and width >= (machine.compiled_from(ratio) or math.inf)


def ratio(width: int) -> float | None:
    """The time of a forward and backward pass of four compiled blocks over that of eager ones; None where
    they can't be compiled."""
    shape = GPTConfig(n_layer=4, n_head=width // 64, n_embd=width, block_size=TOKENS, vocab_size=64)
    with undisturbed():
        plain, compiled = GPT(shape), GPT(shape)
        if not device.compile_model(compiled, "True", "cpu"):
            return None
        try:
            return faster(_passes(compiled), _passes(plain))
        except Exception:  # torch's compiler; the run goes on without
            return None
        finally:
            torch.compiler.reset()  # the run has shapes of its own


def _passes(model: GPT):
    dtype = device.pick_dtype("auto", "cpu", model.config.n_embd)
    idx = torch.zeros(8, TOKENS, dtype=torch.long)

    def forward_and_backward():
        with device.training_kernels("cpu", dtype), device.autocast("cpu", dtype):
            model.loss(idx, idx).backward()
        model.zero_grad(set_to_none=True)

    return forward_and_backward
