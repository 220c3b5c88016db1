"""What is worked out and not measured: bytes of a shape, FLOPs of a device, where an update's time goes."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_model
from torch.autograd import DeviceType

from reslab.nn.loss import CHUNK, LARGE
from reslab.nn.recompute import segment_size
from reslab.system import flops, profiling
from reslab.system.memory import (
    GB,
    SHAPES,
    Shape,
    activation_bytes,
    block_activations,
    logit_bytes,
    sent_bytes,
    state_bytes,
    table,
)

SHAPE = Shape(n_layer=10, n_embd=64, n_head=4, vocab_size=500, block_size=32, batch_size=3)
BLOCK = 12 * 64 * 64 + 13 * 64
ROOT = (500 + 32 + 2) * 64
P = 10 * BLOCK + ROOT


def test_state_is_sixteen_bytes_a_parameter_or_a_part_of_it():
    assert (SHAPE.parameters, SHAPE.tokens) == (P, 96)
    for ranks in (1, 2, 8):
        assert state_bytes(SHAPE, ranks, False) == 16 * P
        # the root and its gradient, the running block, the next one, and a block's gradients are whole
        assert state_bytes(SHAPE, ranks, True) == 16 * P / ranks + 4 * (2 * ROOT + 3 * BLOCK)


@pytest.mark.parametrize(("depth", "segments"), [(50, 25), (51, 26)])  # the last one is shorter
def test_recomputed_activations_are_a_stream_per_segment_and_one_segment(depth, segments):
    deep = replace(SHAPE, n_layer=depth)
    size = segment_size(depth)
    assert size == 2
    for half in (False, True):
        each = block_activations(deep, half)
        assert activation_bytes(deep, half, False) == depth * each
        assert activation_bytes(deep, half, True) == segments * 4 * 64 * 96 + size * each


def test_large_logits_are_held_a_chunk_at_a_time():
    assert logit_bytes(SHAPE) == 2 * 4 * 500 * 96
    tokens = LARGE["cuda"] // (4 * 500) + 1
    assert logit_bytes(Shape(10, 64, 4, 500, tokens)) == 2 * CHUNK


def test_a_rank_sends_two_or_three_times_its_parameters():
    for shards, rounds in ((False, 2), (True, 3)):
        assert sent_bytes(SHAPE, 4, shards) == rounds * 4 * P * 3 / 4 and sent_bytes(SHAPE, 1, shards) == 0


def test_every_cell_of_the_table_is_its_column_s():
    head, _, *rows = (
        [cell.strip() for cell in line.strip("|").split("|")] for line in table(SHAPES, 16).splitlines()
    )
    assert [row[0] for row in rows] == list(SHAPES)
    for row, shape in zip(rows, SHAPES.values(), strict=True):
        cells = dict(zip(head, row, strict=True))
        assert cells["layers x width"] == f"{shape.n_layer} x {shape.n_embd}"
        assert cells["parameters"] == f"{shape.parameters / 1e6:,.0f}M"
        assert cells["state DDP"] == f"{state_bytes(shape, 16, False) / GB:.1f} GB"
        assert cells["state FSDP/16"] == f"{state_bytes(shape, 16, True) / GB:.1f} GB"
        assert cells["a block's message"] == f"{4 * shape.block_parameters / 1e6:.1f} MB"
        assert cells["activations"] == f"{activation_bytes(shape, True, False) / GB:.2f} GB"
        assert cells["recomputed"] == f"{activation_bytes(shape, True, True) / GB:.2f} GB"
        assert cells["sent DDP"] == f"{sent_bytes(shape, 16, False) / GB:.1f} GB"
        assert cells["sent FSDP"] == f"{sent_bytes(shape, 16, True) / GB:.1f} GB"


def test_peaks_are_those_of_dense_products_of_the_whole_device():
    """As the makers' data sheets give them without sparsity, which would double them."""
    dense = {"A100-SXM4-80GB": 312, "A100-PCIE-40GB": 312, "H100 80GB HBM3": 989, "H100 PCIe": 756, "L4": 121}
    for name, tera in dense.items():
        assert flops.peak(f"NVIDIA {name}") == tera * 1e12, name
    for name in ("NVIDIA L40", "NVIDIA H100 PCIe MIG 1g.10gb", "My NVIDIA L4", "NVIDIA GeForce RTX 4090 D"):
        assert flops.peak(name) is None, name


def test_utilization_is_of_all_gpus_together(monkeypatch):
    model = tiny_model()
    monkeypatch.setattr(
        torch.cuda, "get_device_name", lambda device: {"cuda:1": "NVIDIA L4"}.get(device, "?")
    )
    work = flops.flops_per_token(model.config)
    rate = 0.25 * 121e12 / work
    assert flops.meter(model, "cuda:1")(rate) == 0.25
    assert flops.meter(model, "cuda:1", ranks=4)(4 * rate) == 0.25
    assert flops.meter(model, "cuda")(rate) is None and flops.meter(model, "cpu") is None


def event(name, cpu, gpu, parent=None, number=-1):
    return SimpleNamespace(
        name=name,
        sequence_nr=number,
        cpu_parent=parent,
        self_cpu_time_total=cpu,
        device_type=DeviceType.CPU,
        kernels=[SimpleNamespace(duration=gpu / 4), SimpleNamespace(duration=3 * gpu / 4)],
        cpu_time_total=10 * cpu,
        self_device_time_total=10 * gpu,
    )


@pytest.fixture
def events():
    """Two updates, in microseconds: attention with a norm in it, their backward, an optimizer, the rest."""
    attention = event("kind attention", 100, 0)
    norm = event("kind norm", 10, 0, attention)
    back = "autograd::engine::evaluate_function: "
    step = event("Optimizer.step#AdamW.step", 40, 0)
    return [
        attention,
        norm,
        event("aten::mm", 3000, 30, attention, number=5),
        event("aten::rms", 200, 20, norm, number=6),
        event(f"{back}MmBackward0", 700, 7, number=5),
        event("aten::mm", 6000, 60, event(f"{back}MmBackward0", 0, 0, number=5)),
        event(f"{back}RmsBackward0", 900, 9, number=6),
        event(f"{back}AccumulateGrad", 50, 5, number=99),
        step,
        event("aten::add", 60, 6, step),
        event("aten::copy", 40, 4),
    ]


@pytest.fixture
def gpu_events(events):
    """The same, and what the profiler shows besides: the kernels once more, as the GPU's own events, and the
    ranges with the time between their kernels, on both sides."""
    for seen in (event("kind attention", 0, 500), event("sm90_gemm", 0, 30)):
        seen.device_type = DeviceType.CUDA
        events.append(seen)
    events[0].kernels = [SimpleNamespace(duration=500)]
    return events


def test_time_goes_to_the_innermost_kind_and_the_way_back_to_the_kind_of_its_forward(events):
    expected = {"attention": [3100, 6700], "norm": [210, 900], "optimizer": [100, 0], "rest": [40, 50]}
    assert dict(profiling.by_kind(events, cuda=False)) == expected


def test_on_a_gpu_a_kernel_counts_once_and_the_time_between_kernels_never(gpu_events):
    expected = {"attention": [30, 67], "norm": [20, 9], "optimizer": [6, 0], "rest": [4, 5]}
    assert dict(profiling.by_kind(gpu_events, cuda=True)) == expected


def test_the_table_is_milliseconds_per_update_and_shares_of_both_ways(events):
    head, *lines = profiling.table(events, 2, False).splitlines()
    rows = {line[:26].strip(): line[26:].split() for line in lines}
    assert head.split()[-3:] == ["forward", "backward", "share"] and "on the CPU" in head
    assert rows["attention"] == ["1.55", "3.35", f"{9800 / 11100:.1%}"]
    assert rows["norm"] == [f"{0.105:.2f}", "0.45", f"{1110 / 11100:.1%}"]
    assert rows["MLP"] == ["0.00", "0.00", "0.0%"] and list(rows) == list(profiling.KINDS)


def test_some_updates_are_traced_after_some_that_warm_up_and_nothing_stays(tmp_path, monkeypatch):
    calls, done = [], []

    class Profile:
        def __init__(self, **options):
            pass

        def start(self):
            calls.append(("start", len(done)))

        def stop(self):
            calls.append(("stop", len(done)))

        def events(self):
            return []

        def export_chrome_trace(self, path):
            calls.append(("trace", path))

    monkeypatch.setattr(profiling, "profile", Profile)
    model, messages = tiny_model(), []
    head = model.head

    def hooks() -> int:
        return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())

    steps = profiling.traced(lambda *args: done.append(args) or len(done), model, tmp_path, messages.append)
    update = steps.__enter__()
    assert hooks() > 0
    total = profiling.WARM + profiling.TRACED
    assert [update("a", k) for k in range(total + 3)] == list(range(1, total + 4))
    assert done[0] == ("a", 0)  # every update happens, with what it was given
    trace = str(tmp_path / "trace.json")
    assert calls == [("start", profiling.WARM), ("stop", total), ("trace", trace)]
    assert len(messages) == 1 and re.search(rf"the trace is {re.escape(trace)}$", messages[0])
    assert hooks() == 0 and model.head == head
