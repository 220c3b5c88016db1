"""What is predicted of a stack's rate and depth with nothing fitted."""

import pytest
import torch
from test_depth_tables import arms_over_rates
from test_tables import made

from experiments.degradation.bound import bound, deepest, of_block
from reslab.nn.init import orthogonal


def test_the_bound_is_where_a_step_is_as_large_as_the_product_of_all_blocks():
    """Orthogonal V, O and W2 change by lr of themselves, W1, four times as tall, by 2 lr: 5 lr in a block. A
    product of two such matrices moves by the sum, to first order."""
    assert bound("start", 12) == pytest.approx(1 / 60) and bound("start", 24) == pytest.approx(1 / 120)
    assert bound("plain", 12) is None and bound("skips", 12) is None
    generator, rate = torch.Generator().manual_seed(0), 1e-4
    v, o, dv, do = (orthogonal(torch.randn(9, 9, generator=generator)) for _ in range(4))
    moved = torch.linalg.matrix_norm((o + rate * do) @ (v + rate * dv) - o @ v, 2).item()
    assert moved <= 2 * rate * (1 + rate)
    aligned = torch.linalg.matrix_norm((1 + rate) ** 2 * o @ v - o @ v, 2).item()
    assert aligned == pytest.approx(2 * rate, rel=1e-3)  # and is reached
    rows, _ = made("trainability", arms_over_rates())
    bounds = {row[0]: row[-1] for row in rows}
    assert bounds["without skips, init `self`"] == f"{1 / 20:.2g}" and bounds["with skips (`pre`)"] == ""
    assert 8 < of_block("attention-skip-only") < 10  # normal matrices, std 0.02, of 32 channels


def test_the_deepest_stack_is_the_last_whose_tokens_differ_by_a_hundredth():
    """By the powers of the uniform attention of 64 tokens, as experiments/theory has them."""
    attention = torch.ones(64, 64).tril() / torch.arange(1, 65)[:, None]

    def left(layers: int) -> float:
        power = torch.linalg.matrix_power(attention, layers)
        return ((power - power.mean(dim=0)).norm() / power.norm()).item()

    assert deepest("plain") == deepest("mlp-skip-only") and deepest("skips") is deepest("start") is None
    assert left(deepest("plain")) > 0.01 > left(deepest("plain") + 1)
    rows, _ = made("trainability", arms_over_rates())
    told = [(row[0], int(row[1]), row[-1]) for row in rows[1:] if "standard" in row[0] or "MLP" in row[0]]
    assert told and all(
        last == ("not excluded" if layers <= deepest("plain") else "never") for _, layers, last in told
    )
