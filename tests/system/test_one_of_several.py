"""What only several ranks do, seen from one process: it is a rank that is not the first, hears of a stop
from another, is started again by torchrun, or shares a model with nobody but itself."""

import math
from collections.abc import Callable
from contextlib import closing, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import power_cut_at, rows, update

from reslab.data.dataset import open_dataset
from reslab.nn.loss import token_losses
from reslab.run import checkpoint
from reslab.system import distributed
from reslab.system.distributed import DistContext
from reslab.system.parallel import DDP, FSDP, Single
from reslab.training import measure, start
from reslab.training.context import RunContext
from reslab.training.evaluate import evaluate
from reslab.training.loop import train
from reslab.training.state import load_initial_state, restore, save
from reslab.training.step import make_state, next_batch, train_step

NEEDS_GLOO = pytest.mark.skipif(
    not (torch.distributed.is_available() and torch.distributed.is_gloo_available()),
    reason="this build of torch has no gloo, which connects CPUs",
)


@pytest.fixture
def become(monkeypatch) -> Callable[[DistContext], None]:
    """train() takes this process for one of several, to which it is not connected."""

    def become(dist: DistContext) -> None:
        monkeypatch.setattr(distributed, "from_torchrun_env", lambda: dist)
        monkeypatch.setattr(distributed, "under_torchrun", lambda: True)
        monkeypatch.setattr(distributed, "process_group", lambda dist, device: nullcontext(dist))
        monkeypatch.setattr(start, "make_strategy", lambda shard, device, dist: Single(device, dist))

    return become


class Counted:
    """A step function that keeps the steps that it makes."""

    def __init__(self):
        self.steps = []

    def __call__(self, state, *rest):
        self.steps.append(state.step)
        return train_step(state, *rest)


def test_a_rank_that_is_not_the_first_trains_and_writes_nothing(train_config, become, capsys):
    config = train_config(max_iters=9, profile=True, sample_tokens=4, keep="4", end_note="done")
    become(DistContext(rank=1, world_size=2))
    step = Counted()
    Path(config.out_dir).mkdir()  # by the first
    assert train(config, step) == 0 and step.steps == list(range(9))
    assert not [path for path in Path(config.out_dir).rglob("*") if path.is_file()]
    assert capsys.readouterr().out == ""


@dataclass(frozen=True)
class Stopping(DistContext):
    """Another rank has got SIGTERM before this one asks for the nth time."""

    asked: list = None
    at: int = 0

    def all_reduce_max(self, number: int) -> int:
        self.asked.append(number)
        return max(number, 15 if len(self.asked) > self.at else 0)


def test_a_stop_on_another_rank_is_heard_wherever_it_comes_and_loses_nothing(train_config, become, tmp_path):
    settings = {"max_iters": 2, "eval_interval": 2, "warmup_iters": 0, "probe_sequences": 1}
    settings |= {"eval_sequences": 4}
    whole = train_config(**settings)
    assert train(whole) == 0
    for at in range(40):
        parts, step = replace(whole, out_dir=str(tmp_path / str(at))), Counted()
        become(Stopping(asked=[], at=at))
        code = train(parts, step)
        if code == 0:
            break
        assert code == 143
        assert checkpoint.load_state(tmp_path / str(at) / "checkpoint" / "last")["step"] == len(step.steps)
        become(DistContext())
        assert train(replace(parts, resume=True), step) == 0 and step.steps == [0, 1]
        assert rows(parts) == rows(whole)
    assert at == 10  # in 2 evaluations of 2 splits, 3 probes and 2 updates, and where a state was saved


@dataclass(frozen=True)
class Summing(DistContext):
    """Keeps what it is asked to sum; the other ranks have the same."""

    kept: list = None

    def all_reduce_sum(self, tensor: torch.Tensor) -> torch.Tensor:
        self.kept.append(tensor.clone())
        return tensor * self.world_size


def test_the_loss_of_a_batch_is_the_mean_over_ranks_and_each_takes_its_part(train_config):
    config = train_config(batch_size=6, dtype="float64", eval_sequences=7)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    starts, losses, weights = [], {}, make_state(config, dataset.vocab_size).model.state_dict()
    for world in (1, 3):
        losses[world] = []
        for rank in range(world):
            strategy = Single(dist=Summing(rank, world, kept=[]))
            state = make_state(config, dataset.vocab_size, strategy)
            batch = next_batch(dataset, config, 0, strategy)
            starts.append(batch[0])
            expected = Single().loss(state.model, *batch).item()
            assert update(state, config, dataset, strategy)["batch/loss"] == pytest.approx(expected)
            state.model.load_state_dict(weights)
            strategy.dist.kept.clear()
            evaluate(state, config, dataset, strategy)
            losses[world].append(strategy.dist.kept)
    assert torch.equal(starts[0], torch.cat(starts[1:]))
    for number in range(2):  # of each split
        parts = torch.stack([kept[number] for kept in losses[3]])
        assert ((parts > 0).sum(dim=0) == 1).all(), "one rank measures a sequence, the others add zero"
        assert torch.allclose(parts.sum(dim=0), losses[1][0][number])


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_run_that_torchrun_starts_again_goes_on(train_config, become, tmp_path, overwrite):
    """Whatever its command says; where nothing was written yet it begins."""
    whole = train_config(max_iters=7, dropout=0.1)
    become(DistContext(restarts=2))
    assert train(whole) == 0
    parts, step = replace(whole, out_dir=str(tmp_path / "parts"), overwrite=overwrite), Counted()
    with pytest.raises(RuntimeError, match="power cut"):
        train(parts, power_cut_at(6))
    assert train(parts, step) == 0 and step.steps == [6]
    assert rows(parts) == rows(whole)
    assert train(parts, step) == 0 and step.steps == [6], "it is done"
    become(DistContext())
    if overwrite:
        assert train(parts, step) == 0 and step.steps == [6, *range(7)]
    else:
        with pytest.raises(ValueError, match="a run is there"):
            train(parts)


def test_a_run_that_diverged_is_not_tried_again_by_torchrun(train_config, become, capsys):
    config = train_config(learning_rate=1e38, grad_clip=0.0, warmup_iters=0, schedule="constant")
    become(DistContext(restarts=0))
    assert train(config) == 3
    step, calmer = Counted(), replace(config, optim=replace(config.optim, learning_rate=1e-3))
    become(DistContext(restarts=1))
    assert train(calmer, step) == 3 and step.steps == []
    become(DistContext(restarts=0))
    assert train(replace(calmer, resume=True), step) == 0 and step.steps, "who asks may try"


@pytest.fixture
def alone():
    """This process, connected to nobody."""
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield DistContext(initialized=True)
    torch.distributed.destroy_process_group()


def whole_weights(strategy, state) -> list[torch.Tensor]:
    with strategy.full_model(state.model) as model:
        return [parameter.detach().clone() for parameter in model.parameters()]


@NEEDS_GLOO
@pytest.mark.parametrize("kind", [DDP, FSDP])
def test_a_strategy_of_many_ranks_is_for_one_rank_what_one_process_is(train_config, alone, tmp_path, kind):
    """Updates, checkpoints that come back with the optimizer, weights from elsewhere, and the last model."""
    config = train_config(dtype="float64", gradient_accumulation_steps=2, dropout=0.1)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    one, plain = make_state(config, dataset.vocab_size), Single()
    expected = [update(one, config, dataset) for _ in range(3)]
    with closing(kind("cpu", alone)) as strategy:
        state = make_state(config, dataset.vocab_size, strategy)
        metrics = [update(state, config, dataset, strategy) for _ in range(2)]
        save(state, RunContext(config, dataset, strategy), best=False)
        other = make_state(replace(config, seed=9), dataset.vocab_size, strategy)
        restore(other, Path(config.out_dir) / "checkpoint" / "last", dataset, strategy)
        assert all(map(torch.equal, whole_weights(strategy, other), whole_weights(strategy, state)))
        metrics.append(update(other, config, dataset, strategy))
        for ours, theirs in zip(expected, metrics, strict=True):
            assert theirs == pytest.approx(ours, rel=1e-10)
        for ours, theirs in zip(whole_weights(plain, one), whole_weights(strategy, other), strict=True):
            assert torch.allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@NEEDS_GLOO
@pytest.mark.parametrize("kind", [Single, DDP, FSDP])
def test_weights_from_elsewhere_reach_every_strategy(train_config, alone, tmp_path, kind):
    first = train_config(max_iters=2, out_dir=str(tmp_path / "first"), warmup_iters=0)
    assert train(first) == 0
    config = train_config(init_from=str(tmp_path / "first"), seed=8)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    with closing(kind("cpu", alone)) as strategy:
        state = make_state(config, dataset.vocab_size, strategy)
        load_initial_state(state, RunContext(config, dataset, strategy), None)
        x, y = next_batch(dataset, config, 0)
        reference = make_state(first, dataset.vocab_size)
        restore(reference, tmp_path / "first" / "checkpoint" / "last", dataset)
        losses = [s.loss(t.model, x, y).item() for s, t in ((Single(), reference), (strategy, state))]
        assert losses[1] == pytest.approx(losses[0], rel=1e-6)
        for ours, theirs in zip(
            whole_weights(Single(), reference), whole_weights(strategy, state), strict=True
        ):
            assert torch.equal(ours, theirs)


@NEEDS_GLOO
def test_the_whole_copy_goes_to_the_gpu_only_where_something_is_computed(train_config, alone, monkeypatch):
    """Rank 0 has as much memory as the others. The texts and probes of a run need the copy there."""
    config = train_config(probe_sequences=1, sample_tokens=2)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    with closing(FSDP("cpu", alone)) as strategy:
        state, moved = make_state(config, dataset.vocab_size, strategy), []
        real = strategy.full_copy.to
        monkeypatch.setattr(strategy.full_copy, "to", lambda place: moved.append(place) or real(place))
        context = RunContext(config, dataset, strategy)
        save(state, context, best=False)
        before = measure.matrices_before(state, context)
        update(state, config, dataset, strategy)
        assert measure.update_ratio(state, context, before)["probe/update_ratio"][0] > 0
        assert not moved
        measure.sample_if_due(state, context, ends=True)
        assert moved == ["cpu", "cpu"]  # there and back


@NEEDS_GLOO
def test_gradients_are_exchanged_once_in_an_update(train_config, alone, monkeypatch):
    """After the last of its passes: what came before is added up on each rank."""
    config = train_config(gradient_accumulation_steps=3)
    dataset = open_dataset(config.dataset, config.model.block_size, config.seed)
    with closing(DDP("cpu", alone)) as strategy:
        state, exchanged, passes = make_state(config, dataset.vocab_size, strategy), [], []

        def hook(_, bucket):
            exchanged.append(len(passes))
            return torch.futures.collect_all([]).then(lambda _: bucket.buffer())

        strategy.ddp_loss.register_comm_hook(None, hook)
        monkeypatch.setattr(strategy, "loss", lambda *rest: passes.append(1) or strategy.ddp_loss(*rest[1:]))
        update(state, config, dataset, strategy)
        assert set(exchanged) == {3} and len(passes) == 3


@NEEDS_GLOO
def test_each_block_is_gathered_for_itself(alone):
    """Else a rank would hold the whole model while it computes."""
    from conftest import tiny_model
    from torch.distributed.fsdp import FSDPModule

    model = FSDP("cpu", alone).wrap(tiny_model(), "False")
    assert all(isinstance(part, FSDPModule) for part in (model, *model.blocks))
    idx = torch.randint(19, (2, 8))
    x = tiny_model().hidden_states(idx)
    losses = token_losses(tiny_model().ln_f(x), tiny_model().head_weight, idx)
    assert torch.allclose(model.token_losses(idx, idx), losses) and math.isfinite(losses.sum())
