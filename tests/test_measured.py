"""Experiments with a measure.py of their own: what is predicted, frozen, taken out and written."""

import json
import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from conftest import tiny_model

from experiments import measured
from experiments.theory.measure import predicted_stream, predicted_tokens, token_cosine, uniform_attention
from experiments.worth import measure as worth
from reslab.run.log import git_commit


def test_uniform_attention_averages_over_what_it_may_see():
    expected = torch.tensor([[6, 0, 0], [3, 3, 0], [2, 2, 2]], dtype=torch.float64) / 6
    assert torch.allclose(uniform_attention(3), expected)


def test_the_prediction_of_tokens_is_what_independent_ones_become():
    """Behind k products, of many draws: tokens X before, and for the gradient G behind."""
    T, A, predicted = 6, uniform_attention(6), predicted_tokens(6, 3)
    X = torch.randn(T, 200_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    G = X.flip(0)
    for k in range(4):
        diversity = (X - X.mean(dim=0)).norm() / X.norm()
        assert predicted["token_diversity"][k] == pytest.approx(diversity.item(), rel=5e-3)
        share = G[0].square().sum() / G.square().sum()
        assert predicted["position0_share"][k] == pytest.approx(share.item(), rel=1e-2)
        X, G = A @ X, A.T @ G


def test_the_prediction_of_the_stream_is_a_sum_of_variances_of_random_branches():
    """V and O over averaged tokens, W1, GELU and W2, as matrices of std 0.02 give them."""
    C, T, g = 96, 8, torch.Generator().manual_seed(1)

    def matrix(rows, columns):
        return 0.02 * torch.randn(rows, columns, generator=g, dtype=torch.float64)

    added = 0.0
    for _ in range(40):
        x = torch.randn(T, C, generator=g, dtype=torch.float64)
        attention = uniform_attention(T) @ x @ matrix(C, C) @ matrix(C, C)
        mlp = torch.nn.functional.gelu(x @ matrix(C, 4 * C)) @ matrix(4 * C, C)
        added += (attention.square().mean() + mlp.square().mean()).item() / 40
    first, second, third = (value**2 for value in predicted_stream(C, T, 2))
    assert first == pytest.approx(2 * 0.02**2)
    assert second - first == pytest.approx(added, rel=0.1) and third - second == pytest.approx(second - first)


def test_the_cosine_of_tokens_is_a_mean_over_pairs_whatever_their_lengths():
    apart, alike, opposite = [[1.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [4.0, 4.0]], [[0.0, 2.0], [0.0, -5.0]]
    for tokens, cosine in ((apart, 0.0), (alike, 1.0), (opposite, -1.0)):
        assert token_cosine(torch.tensor([tokens])) == pytest.approx(cosine)
    assert token_cosine(torch.tensor([alike, apart])) == pytest.approx(0.5)  # never across two sequences
    assert token_cosine(torch.tensor([[*alike, [2.0, 0.0]]])) == pytest.approx((1 + 2 * 0.5**0.5) / 3)


def test_of_a_frozen_stack_one_block_learns_beside_embeddings_and_head():
    model = tiny_model()
    for learns, expected in (("no block", []), (1, [1]), ("all", [0, 1, 2])):
        worth.freeze(model, learns)
        taught = [
            k for k, block in enumerate(model.blocks) if all(p.requires_grad for p in block.parameters())
        ]
        assert taught == expected and model.wte.weight.requires_grad and model.ln_f.weight.requires_grad
        frozen = [
            k for k, block in enumerate(model.blocks) if not any(p.requires_grad for p in block.parameters())
        ]
        assert sorted(taught + frozen) == [0, 1, 2]


def test_blocks_are_taken_out_as_long_as_all_of_them_together_cost_little():
    costs = {0: 0.5, 1: 0.004, 2: 0.003, 3: 0.005}
    assert worth.blocks_needed(lambda gone: sum(costs[k] for k in gone), 4, allowed=0.01) == [0, 3]
    assert worth.blocks_needed(lambda gone: 0.0, 4, allowed=0.01) == []
    redundant = {frozenset({1}): 0.0, frozenset({2}): 0.001}  # either may go, not both
    assert worth.blocks_needed(
        lambda gone: redundant.get(frozenset(gone), 1.0 if gone else 0.0), 3, 0.01
    ) == [0, 2]


def test_an_arm_has_the_rate_at_which_all_its_blocks_end_lowest_on_the_training_data():
    losses = {("pre", 0.5): (2.0, 3.0), ("pre", 0.1): (2.25, 2.5), ("pre", 0.9): (1.0, None)}
    losses |= {("none", 0.5): (3.0, 3.0), ("none", 0.1): (3.5, 3.5)}
    runs = [
        {"arm": arm, "muon_lr": rate, "train/loss": loss, "val/loss": -loss if loss else None}
        for (arm, rate), seeds in losses.items()
        for loss in seeds
    ]
    assert worth.chosen(runs) == {"pre": 0.1, "none": 0.5}


def test_what_was_measured_is_json_with_its_origin_and_a_line_for_each_run():
    text = measured.text("experiments.made", [{"seed": 1}, {"seed": 2}], predicted=[1.5])
    found = json.loads(text)
    assert found["command"] == "python -m experiments.made" and found["runs"] == [{"seed": 1}, {"seed": 2}]
    assert found["predicted"] == [1.5] and found["date"].startswith("20")
    assert found["commit"] == [git_commit()] and f"torch {torch.__version__}" in found["machine"]
    assert sum('"seed"' in line for line in text.splitlines()) == 2


def times_two(cell):
    return {"run": f"{cell[0]}", "twice": 2 * cell[0]}


def fails_at_two(cell):
    if cell[0] == 2:
        raise ValueError("two")
    return times_two(cell)


def waits(cell):
    time.sleep(60)


CELLS = [(3,), (1,), (2,)]


def test_cells_are_measured_and_told_and_come_back_in_their_order(tmp_path, capsys):
    assert measured.at_once(times_two, CELLS, 2, tmp_path / "r.json") == [times_two(cell) for cell in CELLS]
    lines = capsys.readouterr().out.splitlines()
    assert [line[:5] for line in lines] == ["[1/3]", "[2/3]", "[3/3]"]
    assert sorted(line.split()[1] for line in lines) == ["1,", "2,", "3,"]


def test_what_is_done_is_kept_until_the_result_is_written(tmp_path, capsys, monkeypatch):
    output = tmp_path / "r.json"
    with pytest.raises(ValueError, match="two"):
        measured.at_once(fails_at_two, CELLS, 1, output)
    assert not output.exists()
    capsys.readouterr()
    runs = measured.at_once(times_two, CELLS, 1, output)
    assert runs == [times_two(cell) for cell in CELLS]
    assert capsys.readouterr().out.splitlines()[0] == "2 of 3 are there"
    with monkeypatch.context() as patch:  # other code: nothing of it counts
        patch.setattr(measured, "_code", lambda: "another")
        with pytest.raises(ValueError, match="two"):
            measured.at_once(fails_at_two, [(2,), (3,)], 1, output)
    (tmp_path / "r.json.part").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert measured.at_once(times_two, CELLS, 1, output) == runs
    told = capsys.readouterr()
    assert "of other code" in told.err and told.out.startswith("[1/3] ")
    assert measured.at_once(times_two, CELLS[:1], 1, output) == runs[:1]  # of three that are kept
    measured.write(output, "experiments.made", runs)
    assert json.loads(output.read_text(encoding="utf-8"))["runs"] == runs
    assert [path.name for path in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_those_that_measure(number, tmp_path):
    timer = threading.Timer(1, os.kill, (os.getpid(), number))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        measured.at_once(waits, [(k,) for k in range(4)], 2, tmp_path / "r.json")
    assert not multiprocessing.active_children() and time.monotonic() - began < 50
