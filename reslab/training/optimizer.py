"""The optimizer and its learning rate, a pure function of the step."""

import inspect
import math

import torch

from reslab.residual import Residual
from reslab.run.fields import short
from reslab.run.settings import OptimConfig
from reslab.training import muon


def _uncompiled(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """A class of torch's without the wrappers around its methods.

    They keep the methods out of compiled graphs, and import torch's compiler for it: a third of the CPU time
    from the start of a program to its first step. Here no optimizer is compiled.
    """
    names = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")
    methods = {name: inspect.unwrap(getattr(kind, name)) for name in names}
    return type(kind.__name__, (kind,), methods | {"step": torch.no_grad()(inspect.unwrap(kind.step))})


AdamW, SGD, Adagrad = (
    _uncompiled(kind) for kind in (torch.optim.AdamW, torch.optim.SGD, torch.optim.Adagrad)
)
Muon = _uncompiled(muon.Muon)


def learning_rate(config: OptimConfig, step: int) -> float:
    """Learning rate of the update that follows `step` updates.

    Raises:
        ValueError: what the schedule gives is none.
    """
    if step < config.warmup_iters:
        return config.learning_rate * (step + 1) / (config.warmup_iters + 1)
    progress = (step - config.warmup_iters) / max(1, config.max_iters - config.warmup_iters)
    rate = SCHEDULES[config.schedule](config, min(progress, 1.0))
    if not (isinstance(rate, float | int) and 0 <= rate < math.inf):
        given = f"schedule={config.schedule}: gives {short(rate)} as the learning rate of step {step}"
        raise ValueError(f"{given}, must be a number, finite and not negative")
    return rate


def set_learning_rate(optimizer: torch.optim.Optimizer, config: OptimConfig, lr: float) -> None:
    """Give every parameter the rate of now.

    Args:
        config: where a group of parameters has a peak of its own (block_lr, muon_lr), its rate is that
            multiple of lr. Read from here and not from the optimizer's state, so that a resumed run may
            change one peak without the other.
        lr: what the schedule of learning_rate says now.
    """
    for group in optimizer.param_groups:
        peak = getattr(config, group["peak"])
        group["lr"] = lr * peak / config.learning_rate if peak else lr


def make_optimizer(model: torch.nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
    """The optimizer of a model.

    Weight decay on the matrices of linear layers and embeddings, and on what a wiring names (`decays`); a
    bias, a norm, or a weight that a wiring starts at 1 has none.

    Raises:
        ValueError: it is not made from parameter_groups.
    """
    optimizer = OPTIMIZERS[config.optimizer](model, config)
    if not all("peak" in group for group in optimizer.param_groups):
        raise ValueError(
            f"optimizer={config.optimizer}: a group of its parameters has no `peak`; make it from "
            "parameter_groups(model, config.weight_decay)"
        )
    return optimizer


def parameter_groups(model: torch.nn.Module, weight_decay: float) -> list[dict]:
    """All parameters in the order that a checkpoint keeps: outside of the blocks and inside, of each those
    that decay and those that don't. What a wiring shares over all blocks counts as inside. `peak` names the
    setting of OptimConfig that is their learning rate."""
    layers = (torch.nn.Linear, torch.nn.Embedding)
    matrices = {module.weight for module in model.modules() if isinstance(module, layers)}
    wirings = [module for module in model.modules() if isinstance(module, Residual)]
    matrices |= {getattr(wiring, name) for wiring in wirings for name in wiring.decays}
    inside = {*model.blocks.parameters(), *model.stack.parameters()}
    return [
        {
            "params": [
                p for p in model.parameters() if (p in inside) == within and (p in matrices) == decays
            ],
            "weight_decay": weight_decay if decays else 0.0,
            "peak": "block_lr" if within else "learning_rate",
        }
        for within in (False, True)
        for decays in (True, False)
    ]


def _adamw(model, config):
    """AdamW (Loshchilov & Hutter 2019, arXiv 1711.05101)."""
    betas = (config.beta1, config.beta2)
    return AdamW(
        parameter_groups(model, config.weight_decay),
        lr=config.learning_rate,
        betas=betas,
        eps=config.adam_eps,
        fused=True,
    )


def _sgd(model, config):
    return SGD(parameter_groups(model, config.weight_decay), lr=config.learning_rate, momentum=config.beta1)


def _adagrad(model, config):
    """Adagrad (Duchi et al. 2011): steps that fall as 1 / sqrt(t), each weight by its own gradients; a rare
    word's stay large. Weight decay is added to the gradient."""
    return Adagrad(parameter_groups(model, config.weight_decay), lr=config.learning_rate)


class MuonAdamW:
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for everything else.

    Muon's steps have a peak of their own (muon_lr), or are scaled to the size of AdamW's, so that one
    learning rate serves both. Q, K and V are stored as one matrix and made orthogonal apart, and so are an
    MLP's gate and W1: together, the part with the smallest gradient would hardly move. Has the part of
    torch's Optimizer that a training loop uses.
    """

    def __init__(self, model, config):
        layers = [m for m in model.blocks.modules() if isinstance(m, torch.nn.Linear)]
        inside = {layer.weight for layer in layers}
        rows = {}
        for block in model.blocks:
            for layer, branch in ((block.attn.c_attn, block.attn), (block.mlp.c_fc, block.mlp)):
                rows[layer.weight] = [len(part) for part in branch.input_matrices()]
        group = {"params": [layer.weight for layer in layers], "peak": "muon_lr"}
        match = config.muon_lr == 0
        self.muon = Muon([group], config.learning_rate, config.weight_decay, match_adamw=match, rows=rows)
        rest = [
            {**g, "params": [p for p in g["params"] if p not in inside]}
            for g in parameter_groups(model, config.weight_decay)
        ]
        betas = (config.beta1, config.beta2)
        self.adamw = AdamW(rest, lr=config.learning_rate, betas=betas, eps=config.adam_eps, fused=True)
        self.optimizers = [self.muon, self.adamw]
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
OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd, "adagrad": _adagrad, "muon": MuonAdamW}
