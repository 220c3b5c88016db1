"""What torch compiles over a whole run: how many graphs, how large, and never for a shape that varies.

A backend that counts stands in for the compiler, so the graphs are dynamo's own and nothing is generated.
"""

import pytest
import torch
import torch.distributed as dist
from conftest import tiny_config
from torch._dynamo.utils import counters
from torch.nn.parallel import DistributedDataParallel

from reslab.model import GPT
from reslab.nn import loss as loss_module
from reslab.system import device
from reslab.system.parallel import LossModule
from reslab.training.loop import train

IDS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(1))
TARGETS = torch.randint(19, (3, 8), generator=torch.Generator().manual_seed(2))


slow = pytest.mark.slow


@pytest.fixture
def graphs(monkeypatch):
    """The graphs that are compiled from here on, with the inputs that they were compiled for."""
    made = []

    def count(graph, example_inputs):
        made.append((graph, example_inputs))
        return graph.forward

    for owner in (torch, torch.nn.Module):
        monkeypatch.setattr(owner, "compile", partial_method(owner.compile, backend=count))
    torch._dynamo.reset()
    counters.clear()
    yield made
    torch._dynamo.reset()


def partial_method(function, **fixed):
    """`function` with these keywords fixed, as a plain function, so that it still binds to an instance."""
    return lambda *args, **kwargs: function(*args, **kwargs | fixed)


def operations(graph) -> int:
    return sum(node.op.startswith("call_") for node in graph.graph.nodes)


SLOW_TO_COMPILE = ("x0", "hyper", "dynamic_hyper", "mhc", "attention_residual", "stochastic_depth")


# What is carried is a tensor, a pair, parallel streams, or a list that grows. The first block of x0 and hyper
# gets one tensor twice, or in expanded memory, and has graphs of its own; lists go around attention and MLP.
# The attention of block 1 gives values, which the others get, so it has graphs of its own, too.
@pytest.mark.parametrize(
    ("wiring", "kinds"),
    [
        ("pre", 1),
        ("dense", 2),
        pytest.param("parallel", 1, marks=slow),
        pytest.param("value_residual", 3, marks=slow),
        *(pytest.param(name, 2, marks=slow) for name in SLOW_TO_COMPILE),
    ],
)
def test_a_whole_run_compiles_three_graphs_for_each_kind_of_region(train_config, graphs, wiring, kinds):
    """For training, for evaluation, and for the last batch of an evaluation, which is smaller. Samples and
    probes run uncompiled, and no shape is dynamic."""
    config = train_config(
        residual=wiring,
        n_layer=6,
        compile="True",
        sample_tokens=6,
        eval_sequences=10,
        gradient_accumulation_steps=2,
    )
    assert train(config) == 0
    blocks = [graph for graph, _ in graphs if operations(graph) > 2]  # not the trial of the compiler
    assert len(blocks) == 3 * kinds
    assert not counters["graph_break"]
    symbols = [x for _, inputs in graphs for x in inputs if not isinstance(x, torch.Tensor)]
    shapes = [size for _, inputs in graphs for x in inputs if torch.is_tensor(x) for size in x.shape]
    assert not symbols and all(type(size) is int for size in shapes)


def test_a_chunked_loss_is_compiled_for_one_chunk(graphs, monkeypatch):
    """However many there are; 24 tokens in chunks of 5, the last of 4."""
    monkeypatch.setattr(loss_module, "LARGE", {"cpu": 100})
    monkeypatch.setattr(loss_module, "CHUNK", 5 * 4 * 19)
    plain, compiled = GPT(tiny_config()), GPT(tiny_config())
    plain.chunk_loss = lambda *parts: loss_module.chunk_loss(*parts)  # by the same path, uncompiled
    device.compile_loss(compiled)
    for model in (plain, compiled):
        model.loss(IDS, TARGETS).backward()
    assert [inputs[0].shape[0] for _, inputs in graphs] == [5, 4]
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert torch.equal(a.grad, b.grad)


def test_a_loss_whose_logits_are_held_is_one_graph(graphs):
    plain, compiled = GPT(tiny_config()), GPT(tiny_config())
    device.compile_loss(compiled)
    assert torch.equal(plain.loss(IDS, TARGETS), compiled.loss(IDS, TARGETS))
    assert len(graphs) == 1 and not counters["graph_break"]


def test_attention_of_lengths_that_vary_is_two_graphs(graphs):
    """One for the first length, one for all others."""
    attention = torch.compile(GPT(tiny_config()).blocks[0].attn)
    for T in (5, 8, 7, 6):
        attention(torch.randn(2, T, 16))
    assert len(graphs) == 2 and not counters["graph_break"]


@slow
def test_what_a_cpu_compiles_is_what_was_written():
    """By torch's own compiler, which makes GELU's tanh of a sigmoid."""
    torch._dynamo.reset()
    plain, compiled = (GPT(tiny_config(n_layer=2)) for _ in range(2))
    device.compile_model(compiled, "True", "cpu")
    for model in (plain, compiled):
        model.loss(IDS, TARGETS).backward()
    for a, b in zip(plain.parameters(), compiled.parameters(), strict=True):
        assert (a.grad - b.grad).norm() < 1e-5 * a.grad.norm() + 1e-8
    torch._dynamo.reset()


@pytest.fixture
def one_rank(tmp_path):
    """A process group of this process alone."""
    if not (dist.is_available() and dist.is_gloo_available()):
        pytest.skip("this build of torch has no gloo")
    dist.init_process_group("gloo", store=dist.FileStore(str(tmp_path / "store"), 1), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_ddp_leaves_a_compiled_block_whole(graphs, one_rank):
    def sizes(wrap) -> list[int]:
        graphs.clear()
        torch._dynamo.reset()
        model = GPT(tiny_config(n_embd=256))  # a block larger than DDP's first bucket of 1 MiB
        device.compile_model(model, "True", "cpu")
        wrap(LossModule(model))(IDS, TARGETS).backward()
        return [operations(graph) for graph, _ in graphs]

    assert sizes(DistributedDataParallel) == sizes(lambda model: model)
