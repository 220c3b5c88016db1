"""CUDA graphs without a GPU: the operations that ran inside of torch.cuda.graph() are run again by replay().

What a replay computes is written to the tensors of the recording, as a graph does with its addresses. So what
Python decided, and which tensors were read, are those of the recording. What was there before a recording is
written back after it, since a GPU only notes what it is told meanwhile.
"""

from contextlib import contextmanager, nullcontext

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Graph:
    """torch.cuda.CUDAGraph."""

    def __init__(self):
        self.ops = []

    def pool(self) -> int:
        return 0

    def replay(self) -> None:
        with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():  # where they were recorded
            for function, args, kwargs, results in self.ops:
                made = tree_leaves(function(*args, **kwargs))
                for result, new in zip(tree_leaves(results), made, strict=True):
                    if torch.is_tensor(result) and result.data_ptr() != new.data_ptr():
                        result.copy_(new)


class _Recorder(TorchDispatchMode):
    def __init__(self, graph: Graph):
        super().__init__()
        self.graph, self.before = graph, {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is torch.ops.aten._local_scalar_dense.default:
            raise RuntimeError("operation not permitted when stream is capturing")
        written = [
            value
            for place, argument in enumerate(function._schema.arguments)
            if argument.alias_info and argument.alias_info.is_write
            for value in tree_leaves((kwargs or {}).get(argument.name, args[place : place + 1]))
        ]
        for tensor in filter(torch.is_tensor, written):
            self.before.setdefault(id(tensor), (tensor, tensor.clone()))
        results = function(*args, **(kwargs or {}))
        self.graph.ops.append((function, args, kwargs or {}, results))
        return results


@contextmanager
def recording(graph: Graph, *pool, **options):
    """torch.cuda.graph."""
    recorder = _Recorder(graph)
    try:
        with recorder:
            yield
    except RuntimeError:
        raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
    with torch.no_grad(), torch._C._AutoDispatchBelowAutograd():
        for tensor, before in recorder.before.values():
            tensor.copy_(before)


def pretend(monkeypatch) -> None:
    """Give torch.cuda graphs on the CPU."""
    nothing = lambda *args, **kwargs: nullcontext()  # noqa: E731
    fakes = {"CUDAGraph": Graph, "graph": recording, "Stream": nothing, "stream": nothing}
    for name, fake in (fakes | {"device": nothing, "current_stream": nothing}).items():
        monkeypatch.setattr(torch.cuda, name, fake)
