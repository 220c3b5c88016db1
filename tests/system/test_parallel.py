"""The strategies: what one process does, two ranks do, whether each has the whole model or a part of it."""
# ruff: noqa: F811  (fixtures are imported)

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import update
from pair import NEED_GLOO, pair  # noqa: F401

from reslab.data.dataset import open_dataset
from reslab.system import distributed
from reslab.system.parallel import make_strategy
from reslab.training.context import RunContext
from reslab.training.state import restore, save
from reslab.training.step import Diverged, make_state


def weights(strategy, state) -> list[torch.Tensor]:
    """The whole model's, copied; none on a rank that has no whole model."""
    with strategy.full_model(state.model) as model:
        return [p.detach().cpu().clone() for p in model.parameters()] if model else []


def two_steps(config) -> dict:
    """What the contract of a strategy promises, seen from one rank; a failed promise raises."""
    dist = distributed.from_torchrun_env()
    with (
        distributed.process_group(dist, "cpu") as dist,
        closing(make_strategy(config.shard, "cpu", dist)) as strategy,
    ):
        dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
        state = make_state(config, dataset.vocab_size, strategy)
        metrics = [update(state, config, dataset, strategy) for _ in range(2)]
        assert state.step == 2 and all(p.grad is None for p in state.model.parameters())
        learned = weights(strategy, state)
        save(state, RunContext(config, dataset, strategy), best=False)
        dist.barrier()
        fresh = make_state(replace(config, seed=config.seed + 1), dataset.vocab_size, strategy)
        restore(fresh, Path(config.out_dir) / "checkpoint" / "last", dataset, strategy)
        assert fresh.step == 2 and all(map(torch.equal, weights(strategy, fresh), learned))
        third = update(fresh, config, dataset, strategy)
        with torch.no_grad():
            fresh.model.ln_f.weight.fill_(math.nan)
        with pytest.raises(Diverged):
            update(fresh, config, dataset, strategy)
        assert fresh.step == 3
        rows = strategy.batch_slice(config.batch_size, config.gradient_accumulation_steps)
        return {
            "strategy": type(strategy).__name__,
            "metrics": [*metrics, third],
            "rows": list(range(config.batch_size * config.gradient_accumulation_steps))[rows],
            "weights": [p.tolist() for p in learned],
        }


@pytest.fixture
def config(train_config):
    return train_config(dtype="float64", gradient_accumulation_steps=3, batch_size=4)


def test_one_process_keeps_the_contract(config):
    answer = two_steps(config)
    assert answer["strategy"] == "Single" and answer["rows"] == list(range(12))


@pytest.mark.slow
@NEED_GLOO[1]
@pytest.mark.parametrize(("shard", "name"), [("none", "DDP"), ("fsdp", "FSDP")])
def test_two_ranks_keep_it_and_compute_the_same(config, pair, tmp_path, shard, name):
    one = two_steps(config)
    answers = pair(two_steps, replace(config, shard=shard, out_dir=str(tmp_path / shard)))
    for answer in answers:
        assert isinstance(answer, dict), answer
        assert answer["strategy"] == name
        for ours, theirs in zip(one["metrics"], answer["metrics"], strict=True):
            assert theirs == pytest.approx(ours, rel=1e-10)
    assert answers[0]["rows"] + answers[1]["rows"] == one["rows"]
    for ours, theirs in zip(one["weights"], answers[0]["weights"], strict=True):
        assert torch.allclose(torch.tensor(ours), torch.tensor(theirs), rtol=1e-8, atol=1e-10)
