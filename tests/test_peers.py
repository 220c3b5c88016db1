"""The sides that bench.py sets beside ours do the work that they say, and a noisy pair is not judged."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.peers import Limit, Transformers
from benchmarks.turns import Bench, ratios

SHAPE = {"n_layer": 2, "n_head": 2, "n_embd": 16, "block_size": 16, "batch_size": 3}


@pytest.fixture
def settings(train_config):
    return SHAPE | {"dataset": train_config().dataset}


def test_the_limit_is_the_arithmetic_of_a_step_and_all_weights(settings):
    limit = Limit()
    facts = limit.build(settings)
    with FlopCounterMode(display=False) as counted:
        limit.step()
    assert counted.get_total_flops() == facts["flops_per_token"] * 3 * 16
    assert limit.bits.numel() == sum(w.numel() for w in limit.weights)  # float32 at this width
    limit.sample(1, 2)


def test_transformers_learns_and_writes_as_much(settings):
    pytest.importorskip("transformers")
    theirs = Transformers()
    facts = theirs.build(settings | {"bias": True, "learning_rate": 1e-2})
    assert facts["parameters"] == theirs.state.model.count_parameters()  # one shape
    before = theirs.model.transformer.wte.weight.clone()
    theirs.step()
    assert theirs.state.step == 1 and not torch.equal(theirs.model.transformer.wte.weight, before)
    seen = []
    theirs.model.transformer.register_forward_hook(lambda *call: seen.append(call))
    theirs.sample(2, 5)
    assert len(seen) == 5  # one pass a token


def test_pairs_that_disagree_are_not_judged():
    """One turn may go astray; half of them may not."""
    steady, torn = [2.0] * 7 + [9.0], [2.0, 3.0] * 4
    result = ratios({"ours": [1.0] * 8, "steady": steady, "torn": torn})
    assert not result["ours against steady"]["noisy"] and result["ours against torn"]["noisy"]
    table = Bench(None, quick=True, gpu=False).table({"ratios": result})
    assert "2.00x" in table.splitlines()[0] and "too noisy to judge" in table.splitlines()[1]
