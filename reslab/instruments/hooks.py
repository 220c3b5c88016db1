"""Hooks on modules that take the stream by position or by name, and give it alone or first in a tuple."""

from collections.abc import Callable, Iterable

import torch
from torch import nn


def first(output) -> torch.Tensor:
    """What a module gives, or the first of several."""
    return output if torch.is_tensor(output) else output[0]


def with_first(output, x: torch.Tensor):
    """The same output with x in the place of first(output)."""
    return x if torch.is_tensor(output) else type(output)((x, *output[1:]))


def stream_of(args: tuple, kwargs: dict) -> torch.Tensor:
    """What a module is called with: the first positional argument, or the first tensor that has a name."""
    return args[0] if args else next(value for value in kwargs.values() if torch.is_tensor(value))


def with_stream(args: tuple, kwargs: dict, x: torch.Tensor) -> tuple[tuple, dict]:
    """The same arguments with x in the place of stream_of(args, kwargs)."""
    if args:
        return (x, *args[1:]), kwargs
    name = next(name for name, value in kwargs.items() if torch.is_tensor(value))
    return (), kwargs | {name: x}


def before(module: nn.Module, keep: Callable):
    """keep(x) before a module is called with x."""
    return module.register_forward_pre_hook(
        lambda _, args, kwargs: keep(stream_of(args, kwargs)), with_kwargs=True
    )


def after(module: nn.Module, change: Callable):
    """change(x, y) after a module has made y of x; what it gives, if anything, is y from there on."""
    return module.register_forward_hook(
        lambda _, args, kwargs, output: change(stream_of(args, kwargs), output), with_kwargs=True
    )


def separate(nodes: dict[int, torch.Tensor], sublayer: int, module: nn.Module):
    """Give what a module reads a node of its own, nodes[sublayer]: the gradient there has passed it alone."""

    def alias(_, args, kwargs):
        x = stream_of(args, kwargs)
        nodes[sublayer] = x.view_as(x)
        return with_stream(args, kwargs, nodes[sublayer])

    return module.register_forward_pre_hook(alias, with_kwargs=True)


def seen(keep: Callable) -> Callable:
    """A change of nothing."""

    def change(x, output):
        keep(first(output))

    return change


def remove(handles: Iterable) -> None:
    """Take hooks off."""
    for handle in handles:
        handle.remove()
