"""What is fastest is measured once on a machine, and then the same in every run."""

import json
import math
import os

import pytest
import torch

from reslab.system import comparisons, machine

SAME = {what: dict.fromkeys(sizes, 1.0) for what, sizes in comparisons.SIZES.items()}
OURS = {what: dict.fromkeys(sizes, 0.5) for what, sizes in comparisons.SIZES.items()}


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A machine on which nothing was measured; returns the folder of its choice."""
    monkeypatch.setenv("RESLAB_CACHE", str(tmp_path / "cache"))
    machine.fastest.cache_clear()
    yield tmp_path / "cache"
    machine.fastest.cache_clear()


def first_run(monkeypatch, ratios):
    """What a process that starts now takes for the fastest, and whether it measured."""
    machine.fastest.cache_clear()
    measured = []
    monkeypatch.setattr(machine, "measure", lambda: measured.append(1) or ratios)
    return machine.fastest(), bool(measured)


def test_the_first_run_measures_and_all_others_take_what_it_found(fresh, monkeypatch, capsys):
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    (path,) = fresh.iterdir()
    told = " ".join(capsys.readouterr().err.split())
    assert f"kept in {path}. --dtype and --kernels overrule it" in told and str(machine.Fastest(OURS)) in told
    assert first_run(monkeypatch, SAME) == (machine.Fastest(OURS), False)
    assert capsys.readouterr().err == ""
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["machine"] == machine.name() and kept["fastest"] == str(machine.Fastest(OURS))
    path.unlink()
    assert first_run(monkeypatch, SAME) == (machine.Fastest(SAME), True)


def test_another_cpu_or_torch_has_a_choice_of_its_own(fresh, monkeypatch):
    first_run(monkeypatch, OURS)
    for owner, name in ((torch, "__version__"), (torch.backends.cpu, "get_cpu_capability")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, "9.9" if owner is torch else lambda: "OTHER")
            assert first_run(patch, SAME) == (machine.Fastest(SAME), True)
    assert len(list(fresh.iterdir())) == 3


def test_of_runs_that_measure_at_once_all_take_what_the_first_has_kept(fresh):
    path = machine.place()
    assert machine.keep(path, machine.Fastest(OURS)) == machine.Fastest(OURS)
    assert machine.keep(path, machine.Fastest(SAME)) == machine.Fastest(OURS) == machine.read(path)
    assert list(fresh.iterdir()) == [path]


def with_ratio(value: str) -> str:
    """A kept choice whose first ratio is this."""
    return json.dumps({"ratios": OURS}).replace("0.5", value, 1)


DAMAGED = ["", "{", "[]", "{}", '{"ratios": {"bfloat16": 1}}', '{"ratios": []}']
DAMAGED += [
    json.dumps({"ratios": OURS | {machine.COMPILED: wrong}}) for wrong in (5, [1], {"x": 0.5}, {"128": 0.0})
]
DAMAGED += [with_ratio(value) for value in ("NaN", "0.0", "-1.0", "Infinity", '"0.5"', "true", "9" * 400)]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_choice_is_measured_again(fresh, monkeypatch, capsys, text):
    path = machine.place()
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    assert capsys.readouterr().err.startswith(f"{path}: damaged, or of another version; measuring again\n")
    assert machine.read(path) == machine.Fastest(OURS)


def test_what_compiling_gains_is_measured_once_and_kept_beside_the_rest(fresh, monkeypatch, capsys):
    """Other programs' entries hinder nobody, and what can't be compiled is asked again."""
    first_run(monkeypatch, OURS)
    path, asked = machine.place(), []

    def measured(*ratios):
        return lambda width: asked.append(width) or dict(zip(machine.WIDTHS, ratios, strict=True))[width]

    assert machine.compiled_from(measured(None, None)) is None
    assert machine.compiled_from(measured(0.95, 0.75)) == 384
    told = " ".join(capsys.readouterr().err.split())
    assert (
        "compiled steps take 0.95 at n_embd 128, 0.75 at n_embd 384 of the time of eager ones, kept" in told
    )
    assert machine.compiled_from(measured(0.5, 0.5)) == 384  # the first measurement stays
    assert asked == [*machine.WIDTHS] * 2 and capsys.readouterr().err == ""
    expected = machine.Fastest(OURS | {machine.COMPILED: {128: 0.95, 384: 0.75}})
    assert machine.fastest() == machine.read(path) == expected and list(fresh.iterdir()) == [path]
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert kept["fastest"].endswith("; compiled from n_embd 384")
    kept["ratios"]["of a later version"] = 7
    path.write_text(json.dumps(kept), encoding="utf-8")
    assert machine.read(path) == expected


@pytest.mark.parametrize(
    ("ratios", "least"),
    [((0.5, 0.5), 128), ((0.95, 0.5), 384), ((0.5, 0.95), None), ((0.8, 0.81), None), ((0.8, 0.8), 128)],
)
def test_compiling_pays_from_the_width_on_from_which_all_are_clearly_faster(ratios, least):
    compiled = {machine.COMPILED: dict(zip(machine.WIDTHS, ratios, strict=True))}
    assert machine.Fastest(OURS | compiled).compiled_from == least


def occupied(folder):
    folder.mkdir()
    machine.place().mkdir()


def unreadable(folder):
    folder.mkdir()
    machine.place().symlink_to(folder / "nothing")


@pytest.mark.parametrize(
    "hinder", [lambda folder: folder.write_text("a file where the folder would be"), occupied, unreadable]
)
def test_where_nothing_can_be_kept_a_run_says_so_and_goes_on(fresh, monkeypatch, capsys, hinder):
    hinder(fresh)
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    told = " ".join(capsys.readouterr().err.split())
    assert f"each run measures it again, since it can't be kept ({fresh}" in told
    if hinder is not unreadable:  # a link without a target, which is written through
        assert machine.compiled_from(lambda width: 0.5) == 128  # and is used
        assert f"of eager ones, not kept ({fresh}" in " ".join(capsys.readouterr().err.split())
    assert not fresh.is_dir() or list(fresh.iterdir()) == [machine.place()]


def test_without_a_home_folder_a_run_goes_on(fresh, monkeypatch, capsys):
    monkeypatch.setenv("RESLAB_CACHE", "~nobody-of-that-name/cache")
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    assert "since it can't be kept (Could not determine home" in " ".join(capsys.readouterr().err.split())


def test_a_file_system_without_links_keeps_the_choice_too(fresh, monkeypatch):
    def no_links(*_):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    assert first_run(monkeypatch, OURS) == (machine.Fastest(OURS), True)
    assert list(fresh.iterdir()) == [machine.place()]
    assert first_run(monkeypatch, SAME) == (machine.Fastest(OURS), False)


@pytest.mark.parametrize(
    ("ratios", "least"),
    [((0.5, 0.5), 128), ((1.0, 0.5), 384), ((0.5, 1.0), None), ((0.81, 0.8), 384), ((1.2, 0.9), None)],
)
def test_a_size_is_taken_from_where_on_all_are_clearly_faster(ratios, least):
    of_width = dict(zip(machine.WIDTHS, ratios, strict=True))
    fastest = machine.Fastest(SAME | {"bfloat16": of_width})
    assert [fastest.bfloat16_pays(n) for n in (64, 128, 383, 384, 999)] == [
        least is not None and n >= least for n in (64, 128, 383, 384, 999)
    ]
    assert not fastest.bfloat16_pays(999, token=True) and not fastest.onednn_pays
    onednn = machine.Fastest(SAME | {"float32 by oneDNN": of_width})
    assert onednn.onednn_pays == (least == 128)


def test_everything_is_measured_and_a_run_does_not_feel_it():
    torch.manual_seed(5)
    expected, threads = torch.rand(3), torch.get_num_threads()
    torch.manual_seed(5)
    torch.set_num_threads(3)
    try:
        with torch.no_grad():
            ratios = comparisons.measure()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(threads)
    assert {what: tuple(found) for what, found in ratios.items()} == comparisons.SIZES
    assert all(0 < ratio < math.inf for found in ratios.values() for ratio in found.values())
    assert torch.equal(torch.rand(3), expected)
    assert not torch.is_autocast_enabled("cpu")


def test_a_ratio_is_that_of_the_fastest_turns(monkeypatch):
    """A turn that another program slows down does not count, nor does the first; short turns are many."""
    seconds = iter([0.001, 0.001, 0.03, 0.009, 0.001, 0.008, 0.001, 0.009, 0.002, 0.004, 0.03, 0.03, 0, 0])
    now = [0.0]

    def work():
        now[0] += next(seconds)

    monkeypatch.setattr(comparisons.time, "thread_time", lambda: now[0])
    assert comparisons.faster(lambda: work(), lambda: work()) == 0.25
    assert list(seconds) == [0, 0]


def test_a_clock_that_stands_still_chooses_nothing(monkeypatch):
    monkeypatch.setattr(comparisons.time, "thread_time", lambda: 1.0)
    assert comparisons.faster(lambda: None, lambda: 1) == 1.0


def test_what_a_cpu_can_t_do_is_not_faster(monkeypatch):
    """No kernels for packed bfloat16, a float32 that is rounded, and a torch that fails at a product."""
    monkeypatch.setattr(comparisons, "faster", lambda *_: 0.5)
    monkeypatch.setattr(comparisons, "can_pack", lambda dtype: dtype != torch.bfloat16)
    monkeypatch.setattr(comparisons, "onednn_keeps_float32", lambda: False)
    failing = (comparisons.LENGTHS, lambda T: torch.zeros(2) @ torch.zeros(3))
    monkeypatch.setitem(comparisons.COMPARISONS, "scores, bfloat16", failing)
    slow = {"bfloat16, one token", "float32 by oneDNN", "scores, bfloat16"}
    assert {what for what, found in comparisons.measure().items() if set(found.values()) == {1.0}} == slow


@pytest.mark.parametrize("digits", [torch.float32, torch.bfloat16])
def test_a_product_that_rounds_to_bfloat16_is_noticed(monkeypatch, digits):
    real = torch.Tensor.__matmul__
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, b: real(a.to(digits).float(), b))
    assert comparisons.onednn_keeps_float32() == (digits == torch.float32)


@pytest.fixture
def called(monkeypatch):
    """What the comparisons call: (what, precision, whether by oneDNN, whether causal), in order."""
    seen = []

    def watch(owner, name, precision=lambda _, result: result.dtype):
        real = getattr(owner, name)

        def call(*args, **kwargs):
            result = real(*args, **kwargs)
            onednn = torch.backends.mkldnn.matmul.fp32_precision == "bf16"
            seen.append((name, str(precision(args, result))[6:], onednn, kwargs.get("is_causal")))
            return result

        monkeypatch.setattr(owner, name, call)

    watch(comparisons.F, "linear")
    watch(comparisons.F, "scaled_dot_product_attention")
    watch(comparisons, "attention_by_products")
    watch(comparisons, "packed_linear", lambda args, _: args[2])
    return seen


def test_each_comparison_runs_what_it_says_and_then_the_usual_way(monkeypatch, called):
    """In float32 whatever the process's default is, causal, and by oneDNN where it says so."""
    monkeypatch.setattr(comparisons, "onednn_keeps_float32", lambda: True)
    monkeypatch.setattr(comparisons, "can_pack", lambda _: True)
    monkeypatch.setattr(comparisons, "faster", lambda way, usual: way() or usual() or 0.5)
    torch.set_default_dtype(torch.float64)
    try:
        comparisons.measure()
    finally:
        torch.set_default_dtype(torch.float32)
    kernel, half, whole, causal = "scaled_dot_product_attention", "bfloat16", "float32", True
    assert list(dict.fromkeys(called)) == [
        ("linear", half, False, None),
        ("linear", whole, False, None),
        ("packed_linear", half, False, None),
        ("packed_linear", whole, False, None),
        ("linear", whole, True, None),
        ("attention_by_products", whole, True, None),
        (kernel, whole, True, causal),
        ("attention_by_products", half, False, None),
        (kernel, half, False, causal),
    ]
