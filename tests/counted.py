"""What a GPU would be asked: the calls of torch, how many copy token ids, and which of them wait."""

from collections import Counter

import torch
from torch.overrides import TorchFunctionMode

WAITS = {"tolist", "item", "cpu", "numpy", "__bool__", "__float__", "__int__"}


class CountCalls(TorchFunctionMode):
    """Counts the calls of torch's functions and methods by name."""

    def __init__(self):
        super().__init__()
        self.calls, self.copies = Counter(), 0  # copies: of token ids

    def __torch_function__(self, function, types, args=(), kwargs=None):
        name = getattr(function, "__name__", str(function))
        self.calls[name] += 1
        self.copies += name == "to" and args[0].dtype == torch.int64
        return function(*args, **kwargs or {})
