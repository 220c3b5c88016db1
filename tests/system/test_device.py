"""Device, precision and seeds: chosen as documented on machines that are not here."""

import os
import platform
import subprocess
import sys
import warnings

import pytest
import torch
from conftest import tiny_config, tiny_model

from reslab.instruments.probes import measure_batch
from reslab.instruments.snapshot import snapshot
from reslab.model import GPT
from reslab.nn import attention
from reslab.run.settings import TrainConfig
from reslab.system import device, machine


@pytest.mark.parametrize(
    ("cuda", "mps", "auto"), [(True, True, "cuda"), (False, True, "mps"), (False, False, "cpu")]
)
def test_auto_is_the_fastest_device_that_is_there(monkeypatch, cuda, mps, auto):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert device.pick_device("auto") == auto and device.pick_device("cpu") == "cpu"
    for name, there in {"cuda": cuda, "cuda:1": cuda, "mps": mps}.items():
        if there:
            assert device.pick_device(name) == name
            continue
        with pytest.raises(ValueError, match=rf"device={name}: not available .*; available: auto, .*cpu"):
            device.pick_device(name)
    if cuda:
        with pytest.raises(ValueError, match=r"device=cuda:2: this machine has 2 GPUs, counted from 0"):
            device.pick_device("cuda:2")


@pytest.mark.parametrize(
    ("name", "place", "width", "from_width", "capability", "expected"),
    [
        ("auto", "cuda", 16, None, (9, 0), "bfloat16"),
        ("auto", "cuda:1", 16, None, (8, 0), "bfloat16"),
        ("auto", "cuda", 999, 128, (7, 5), "float16"),
        ("auto", "mps", 999, 128, None, "float32"),
        ("auto", "cpu", 128, 128, None, "bfloat16"),
        ("auto", "cpu", 127, 128, None, "float32"),
        ("auto", "cpu", 384, 384, None, "bfloat16"),
        ("auto", "cpu", 383, 384, None, "float32"),
        ("auto", "cpu", 999, None, None, "float32"),
        ("float16", "cpu", 16, None, None, "float16"),
        ("float64", "cuda", 16, None, (9, 0), "float64"),
    ],
)
def test_auto_is_the_precision_that_pays(monkeypatch, name, place, width, from_width, capability, expected):
    """In training and where text is written, each by what was measured of it."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda place: capability)
    pays = {n: 0.5 if from_width and n >= from_width else 1.0 for n in machine.WIDTHS}
    never = dict.fromkeys(machine.WIDTHS, 1.0)
    for token in (False, True):
        of_job = (never, pays) if token else (pays, never)
        fastest = machine.Fastest(dict(zip(("bfloat16", "bfloat16, one token"), of_job, strict=True)))
        monkeypatch.setattr(device, "fastest", lambda fastest=fastest: fastest)
        of_text = "float32" if token and name == "auto" and place.startswith("cuda") else expected
        assert device.pick_dtype(name, place, width, token) == of_text


@pytest.mark.parametrize(
    ("setting", "place", "expected"),
    [
        ("auto", "cpu", False),  # where a run is long, compiling.py says
        ("True", "cpu", True),
        ("auto", "mps", False),
        ("auto", "cuda:1", True),
        ("False", "cuda", False),
    ],
)
def test_auto_compiles_on_a_gpu(setting, place, expected):
    assert device.compiles(setting, place) == expected


def test_half_precision_is_that_of_products_and_of_nothing_else():
    a, b = torch.ones(2, 2), torch.ones(2, 2)
    warnings.simplefilter("error")  # torch only warns of a precision that it does not cast to
    for name, dtype in device.DTYPES.items():
        with device.autocast("cpu", name):
            assert (a.to(torch.float64) @ b.to(torch.float64)).dtype == torch.float64
            half = name in ("float16", "bfloat16")
            assert (a @ b).dtype == (dtype if half else torch.float32)
            assert (a + b).dtype == torch.float32


@pytest.mark.parametrize(
    ("place", "dtype", "kernels", "ratio", "onednn", "tokens"),
    [
        ("cpu", "float32", "auto", 0.7, True, 256),
        ("cpu", "float32", "auto", 0.9, False, 0),
        ("cpu", "float32", "torch", 0.7, False, 0),
        ("cpu", "bfloat16", "auto", 0.7, False, 64),
        ("cpu", "bfloat16", "torch", 0.7, False, 0),
        ("cpu", "float64", "auto", 0.7, False, None),
        ("cuda", "float32", "auto", 0.7, False, None),
    ],
)
def test_a_cpu_trains_by_the_kernels_that_were_measured_to_be_faster(
    monkeypatch, place, dtype, kernels, ratio, onednn, tokens
):
    ratios = {"float32 by oneDNN": dict.fromkeys(machine.WIDTHS, ratio)}
    ratios |= {"scores, float32": {64: 0.5, 256: 0.7}, "scores, bfloat16": {64: 0.5, 256: 0.9, 512: 0.7}}
    monkeypatch.setattr(device, "fastest", lambda: machine.Fastest(ratios))
    before, lengths = torch.backends.mkldnn.matmul.fp32_precision, dict(attention.products_up_to)
    expected = lengths if tokens is None else lengths | {device.DTYPES[dtype]: tokens}
    with device.training_kernels(place, dtype, kernels):
        assert (torch.backends.mkldnn.matmul.fp32_precision == "bf16") == onednn
        assert attention.products_up_to == expected
    assert torch.backends.mkldnn.matmul.fp32_precision == before and attention.products_up_to == lengths
    told = device.kernels_told(place, dtype, kernels)
    assert ("by oneDNN" in told) == onednn and (f"up to {tokens} tokens" in told) == bool(tokens)
    assert kernels == "auto" or told == "torch"


def test_float32_has_its_digits_in_training_on_this_cpu():
    generator = torch.Generator().manual_seed(1)
    x, weight, gradient = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((512, 96), (384, 96), (512, 384))
    )

    def products(dtype):
        inputs = [t.to(dtype).requires_grad_() for t in (x, weight)]
        y = torch.nn.functional.linear(*inputs)
        parts = (y, *torch.autograd.grad(y, inputs, gradient.to(dtype)))
        return torch.cat([part.double().flatten() for part in parts])

    exact = products(torch.float64)
    with device.training_kernels("cpu", "float32"):
        assert (products(torch.float32) - exact).norm() < 1e-6 * exact.norm()


def test_a_seed_is_of_one_run_one_step_and_one_rank():
    seeds = [0, 1, 11, 1337, 2**63 - 1]
    drawn = [device.step_seed(s, step, rank) for s in seeds for step in range(40) for rank in range(12)]
    assert len(set(drawn)) == len(drawn)
    assert all(0 <= seed < 2**63 for seed in drawn)
    assert device.step_seed(1337, 7) == device.step_seed(1337, 7, 0) == device.step_seed(1337, step=7)


def test_denormal_numbers_are_flushed():
    """A dying stack's gradients are such numbers, and a CPU would handle them a hundred times slower."""
    torch.set_flush_denormal(False)
    assert torch.tensor(1e-30) * 1e-12 != 0
    device.prepare_torch("cpu")
    assert torch.tensor(1e-30) * 1e-12 == 0


@pytest.fixture
def tf32():
    """What prepare_torch() permits on a GPU."""
    matmul = torch.backends.cuda.matmul
    matmul.allow_tf32 = True
    yield matmul
    matmul.allow_tf32 = False


def test_probes_multiply_with_all_bits_of_float32(tf32):
    """Forward, backward and where attention's weights are made again; training goes on as before."""
    model, seen = tiny_model(), []
    layer = model.blocks[0].attn.c_attn
    layer.register_forward_hook(lambda *_: seen.append(tf32.allow_tf32))
    layer.weight.register_hook(lambda _: seen.append(tf32.allow_tf32))
    ids = torch.randint(19, (1, 8))
    measure_batch(model, ids, ids)
    assert seen == [False] * 3 and tf32.allow_tf32
    snapshot(model, ids, ids)
    assert seen == [False] * 5 and tf32.allow_tf32
    with pytest.raises(ZeroDivisionError), device.exact_float32():
        1 / 0  # noqa: B018
    assert tf32.allow_tf32


def test_threads_that_probe_share_the_switch(tf32):
    one, other = device.exact_float32(), device.exact_float32()
    one.__enter__(), other.__enter__(), one.__exit__(None, None, None)
    assert not tf32.allow_tf32
    other.__exit__(None, None, None)
    assert tf32.allow_tf32


def test_a_norm_in_half_precision_says_nothing(recwarn):
    """torch warns of RMSNorm's 32-bit gain beside 16-bit numbers, at each run with it in bfloat16."""
    device.prepare_torch("cpu")
    with device.autocast("cpu", "bfloat16"):
        x = torch.nn.Linear(4, 4)(torch.ones(2, 4))
        assert torch.nn.RMSNorm(4)(x).isfinite().all()
    assert not recwarn.list


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:12", "cpu", "mps", "auto"])
def test_names_of_devices(name):
    assert TrainConfig(device=name).faults() == []


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "cuda:-1", "", "cuda 1"])
def test_what_is_no_device_is_told_with_what_is(name):
    (fault,) = TrainConfig(device=name).faults()
    assert fault.startswith(f"device={name}: ")


def test_clocks_wait_for_the_device_that_works(monkeypatch):
    waited = []
    monkeypatch.setattr(torch.cuda, "synchronize", waited.append)
    monkeypatch.setattr(torch.mps, "synchronize", lambda: waited.append("mps"))
    for name in ("cpu", "cuda:1", "mps"):
        device.synchronize(name)
    assert waited == ["cuda:1", "mps"]


def test_a_compiler_is_used_where_it_was_asked_for(monkeypatch):
    """Blocks that are alike share one region; those that are not are compiled in their two halves."""
    compiled = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: lambda *args: function(*args))
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_: compiled.append(module))
    for wiring in ("pre", "dense"):
        model = GPT(tiny_config(residual=wiring))
        halves = [half for block in model.blocks for half in (block.attn, block.mlp)]
        regions = list(model.blocks) if wiring == "pre" else halves
        for wanted, expected in (("auto", []), ("True", regions), ("False", [])):
            compiled.clear()
            assert device.compile_model(model, wanted, "cpu") == bool(expected)
            assert compiled == expected


def test_without_a_compiler_a_run_goes_on_with_one_line(monkeypatch, capsys):
    def broken(*args, **kwargs):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    model = GPT(tiny_config())
    assert device.compile_model(model, "True", "cpu") is False
    assert all(block._compiled_call_impl is None for block in model.blocks)
    assert capsys.readouterr().err == "compile: no working compiler (no C++ compiler); going on without\n"


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_a_step_frees_is_there_for_the_next():
    """A process of its own: the setting holds until it ends."""
    code = """
import resource, torch
from reslab.system import device
device.prepare_torch("cpu")
def step(): return [torch.ones(4 << 20) for _ in range(4)]  # 16 MB each
for _ in range(4): step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
    free = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    for environment, kept in ((free, True), (free | {"MALLOC_TRIM_THRESHOLD_": "131072"}, False)):
        command = [sys.executable, "-c", code]
        faults = int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
        assert (faults < 100) == kept  # a user's own setting stands
