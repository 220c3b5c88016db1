"""What the dial shows: the places that are kept of a stack, what is measured there, and the shipped grid."""

import json
from itertools import pairwise, product

import pytest
import torch
from conftest import ROOT, tiny_model

from experiments.dial.measure import DEPTHS, PLACES, SEEDS, STEPS, WEIGHTS, places, probe
from experiments.dial.table import TABLES
from reslab.instruments.probes import measure_batch

RESULT = ROOT / "experiments" / "dial" / "result.json"


@pytest.mark.parametrize("layers", [1, 2, 24, 25, 1000])
def test_the_first_layer_and_the_head_are_among_the_places(layers):
    chosen = places(layers)
    assert chosen[0] == 0 and chosen[-1] == layers and len(chosen) == min(PLACES, layers + 1)
    gaps = [b - a for a, b in pairwise(chosen)]
    assert max(gaps) - min(gaps) <= 1


def test_the_dial_measures_what_the_probes_measure():
    model = tiny_model(residual="scaled", residual_scale=0.7)
    ids = torch.randint(model.config.vocab_size, (1, model.config.block_size + 1))
    x, y = ids[:, :-1], ids[:, 1:]
    found, expected = probe(model, x, y), measure_batch(model, x, y)
    assert found["gradient"] == pytest.approx(expected["probe/resid_gradient"][::2], rel=5e-3)
    assert found["position0_share"] == pytest.approx(expected["probe/position0_share"][0], rel=5e-3)
    assert found["token_diversity"] == pytest.approx(expected["probe/token_diversity"][-1], rel=5e-3)


@pytest.mark.skipif(not RESULT.is_file(), reason="not measured yet")
def test_the_grid_that_is_shipped_is_whole():
    runs = json.loads(RESULT.read_text(encoding="utf-8"))["runs"]
    cells = [(run["residual_scale"], run["n_layer"], run["seed"]) for run in runs]
    assert sorted(cells) == sorted(product(WEIGHTS, DEPTHS, SEEDS))
    for run in runs:
        assert run["places"] == places(run["n_layer"]), run["run"]
        assert [probed["step"] for probed in run["probed"]] == list(STEPS), run["run"]
        assert all(len(probed["gradient"]) == len(run["places"]) for probed in run["probed"]), run["run"]


def test_a_cell_of_the_table_is_the_smallest_and_the_largest_of_the_seeds():
    ends = {1337: (0.5, 2.0), 1338: (0.0, 3.0), 1339: (0.125, 1.0)}
    runs = [
        {
            "residual_scale": weight,
            "n_layer": 2,
            "seed": seed,
            "probed": [{"step": 9, "gradient": [low, 9, high]}],
        }
        for seed, (low, high) in ends.items()
        for weight in (0.5, 1.0)
    ]
    for run in runs:
        if run["residual_scale"] == 1.0:
            run["probed"] = [{"step": 9, "gradient": [1.0, 1.0]}]
    made = TABLES["dial"].make({"command": "a", "date": "b", "machine": "c", "runs": runs})
    assert [line for line in made.splitlines() if line.startswith("| ")][2:] == [
        "| 1 | 1e+00 |",
        "| 0.5 | 0 to 2e-01 |",
    ]
    assert "after 9 updates; the smallest and the largest of 3 seeds" in made
