"""What bench.py measures of a part alone: medians of calls, with both ways of the loss walked."""

import statistics
from types import SimpleNamespace

from benchmarks import kernels, local


def test_small_timings_are_medians_and_the_first_call_is_not_counted(monkeypatch):
    now, spends = [0.0], iter([1.0, 9.0, 2.0, 100.0, 3.0, 3.0, 50.0, 5.0])

    def work():
        now[0] += next(spends)

    monkeypatch.setattr(local.time, "perf_counter", lambda: now[0])
    assert local.seconds(work) == 2.0
    monkeypatch.setattr(kernels.time, "process_time", lambda: now[0])
    assert kernels.compare({"way": work}, 4, "cpu") == {"way": statistics.median([3.0, 3.0, 50.0, 5.0])}
    assert kernels.milliseconds({"way": 0.0125}) == {"way": 12.5}


def test_both_ways_of_the_loss_are_walked_forwards_and_back(monkeypatch):
    walked = []

    def way(name):
        return lambda *args: SimpleNamespace(backward=lambda: walked.append(name))

    monkeypatch.setattr(local.loss_module, "cross_entropy", way("logits held"))
    monkeypatch.setattr(local.loss_module, "linear_cross_entropy", way("chunked"))
    monkeypatch.setattr(local.torch.nn.functional, "linear", lambda x, weight: None)
    monkeypatch.setattr(local, "seconds", lambda function, turns: function() or float(len(walked)))
    assert local.loss(quick=True)["seconds"] == {"logits held": 2.0, "chunked": 3.0}
    assert walked == ["logits held", "chunked"] * 2
