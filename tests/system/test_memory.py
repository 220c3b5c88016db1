"""What is worked out, against what is there: parameters, optimizer state, activations."""

from dataclasses import asdict

import pytest
import torch
from conftest import run_python

from reslab.model import GPT
from reslab.nn import attention
from reslab.run.settings import GPTConfig, OptimConfig
from reslab.system.memory import SHAPES, Shape, activation_bytes, sent_bytes, state_bytes
from reslab.training.optimizer import make_optimizer

TINY = Shape(n_layer=4, n_embd=64, n_head=2, vocab_size=64, block_size=32, batch_size=2)


def make(shape: Shape) -> GPT:
    return GPT(GPTConfig(**{k: v for k, v in asdict(shape).items() if k != "batch_size"}))


def held(shape: Shape, half: bool, again: bool = False) -> int:
    """Bytes held for the backward pass, each storage once, without weights and what is outside the blocks."""
    model = make(shape).train()
    model.activation_checkpointing = again
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    seen = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes(), storage  # held, so that no other gets its address
        return tensor

    ids = torch.randint(shape.vocab_size, (shape.batch_size, shape.block_size))
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=half),
    ):
        loss = model.loss(ids, ids)
    assert loss.requires_grad
    return sum(size for size, _ in seen.values())


@pytest.mark.parametrize("shape", [TINY, Shape(3, 48, 3, 100, 16)])
def test_parameters_and_optimizer_are_counted(shape):
    model = make(shape)
    assert shape.parameters == model.count_parameters()
    optimizer = make_optimizer(model, OptimConfig())
    model.loss(torch.zeros(1, 4, dtype=torch.long), torch.zeros(1, 4, dtype=torch.long)).backward()
    optimizer.step()
    memory = [t for state in optimizer.state.values() for t in state.values() if t.dim() > 0]
    tensors = [*model.parameters(), *memory]
    assert sum(t.nbytes for t in tensors) == 12 * shape.parameters  # weights and two averages
    assert state_bytes(shape, 1, False) == 16 * shape.parameters


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("shape", [TINY, Shape(4, 96, 4, 64, 16, 3)])
def test_activations_of_a_block_are_counted_to_the_byte(monkeypatch, shape, half):
    monkeypatch.setattr(attention, "products_up_to", {})  # torch's kernel, as a GPU has it
    deeper = Shape(**asdict(shape) | {"n_layer": shape.n_layer + 2})
    measured = held(deeper, half) - held(shape, half)
    assert measured == activation_bytes(deeper, half, False) - activation_bytes(shape, half, False)


def test_recomputed_activations_are_counted():
    """Only the streams between segments wait; the segment comes on top in the backward pass."""
    shapes = [Shape(**asdict(TINY) | {"n_layer": layers}) for layers in (16, 64)]
    streams = [4 * 64 * TINY.tokens * layers for layers in (16, 64 / 2)]
    measured = [held(shape, False, again=True) for shape in shapes]
    assert measured[1] - measured[0] == pytest.approx(streams[1] - streams[0], rel=0.1)
    for shape, waiting in zip(shapes, streams, strict=True):
        assert waiting < activation_bytes(shape, False, True) < activation_bytes(shape, False, False)


def test_what_is_sent_does_not_grow_with_the_ranks():
    few, many = (sent_bytes(TINY, ranks, shards=False) for ranks in (2, 1000))
    assert few == 4 * TINY.parameters and many < 8 * TINY.parameters
    assert sent_bytes(TINY, 2, shards=True) == 1.5 * few


def test_the_table_prints():
    done = run_python("-m", "reslab.system.memory", "--n_layer=2", "--n_embd=8", "--n_head=1", "--ranks=4")
    assert "| 2 x 8 |" in done.stdout
    assert SHAPES["GPT-2 124M"].parameters == 124_475_904
