"""What compiling gains on this CPU, measured before the first run that is long enough to pay for it.

A choice of machine.py like the others, but one that takes half a minute to measure and not a second, since
torch's compiler has to be loaded and run. `bench.py --only step-4L128,step-6L384` measures the same.
"""

import sys

import torch

from reslab.model import GPT
from reslab.nn.flops import flops_per_token
from reslab.run.settings import GPTConfig, TrainConfig
from reslab.run.streams import wrapped
from reslab.system import device, machine
from reslab.system.comparisons import WIDTHS, faster, undisturbed

LONG = 5e14  # FLOPs of a run: a quarter of an hour of two cores
TOKENS = 128


def learn(config: TrainConfig) -> None:
    """Measure what is not known yet and keep it for all later runs, where a run is long and wide enough."""
    tokens = config.batch_size * config.gradient_accumulation_steps * config.model.block_size
    work = tokens * config.optim.max_iters * flops_per_token(config.model)
    unknown = [] if work < LONG or config.model.n_embd < min(WIDTHS) else machine.uncompared()
    if unknown:
        print("measuring what compiling gains on this CPU: half a minute, once", file=sys.stderr)
    for width in unknown:
        print("\n".join(wrapped(machine.keep_compiled(width, ratio(width)))), file=sys.stderr)


def ratio(width: int) -> float:
    """The time of a step's forward and backward pass of four compiled blocks over that of eager ones; 1 where
    nothing can be compiled."""
    with undisturbed():
        shape = GPTConfig(n_layer=4, n_head=width // 64, n_embd=width, block_size=TOKENS, vocab_size=64)
        plain, compiled = GPT(shape), GPT(shape)
        device.compile_model(compiled, "True", "cpu")
        found = faster(_pass(compiled), _pass(plain))
        torch.compiler.reset()  # the run has shapes of its own
    return found


def _pass(model: GPT):
    dtype = device.pick_dtype("auto", "cpu", model.config.n_embd)
    idx = torch.zeros(8, TOKENS, dtype=torch.long)

    def forward_and_backward():
        with device.training_kernels("cpu", dtype), device.autocast("cpu", dtype):
            model.loss(idx, idx).backward()
        model.zero_grad(set_to_none=True)

    return forward_and_backward
