"""The cases of bench.py for a GPU, by sides whose seconds are made up."""

import pytest
from made_up_sides import Machine, answers, made_up

import bench as door
from benchmarks import cases


@pytest.mark.parametrize("gpu", [True, False])
def test_sides_compile_at_once_where_a_gpu_computes_and_one_by_one_where_the_cpu_does(gpu):
    order = []

    class Recorded(Machine):
        def start(self, side, **environment):
            order.append(f"start {side}")
            return super().start(side, **environment)

    machine = Recorded(lambda side, task, *rest: order.append(f"{task} {side}") or {"s": 1.0, "bytes": 5})
    made_up(machine, quick=True, gpu=gpu).ready({"x": ("a", {}), "y": ("b", {})}, "steps", count=3)
    alone = [["start a", "build a", "steps a"], ["start b", "build b", "steps b"]]
    together = ["start a", "start b", "build a", "steps a", "build b", "steps b"]
    assert order == (together if gpu else [*alone[0], *alone[1]])


def test_utilization_of_both_sides_is_by_our_count_of_work(monkeypatch):
    monkeypatch.setattr(cases.torch.cuda, "get_device_name", lambda *rest: "NVIDIA H200")
    case = cases.train_step({"n_layer": 2, "n_embd": 32, "block_size": 50, "batch_size": 6}, gpu=True)(
        made_up(Machine(answers), gpu=True)
    )
    for side in case["sides"].values():
        assert side["mfu"] == pytest.approx(1e9 * side["tokens_per_s"] / 989e12, abs=1e-4)


def test_a_thousand_layers_are_seconds_per_step_over_those_of_the_kernels():
    case = cases.thousand_gpu(made_up(Machine(answers), gpu=True))
    ours = case["sides"]["ours"]
    assert (ours["median_s"], ours["kernels_s"], ours["over_kernels"]) == (pytest.approx(0.1), 0.05, 2.0)
    assert "ours without graphs" in case["sides"]


def test_a_gpu_trains_shakespeare_with_three_seeds_from_an_update_that_is_recorded_already():
    machine = Machine(
        lambda side, task, *rest: (
            answers(side, task, *rest)
            | ({"curve": [[1, 2.0, 1.6], [2, 4.0, 1.4], [3, 6.0, 1.5]]} if task == "train_until" else {})
        )
    )
    case = cases.shakespeare_gpu(made_up(machine, gpu=True))
    assert list(case["sides"]) == ["ours seed 1337", "ours seed 1", "ours seed 2", "nanogpt"]
    assert {side["best_val_loss"] for side in case["sides"].values()} == {1.4}
    goals = {
        side: arguments["goal"] for side, task, _, arguments, _ in machine.calls if task == "train_until"
    }
    assert goals == {"ours": 0, "nanogpt": 1.4697}
    warm = [arguments["count"] for _, task, _, arguments, _ in machine.calls if task == "steps"]
    assert warm == [cases.CAPTURED] * 4 and cases.CAPTURED > cases.WARM


def test_cases_of_a_gpu_are_left_out_without_one_and_refused_by_name():
    gpu = {name for name, case in cases.CASES.items() if getattr(case, "gpu", False)}
    assert gpu and set(door.choose("", cases.CASES, False)) == set(cases.CASES) - gpu
    assert door.choose("", cases.CASES, True) == list(cases.CASES)
    assert door.choose("data,none-pre", cases.CASES, False) == ["data", "none-pre"]
    with pytest.raises(ValueError, match="needs a CUDA GPU"):
        door.choose(f"data,{min(gpu)}", cases.CASES, False)
    assert door.choose(min(gpu), cases.CASES, True) == [min(gpu)]
