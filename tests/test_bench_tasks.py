"""What bench.py measures of a part alone: medians of calls, with both ways of the loss walked."""

import statistics
from types import SimpleNamespace

import pytest
import torch
from conftest import OURS

from benchmarks import growth, kernels, local, machine, sides, turns, worker
from reslab.report.selection import find_runs, load_runs
from reslab.run.fields import flat


def test_small_timings_are_medians_and_the_first_call_is_not_counted(monkeypatch):
    now, spends = [0.0], iter([1.0, 9.0, 2.0, 100.0, 3.0, 3.0, 50.0, 5.0])

    def work():
        now[0] += next(spends)

    monkeypatch.setattr(local.time, "perf_counter", lambda: now[0])
    told = turns.summary(local.timed(work, 3))
    assert (told["median_s"], told["spread"]) == (2.0, 2.0)  # (9 - 1) / 2 / 2
    monkeypatch.setattr(kernels.time, "process_time", lambda: now[0])
    middle = statistics.median([3.0, 3.0, 50.0, 5.0])
    assert kernels.compare({"way": work}, 4, "cpu") == {"way": (middle, 0.25)}  # (5 - 3) / 2 / 4
    assert kernels.milliseconds({"way": (0.0125, 0.1)}) == {"way": (12.5, 0.1)}


def test_both_ways_of_the_loss_are_timed_forwards_and_back_in_both_precisions(monkeypatch):
    walked, clock = [], [0.0]

    def way(name, seconds):
        def backward():
            clock[0] += seconds
            walked.append((name, torch.is_autocast_enabled("cpu")))

        return lambda *args: SimpleNamespace(backward=backward)

    monkeypatch.setattr(local.loss_module, "whole_loss", way("held", 6.0))
    monkeypatch.setattr(local.loss_module, "linear_cross_entropy", way("ours", 2.0))
    monkeypatch.setattr(local.time, "perf_counter", lambda: clock[0])
    told = local.loss(quick=True)["held_over_ours"]
    assert list(told) == ["float32", "bfloat16"] and told["float32"] == told["bfloat16"]
    assert told["float32"]["median"] == 3.0 and told["float32"]["ours_s"] == 2.0
    assert walked == [("held", False), ("ours", False)] * 3 + [("held", True), ("ours", True)] * 3


def test_the_runs_of_the_growth_are_a_grid_of_real_ones(tmp_path):
    growth.write_runs(tmp_path, 24)
    runs, left_out = load_runs(find_runs([str(tmp_path)]))
    assert not left_out and len(runs) == 24
    cells = {(r.config["residual"], r.config["seed"], r.config["learning_rate"]) for r in runs}
    assert len(cells) == 24 and len({r.last("val/loss") for r in runs}) == 24
    assert {arm for arm, _, _ in cells} == {"pre", "none"} and len({rate for _, _, rate in cells}) == 3
    measured = growth.compare_runs(2)
    assert measured["page_bytes"] > 1e6 and all(value > 0 for value in measured.values())


def test_a_look_of_the_probes_is_all_sequences_of_a_run_s(train_config, monkeypatch):
    seen = []
    monkeypatch.setattr(sides.probes, "measure_batch", lambda model, x, y: seen.append((x, y)))
    side, settings = sides.Ours(), flat(train_config(probe_sequences=3))
    first = worker.run(side, sides, None, "first_step", settings=settings, started=0.0)
    assert first["parameters"] > 0 and 0 < first["cpu_s"] < first["s"] and side.state.step == 1
    assert set(worker.run(side, sides, None, "probe_look")) == {"s", "cpu_s"}
    ((x, y),) = seen
    assert x.shape == y.shape == (3, 16)


def test_a_peer_s_place_is_left_out_of_a_command_and_the_other_peer_is_not():
    facts = machine.facts(["--peer=nanogpt=/home/me/nanoGPT,transformers", "--quick"])
    assert facts["command"] == "python bench.py --peer=nanogpt=PATH,transformers --quick"
    assert facts["fastest"] == (None if torch.cuda.is_available() else f"{OURS}")


def test_a_line_has_the_smallest_relative_residuals():
    fitted = growth.line([1, 2, 4], [5.0, 7.0, 11.0])
    assert fitted["at_zero"] == pytest.approx(3) and fitted["slope"] == pytest.approx(2)
    assert fitted["largest_residual"] == 0
    # 450 / 477 + 720 / 477 x, by hand; the line that is nearest to 6 would be off by a third at 0.
    fitted = growth.line([0, 1, 2], [1.0, 2.0, 6.0])
    assert fitted["at_zero"] == pytest.approx(450 / 477) and fitted["slope"] == pytest.approx(720 / 477)
    assert fitted["largest_residual"] == 0.34
