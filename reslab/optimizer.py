"""The optimizer and its learning rate, a pure function of the step."""

import math

import torch

from reslab.muon import Muon
from reslab.run.settings import OptimConfig


def learning_rate(config: OptimConfig, step: int) -> float:
    """Learning rate of the update that follows `step` updates."""
    if step < config.warmup_iters:
        return config.learning_rate * (step + 1) / (config.warmup_iters + 1)
    progress = (step - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    return SCHEDULES[config.schedule](config, min(progress, 1.0))


def set_learning_rate(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter this learning rate; Muon's matrices may have a multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_share", 1.0)


def make_optimizer(model: torch.nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer of a model.

    Weight decay on the matrices of linear layers and embeddings; a bias, a norm, or a weight that a
    wiring starts at 1 has none.
    """
    return OPTIMIZERS[config.optimizer](model, config)


def decay_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """All parameters in the order that a checkpoint keeps: those that decay, then those that don't."""
    layers = (torch.nn.Linear, torch.nn.Embedding)
    matrices = {module.weight for module in model.modules() if isinstance(module, layers)}
    return [
        {"params": [p for p in model.parameters() if p in matrices], "weight_decay": weight_decay},
        {"params": [p for p in model.parameters() if p not in matrices], "weight_decay": 0.0},
    ]


def _adamw(model, config):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    betas = (config.beta1, config.beta2)
    return torch.optim.AdamW(
        decay_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=betas,
        eps=config.adam_eps,
        fused=True,
    )


def _sgd(model, config):
    return torch.optim.SGD(
        decay_groups(model, config.weight_decay), lr=config.learning_rate, momentum=config.beta1
    )


class MuonAdamW:
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else.

    Muon's steps have a peak of their own (muon_lr), or are scaled to the size of AdamW's, so that one
    learning rate serves both. Has the part of torch's Optimizer that a training loop uses.
    """

    def __init__(self, model, config):
        layers = [m for m in model.blocks.modules() if isinstance(m, torch.nn.Linear)]
        inside = {layer.weight for layer in layers}
        own = config.muon_lr > 0
        group = {"params": [layer.weight for layer in layers]}
        if own and config.learning_rate:
            group["lr_share"] = config.muon_lr / config.learning_rate
        self.muon = Muon([group], config.learning_rate, config.weight_decay, match_adamw=not own)
        rest = [
            {**g, "params": [p for p in g["params"] if p not in inside]}
            for g in decay_groups(model, config.weight_decay)
        ]
        betas = (config.beta1, config.beta2)
        self.adamw = torch.optim.AdamW(
            rest, lr=config.learning_rate, betas=betas, eps=config.adam_eps, fused=True
        )
        self.parts = [self.muon, self.adamw]
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]

    def step(self) -> None:
        self.muon.step()
        self.adamw.step()

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def state_dict(self) -> dict:
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, saved: dict) -> None:
        self.muon.load_state_dict(saved["muon"])
        self.adamw.load_state_dict(saved["adamw"])
        self.param_groups = [*self.muon.param_groups, *self.adamw.param_groups]


def _cosine(config, progress):
    return config.min_lr + (config.learning_rate - config.min_lr) * 0.5 * (1 + math.cos(math.pi * progress))


def _linear(config, progress):
    return config.learning_rate * (1 - progress)


def _constant(config, progress):
    return config.learning_rate


SCHEDULES = {"cosine": _cosine, "linear": _linear, "constant": _constant}
OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd, "muon": MuonAdamW}
