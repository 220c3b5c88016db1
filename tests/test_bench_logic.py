"""The arithmetic of bench.py by sides whose seconds are made up: turns, medians, ratios."""

import json
from types import SimpleNamespace

import pytest
from made_up_sides import Machine, answers, made_up

import bench as door
from benchmarks import cases, growth, sides
from benchmarks.turns import ratios, summary
from reslab.system import device


def test_a_ratio_is_taken_turn_by_turn():
    result = ratios(
        {"ours": [1.0, 2.0, 1.0, 4.0], "nanogpt": [3.0, 4.0, 2.5, 40.0], "ours float32": [2.0, 4.0, 2.0, 8.0]}
    )
    told = {"median": 2.75, "least": 2.0, "most": 10.0, "noisy": False}
    assert result["ours against nanogpt"] == told  # the mean is 4.375
    assert result["ours float32 against nanogpt"] == told | {"median": 1.375, "least": 1.0, "most": 5.0}
    assert result["ours against ours float32"]["median"] == 2.0
    assert set(result) == {
        "ours against nanogpt",
        "ours float32 against nanogpt",
        "ours against ours float32",
    }


def test_a_side_is_its_median_and_half_the_distance_of_its_quartiles():
    spread = summary([9.0, 1.0, 2.0, 4.0, 3.0, 5.0, 100.0])
    assert spread["median_s"] == 4.0 and spread["spread"] == round((9 - 2) / 2 / 4, 3)
    assert spread["turns_s"] == [9.0, 1.0, 2.0, 4.0, 3.0, 5.0, 100.0]
    assert summary([1 / 3])["turns_s"] == [0.333333]  # to the microsecond


def test_sides_take_turns_and_a_turn_s_seconds_are_per_step():
    turn = {"a": 0, "b": 0}

    def seconds(side, task, settings, arguments):
        if task == "build":
            return {"dtype": f"dtype of {side}", "flops_per_token": 7, "parameters": 1}
        if task == "memory":
            return {"bytes": {"a": 11, "b": 22}[side]}
        turn[side] += 1
        return {"s": arguments["count"] * {"a": 0.25, "b": 0.5}[side] * (1 + turn[side] / 100)}

    machine = Machine(seconds)
    case = made_up(machine).in_turns({"ours": ("a", {}), "nanogpt": ("b", {})}, "steps", warm=3, seconds=2.0)
    requests = [
        (side, arguments["count"]) for side, task, _, arguments, _ in machine.calls if task == "steps"
    ]
    # three to warm up, one to see how long it takes, then turns of two seconds
    assert requests == [("a", 3), ("b", 3), ("a", 1), ("b", 1), *[("a", 8), ("b", 4)] * 7]
    ours, peer = case["sides"]["ours"], case["sides"]["nanogpt"]
    assert ours["turns_s"] == pytest.approx([0.25 * (1 + k / 100) for k in range(3, 10)])
    assert (ours["peak_bytes"], peer["peak_bytes"]) == (11, 22) and ours["flops_per_token"] == 7
    assert peer["dtype"] == "dtype of b" and "parameters" not in ours
    assert case["ratios"]["ours against nanogpt"]["median"] == 2.0 and "failed" not in case
    assert machine.stopped == 2


def test_a_side_that_can_not_run_is_left_out_with_its_reason():
    def seconds(side, task, settings, arguments):
        if side == "b" and task == "steps":
            raise ValueError("no compiler")
        return {"s": 1.0, "bytes": 5}

    machine = Machine(seconds)
    bench = made_up(machine, quick=True)
    case = bench.in_turns({"ours": ("a", {}), "other": ("b", {})}, "steps", warm=1, seconds=1.0)
    assert case["failed"] == {"other": "no compiler"} and list(case["sides"]) == ["ours"]
    assert len(case["sides"]["ours"]["turns_s"]) == 3 and machine.stopped == 2
    assert "other: left out (no compiler)" in bench.table(case)


@pytest.mark.parametrize("cold", [True, False])
def test_a_fresh_process_each_time_and_caches_that_are_empty_only_when_cold(cold):
    count = iter(range(1, 9))
    machine = Machine(lambda *rest: {"s": float(next(count))})
    case = made_up(machine).fresh({"x": ("a", {"n_layer": 2}), "y": ("b", {})}, "first_step", 3, cold)
    assert case["x"]["turns_s"] == [1.0, 3.0, 5.0] and case["y"]["median_s"] == 4.0
    assert machine.stopped == 6 and all(call[3]["started"] == 123.0 for call in machine.calls)
    caches = [call[4].get("TORCHINDUCTOR_CACHE_DIR") for call in machine.calls]
    assert len(set(caches)) == (6 if cold else 1) and (None in caches) is not cold


def test_a_training_step_is_the_median_and_tokens_over_it():
    shape = {"n_layer": 2, "n_embd": 32, "block_size": 50, "batch_size": 6}
    case = cases.train_step(shape)(made_up(Machine(answers)))
    assert case["shape"] == shape
    rates = {name: side["tokens_per_s"] for name, side in case["sides"].items()}
    assert rates["ours"] == 3000 and rates["ours float32"] == 1500
    assert rates["nanogpt bfloat16"] == 1000 and rates["nanogpt float32"] == 500
    assert {"ours compiled", "nanogpt compiled float32", "nanogpt compiled bfloat16"} <= set(rates)
    assert case["ratios"]["ours against nanogpt float32"]["median"] == 6.0


@pytest.mark.parametrize("quick", [True, False])
def test_none_is_divided_by_pre_fresh_and_aged(quick):
    steps = {"pre": 0, "none": 0}

    def seconds(side, task, settings, arguments):
        if task != "steps":
            return {"bytes": 1}
        steps[settings["residual"]] += arguments["count"]
        old = steps["none"] > 100 if not quick else steps["none"] > 25
        took = {"pre": 1.0, "none": 3.0 if old else 0.5}[settings["residual"]]
        return {"s": arguments["count"] * took}

    aged = 30 if quick else 300
    case = cases.none_against_pre(made_up(Machine(seconds), quick))
    medians = {when: ratio["median"] for when, ratio in case["none_over_pre"].items()}
    assert medians == {"fresh": 0.5, f"after {aged} steps": 3.0}
    assert case["sides"]["none"]["median_s"] == 3.0  # the aged ones are shown


def test_first_steps_of_both_sides_and_of_two_depths():
    case = cases.first_step(made_up(Machine(answers)))
    assert {name: side["median_s"] for name, side in case["sides"].items()} == {"ours": 2.0, "nanogpt": 3.0}
    assert case["compiled_by_depth"]["96"]["median_s"] == 10.0 and case["compiled_96_over_12"] == 2.5


@pytest.mark.parametrize("quick", [True, False])
def test_growth_is_a_line_through_what_each_depth_and_each_number_of_runs_takes(quick):
    case = growth.growth(made_up(Machine(answers), quick))
    depth, runs = case["depth"], case["runs"]
    assert depth["at"][0] == 12 and depth["at"][-1] == (48 if quick else 1000) and runs["at"][0] == 2
    slopes = {key: figure["slope"] for key, figure in (depth["figures"] | runs["figures"]).items()}
    assert slopes == pytest.approx(
        {"step": 0.01, "start": 0.02, "look": 0.03, "table": 0.5, "page_bytes": 7.0}
        | {"bytes": 48_000, "bytes_probed": 48_000, "bytes_recomputing": 20_000}
    )
    assert depth["figures"]["bytes"]["at_zero"] == pytest.approx(7e6)
    assert case["state_bytes_per_layer"] == 16_000  # of the 48,000
    assert case["memory_slope_ratio"] == round(20 / 48, 3) and case["without_the_state"] == 4 / 32


def test_growth_is_measured_on_one_thread_and_on_a_gpu_by_the_clock():
    machine = Machine(answers)
    growth.growth(made_up(machine, quick=True))
    assert {call[4]["OMP_NUM_THREADS"] for call in machine.calls} == {"1"}
    on_gpu = growth.growth(made_up(Machine(answers), quick=True, gpu=True))
    assert on_gpu["clock"] == "s" and on_gpu["depth"]["figures"]["step"]["slope"] == pytest.approx(0.1)


@pytest.mark.parametrize("batch", [1, 8])
def test_sampling_writes_the_tokens_that_it_says(batch, monkeypatch):
    monkeypatch.setattr(device, "pick_dtype", lambda name, where, width, token: f"{name} {width} {token}")
    machine = Machine(answers)
    case = cases.sampling(batch)(made_up(machine))
    assert (case["batch"], case["tokens"]) == (batch, 200)
    requests = [arguments for _, task, _, arguments, _ in machine.calls if task == "sample"]
    assert all(arguments == {"count": 200, "batch": batch} for arguments in requests)
    assert case["sides"]["ours"]["median_s"] == 0.1  # of one text, whatever its length
    assert case["sides"]["ours"]["dtype"] == "auto 384 True"  # text has a precision of its own
    assert case["ratios"]["ours against nanogpt bfloat16"]["median"] == 3.0


def test_the_val_loss_is_that_of_three_seeds_against_the_peer_s():
    case = cases.val_loss(made_up(Machine(answers)))
    assert list(case["sides"]) == ["nanogpt", "ours seed 1337", "ours seed 1", "ours seed 2"]
    assert case["share_of_nanogpts_time"] == 0.375  # 30 seconds in the mean, of 80
    assert case["val_loss"] == {"mean": 1.8, "sd": 0.1} and case["goal"] == 1.9
    assert case["reached_by_all"] is True
    worse = Machine(
        lambda side, *rest: answers(side, *rest) | ({"val_loss": 1.85} if side == "nanogpt" else {})
    )
    assert cases.val_loss(made_up(worse))["reached_by_all"] is False  # one of three is not enough
    alone = cases.val_loss(made_up(Machine(answers), peer=False))
    assert alone["goal"] == 1.8857 and "share_of_nanogpts_time" not in alone


def test_training_stops_at_the_goal_and_evaluations_are_not_on_the_clock(monkeypatch):
    now, losses = [0.0], [3.0, 2.0, 1.0, 0.5, 0.75]

    class Side:
        device = "cpu"
        config = SimpleNamespace(optim=SimpleNamespace(max_iters=9))

        def __init__(self, updates=0):
            self.updates = updates

        def step(self):
            self.updates += 1
            now[0] += 2.0

        def val_loss(self):
            now[0] += 1000.0
            return losses.pop(0)

    monkeypatch.setattr(sides.time, "perf_counter", lambda: now[0])
    result = sides.train_until(Side(), goal=1.0, every=2)
    assert result == {
        "s": 12.0,
        "step": 6,
        "val_loss": 1.0,
        "curve": [[2, 4.0, 3.0], [4, 8.0, 2.0], [6, 12.0, 1.0]],
    }
    losses[:] = [3.0, 2.0, 1.5, 1.25, 1.75]
    result = sides.train_until(Side(), goal=0, every=2)  # to the end, the last update evaluated as well
    assert (result["step"], result["s"], result["val_loss"]) == (9, 18.0, 1.75)
    losses[:] = [3.0, 2.0, 1.5]
    result = sides.train_until(Side(updates=3), goal=0, every=4)  # whose first three were not timed
    assert result["curve"] == [[4, 2.0, 3.0], [8, 10.0, 2.0], [9, 12.0, 1.5]]


def test_cases_that_were_not_run_keep_what_the_file_said(tmp_path, monkeypatch, capsys):
    def case(bench):
        """One that is made up."""
        return {"answer": 42}

    monkeypatch.setitem(cases.CASES, "data", case)
    path = tmp_path / "b.json"
    path.write_text(json.dumps({"cases": {"val": {"kept": 1}, "data": {"old": 2}}}), encoding="utf-8")
    assert door.main(["--only=data", "--quick", f"--out={path}"]) == 0
    written = json.loads(path.read_text(encoding="utf-8"))["cases"]
    assert written["val"] == {"kept": 1} and written["data"]["answer"] == 42 and "old" not in written["data"]
    assert written["data"]["facts"]["command"].startswith("python bench.py --only=data --quick")
    assert "answer: 42" in capsys.readouterr().out
