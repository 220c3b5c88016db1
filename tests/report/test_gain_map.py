"""The map of what blocks are worth over depth and rate, as data."""

import pytest
from runs_by_hand import write_run

from reslab.report.figures import FIGURES
from reslab.run.log import read_run

GAINS = FIGURES["Where blocks are worth something"]


@pytest.fixture
def make_run(tmp_path):
    return lambda name, **settings: read_run(write_run(tmp_path, name, **settings))


def points(trace) -> list[tuple]:
    return list(zip(trace.x, trace.y, strict=True))


def test_the_gain_over_silent_is_a_map_of_each_experiment_over_the_rate_of_its_blocks(make_run):
    muon = {"optimizer": "muon", "learning_rate": 0.01, "block_lr": 0.0, "muon_lr": 0.002}
    adamw = muon | {"optimizer": "adamw", "muon_lr": 0.0}
    silent = [make_run(f"s{k}", losses=(4.0, v), residual="silent", **muon) for k, v in ((1, 2.5), (2, 3.5))]
    cells = [  # rate, layers, seed, loss; the control's mean is 3
        (0.002, 3, 1, 2.0), (0.002, 3, 2, 2.5), (0.02, 3, 1, 3.25), (0.002, 9, 1, 1.0)
    ]  # fmt: skip
    runs = [
        make_run(f"m{k}", losses=(4.0, loss), n_layer=n, seed=seed, **muon | {"muon_lr": rate})
        for k, (rate, n, seed, loss) in enumerate(cells)
    ]
    for k, (n, rate) in enumerate(((3, 0.0), (9, 0.001))):  # 0: the rate of all
        runs.append(make_run(f"a{k}", losses=(4.0, 2.9), n_layer=n, **adamw | {"block_lr": rate}))
    one_depth = make_run("alone", losses=(4.0, 2.0), residual="post", **muon)
    muon_map, adamw_map = GAINS([*runs, *silent, one_depth]).data
    gains = dict(zip(points(muon_map), muon_map.marker.color, strict=True))
    assert gains == pytest.approx({(0.002, 3): 0.75, (0.02, 3): -0.25, (0.002, 9): 2.0})
    assert points(adamw_map) == [(0.01, 3), (0.001, 9)]
    assert GAINS(runs) is None and GAINS(silent) is None
