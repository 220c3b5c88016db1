"""The two sides of a comparison, ours and a peer's checkout, behind one face; each in its own process.

A side builds a model of a shape, trains it some steps, and samples from it. Ours goes through train.py's own
train_step. The peer's model.py is imported from its checkout and does what it does: its model, optimizer and
generate; only its training loop, which is a script and can't be imported, is repeated here in its words
(random sequences of a memmap, forward in autocast, backward, clip, step).
"""

import contextlib
import importlib.util
import sys
import time
from pathlib import Path

import numpy as np
import torch

from reslab.data.dataset import open_dataset
from reslab.instruments import probes
from reslab.nn import flops
from reslab.nn.packed import packed
from reslab.run.fields import from_flat
from reslab.run.settings import TrainConfig
from reslab.system import device
from reslab.system.parallel import Single
from reslab.training.evaluate import evaluate
from reslab.training.step import make_state, next_batch, train_step

OURS_DEFAULTS = {"bias": False, "probes": False, "warmup_iters": 0}


class Ours:
    """This repository. Settings are those of train.py."""

    def build(self, settings: dict) -> dict:
        self.config = from_flat(TrainConfig, OURS_DEFAULTS | settings)
        self.device = device.pick_device(self.config.device)
        device.prepare_torch(self.device)
        self.dataset = open_dataset(self.config.dataset, self.config.model.block_size, self.config.seed)
        self.strategy = Single(self.device)
        self.state = make_state(self.config, self.dataset.vocab_size, self.strategy)
        self.dtype = device.pick_dtype(self.config.dtype, self.device, self.config.model.n_embd)
        facts = {"parameters": self.state.model.count_parameters(), "dtype": self.dtype}
        return facts | {"flops_per_token": flops.flops_per_token(self.state.model.config)}

    @property
    def updates(self) -> int:
        """Made so far."""
        return self.state.step

    def step(self) -> None:
        batch = next_batch(self.dataset, self.config, self.state.step, self.strategy)
        train_step(self.state, batch, self.config, self.strategy)

    def sample(self, batch: int, count: int) -> None:
        idx = torch.zeros(batch, 1, dtype=torch.long, device=self.device)
        model = self.state.model.eval()
        dtype = device.pick_dtype(self.config.dtype, self.device, self.config.model.n_embd, token=True)
        with device.autocast(self.device, dtype), device.uncompiled(), packed(model):
            for _ in model.generate(idx, count):
                pass

    def probe(self) -> None:
        """What a run measures at a look, but for the size of its next update."""
        sequences = self.dataset.eval_starts("train", self.config.probe_sequences)
        x, y = (t.to(self.device) for t in self.dataset.sequences("train", sequences))
        probes.measure_batch(self.state.model, x, y)

    def val_loss(self) -> float:
        return evaluate(self.state, self.config, self.dataset, self.strategy)["val/loss"]


class NanoGPT:
    """nanoGPT's checkout. Settings keep their names; dtype is float32 or bfloat16, compile True or False."""

    def __init__(self, folder: str):
        spec = importlib.util.spec_from_file_location("nanogpt_model", Path(folder) / "model.py")
        self.code = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = self.code
        spec.loader.exec_module(self.code)

    def build(self, settings: dict) -> dict:
        self.config = from_flat(TrainConfig, OURS_DEFAULTS | settings)  # the same defaults
        shape, optim = self.config.model, self.config.optim
        self.device = device.pick_device(self.config.device)
        if self.device.startswith("cuda"):
            torch.backends.cuda.matmul.allow_tf32 = True
            torch.backends.cudnn.allow_tf32 = True
        self.dataset = open_dataset(self.config.dataset, shape.block_size, self.config.seed)
        torch.manual_seed(self.config.seed)
        keys = ("block_size", "n_layer", "n_head", "n_embd", "dropout", "bias")
        vocab = shape.vocab_size or self.dataset.vocab_size
        model = self.code.GPT(
            self.code.GPTConfig(vocab_size=vocab, **{key: getattr(shape, key) for key in keys})
        )
        self.model = model.to(self.device)
        kind = self.device.split(":")[0]
        rates = (optim.weight_decay, optim.learning_rate, (optim.beta1, optim.beta2))
        self.optimizer = self.model.configure_optimizers(*rates, kind)
        self.forward = torch.compile(self.model) if self.config.compile == "True" else self.model
        half = self.config.dtype == "bfloat16"
        self.context = torch.autocast(kind, torch.bfloat16) if half else contextlib.nullcontext()
        self.updates = 0
        return {"parameters": sum(p.numel() for p in self.model.parameters()), "dtype": self.config.dtype}

    def batch(self):
        tokens, T = self.dataset.ids["train"], self.config.model.block_size
        data = np.memmap(tokens.filename, dtype=tokens.dtype, mode="r")
        starts = torch.randint(len(data) - T, (self.config.batch_size,))
        x = torch.stack([torch.from_numpy(data[i : i + T].astype(np.int64)) for i in starts])
        y = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + T].astype(np.int64)) for i in starts])
        if self.device.startswith("cuda"):
            return (t.pin_memory().to(self.device, non_blocking=True) for t in (x, y))
        return x.to(self.device), y.to(self.device)

    def step(self) -> None:
        from reslab.training.optimizer import learning_rate

        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config.optim, self.updates)
        self.model.train()
        x, y = self.batch()
        with self.context:
            _, loss = self.forward(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.grad_clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1

    def sample(self, batch: int, count: int) -> None:
        idx = torch.zeros(batch, 1, dtype=torch.long, device=self.device)
        with self.context:
            self.model.eval().generate(idx, count)

    @torch.no_grad()
    def val_loss(self) -> float:
        """On the sequences that ours is evaluated on."""
        self.model.eval()
        starts, total = self.dataset.eval_starts("val", self.config.eval_sequences), 0.0
        for first in range(0, len(starts), self.config.batch_size):
            some = starts[first : first + self.config.batch_size]
            x, y = (t.contiguous().to(self.device) for t in self.dataset.sequences("val", some))
            with self.context:
                total += len(some) * self.model(x, y)[1].item()
        return total / len(starts)


def synchronize(side) -> None:
    """Wait for queued work, so that a clock read next is true."""
    device.synchronize(side.device)


def train_until(side, goal: float, every: int) -> dict:
    """Train to max_iters, or until the val loss reaches the goal. Evaluations are not on the clock, and
    neither are updates that were made before."""
    spent, ends, curve = 0.0, side.config.optim.max_iters, []
    while side.updates < ends and not (curve and curve[-1][2] <= goal):
        begin = time.perf_counter()
        for _ in range(min(every - side.updates % every, ends - side.updates)):
            side.step()
        synchronize(side)
        spent += time.perf_counter() - begin
        curve.append([side.updates, round(spent, 3), round(side.val_loss(), 4)])
    return {"s": spent, "step": side.updates, "val_loss": curve[-1][2], "curve": curve}
