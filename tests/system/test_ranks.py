"""What each rank takes and is called, without starting any."""

import os
from types import SimpleNamespace
from unittest import mock

import pytest
import torch

from reslab.run.launch import ReportedByRank0, rank0_output
from reslab.system import distributed, parallel
from reslab.system.distributed import DistContext
from reslab.system.fsdp import apply_fsdp
from reslab.system.parallel import DDP, FSDP, Single, make_strategy
from reslab.training import start
from reslab.training.loop import train

LAUNCHED = {"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}


@pytest.fixture
def environment(monkeypatch):
    """Sets what torchrun would, and nothing else of it."""

    def become(**values):
        for name in [*os.environ]:
            if name in LAUNCHED or name.startswith(("TORCHELASTIC", "LOCAL_", "GROUP_", "TORCH_DISABLE")):
                monkeypatch.delenv(name)
        for name, value in values.items():
            monkeypatch.setenv(name, value)

    return become


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("count", [1, 2, 7, 8, 9])
def test_ranks_share_things_evenly_and_each_is_taken_once(world, count):
    """As many on each, so that all take part in each exchange; numbers from count on are no things."""
    parts = [DistContext(rank, world).shard_indices(count).tolist() for rank in range(world)]
    assert len({len(part) for part in parts}) == 1
    together = sorted(number for part in parts for number in part)
    assert together[:count] == list(range(count)) and len(set(together)) == len(together)
    assert len(together) < count + world


@pytest.mark.parametrize(
    ("batch_size", "accumulation", "world", "expected"),
    [
        (12, 1, 1, (12, 1)),
        (12, 5, 1, (12, 5)),
        (12, 40, 8, (12, 5)),
        (12, 8, 8, (12, 1)),
        (12, 2, 8, (3, 1)),
        (8, 3, 2, (4, 3)),
        (16, 6, 4, (8, 3)),
        (1, 6, 4, None),
        (1, 1, 2, None),
    ],
)
def test_ranks_take_equal_parts_of_an_update(batch_size, accumulation, world, expected):
    """Fewer batches before smaller ones, which are slower."""
    if expected is None:
        with pytest.raises(ValueError, match=f"{world} ranks can't take equal parts"):
            distributed.split_batch(batch_size, accumulation, world)
        return
    size, rounds = distributed.split_batch(batch_size, accumulation, world)
    assert (size, rounds) == expected and size * rounds * world == batch_size * accumulation


def test_a_run_whose_batch_cannot_be_divided_is_refused_before_it_starts(train_config):
    config = train_config(batch_size=3, gradient_accumulation_steps=1)
    with pytest.raises(ValueError, match="batch_size=3: 2 ranks can't take equal parts"):
        start.check(config, DistContext(world_size=2))


@pytest.mark.parametrize(
    ("faults", "told"),
    [([None, None], None), (["x", None], "x"), ([None, "y"], "rank 1: y"), (["x", "y"], "x")],
)
def test_the_first_fault_of_any_rank_is_raised_on_all_and_printed_by_rank_0(monkeypatch, faults, told):
    monkeypatch.setattr(DistContext, "_gather", lambda self, value: faults)
    for rank, kind in enumerate((ValueError, ReportedByRank0)):
        ranks = DistContext(rank, len(faults))
        if told is None:
            assert ranks.raise_together(lambda: 7) == 7
            continue
        with pytest.raises(ValueError) as raised:
            ranks.raise_together(lambda: 7)
        assert type(raised.value) is kind and str(raised.value) == told


def test_a_model_with_scalars_is_not_sharded():
    model = torch.nn.Module()
    model.gain = torch.nn.Parameter(torch.tensor(1.0))
    with pytest.raises(ValueError, match="shard=fsdp: gain of this wiring is a scalar"):
        apply_fsdp(model, "cpu")


def test_torchrun_says_who_this_is(environment):
    environment()
    assert distributed.from_torchrun_env() == DistContext(0, 1, 0, 0) and not distributed.under_torchrun()
    environment(**LAUNCHED, TORCHELASTIC_RESTART_COUNT="2", TORCHELASTIC_MAX_RESTARTS="3")
    assert distributed.from_torchrun_env() == DistContext(rank=5, world_size=8, local_rank=1, restarts=2)
    assert not distributed.from_torchrun_env().is_main and DistContext(rank=0, local_rank=3).is_main
    for missing in LAUNCHED:  # some schedulers set a few of them
        environment(**{name: value for name, value in LAUNCHED.items() if name != missing})
        assert not distributed.under_torchrun() and distributed.from_torchrun_env() == DistContext()


def test_each_rank_has_the_gpu_of_its_number_on_its_machine(environment, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    environment(**LAUNCHED, LOCAL_WORLD_SIZE="4")
    dist = distributed.from_torchrun_env()
    assert distributed.local_device("cuda", dist) == "cuda:1"
    assert distributed.local_device("cpu", dist) == "cpu"
    assert distributed.local_device("cuda:3", DistContext()) == "cuda:3"
    for name in ("cuda:0", "mps"):
        with pytest.raises(ValueError, match=rf"device={name}: several ranks train on cuda"):
            distributed.local_device(name, dist)
    environment(**LAUNCHED, LOCAL_WORLD_SIZE="5")
    with pytest.raises(ValueError, match=r"device=cuda: 4 GPUs on this machine for 5 ranks"):
        distributed.local_device("cuda", dist)


def test_what_torchrun_can_not_restart_is_refused(environment):
    restarts = {"TORCHELASTIC_MAX_RESTARTS": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    environment(**LAUNCHED, **restarts, GROUP_WORLD_SIZE="2")
    with pytest.raises(ValueError, match=r"--max_restarts on several machines"):
        distributed.check_launch("none")
    for change in (
        {"GROUP_WORLD_SIZE": "1"},
        {"TORCHELASTIC_MAX_RESTARTS": "0"},
        {"TORCHELASTIC_USE_AGENT_STORE": "False"},
    ):
        environment(**LAUNCHED | restarts | {"GROUP_WORLD_SIZE": "2"} | change)
        distributed.check_launch("fsdp")
    environment()
    distributed.check_launch("none")
    with pytest.raises(ValueError, match="shard=fsdp: start it with torchrun"):
        distributed.check_launch("fsdp")


def test_one_process_alone_gives_back_what_it_was_given():
    dist = DistContext()
    assert dist.all_reduce_sum(torch.tensor(3.0)) == 3 and dist.all_reduce_max(130) == 130
    assert (
        dist.raise_together(lambda: 7)
        == dist.broadcast_from_rank0(lambda: 7)
        == dist.once_per_machine(lambda: 7)
        == 7
    )
    with pytest.raises(ValueError, match="mine") as caught:
        dist.broadcast_from_rank0(lambda: (_ for _ in ()).throw(ValueError("mine")))
    assert type(caught.value) is ValueError
    assert type(make_strategy("none", "cpu", dist)) is Single
    assert type(make_strategy("fsdp", "cpu", dist)) is FSDP
    assert dist.command() == ["python"]


def test_ddp_computes_where_the_model_is(monkeypatch):
    """With --device=cuda:1 the only rank is number 0, and that is no number of its GPU."""
    told = {}
    monkeypatch.setattr(parallel, "DistributedDataParallel", lambda module, **settings: told.update(settings))
    monkeypatch.setattr(parallel, "compile_model", lambda *args: None)
    DDP("cuda:1", DistContext(initialized=True)).wrap(mock.Mock(), "False")
    assert told and not told.get("device_ids")


def test_of_several_ranks_losses_are_summed_and_the_largest_signal_counts(monkeypatch):
    def others(tensor, op=distributed.dist.ReduceOp.SUM):
        tensor.copy_(tensor + 10 if op == distributed.dist.ReduceOp.SUM else max(tensor.item(), 15))

    monkeypatch.setattr(distributed.dist, "all_reduce", others)
    ranks = DistContext(world_size=2, initialized=True)
    assert ranks.all_reduce_sum(torch.tensor(3.0)) == 13
    assert ranks.all_reduce_max(0) == 15 and ranks.all_reduce_max(130) == 130


def test_files_are_prepared_once_on_each_machine():
    """The first rank of a machine runs the job before the others do."""
    for local_rank in (0, 1):
        calls = []

        def raise_together(job, calls=calls):
            calls.append("all")
            return job()

        dist = SimpleNamespace(local_rank=local_rank, raise_together=raise_together)
        assert DistContext.once_per_machine(dist, lambda calls=calls: calls.append("job") or 5) == 5
        assert calls == (["all", "job", "all"] if local_rank == 0 else ["all", "all", "job"])


def test_the_command_names_the_launcher(monkeypatch):
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert DistContext(world_size=4, initialized=True).command() == ["torchrun", "--nproc_per_node=4"]
    assert DistContext(world_size=8, initialized=True).command() == ["torchrun", "..."]


def test_of_several_one_is_heard(capsys):
    with rank0_output(True):
        print("one")
    with rank0_output(False):
        print("another")
    assert capsys.readouterr().out == "one\n"
    for prints, kind in ((True, ValueError), (False, ReportedByRank0)):
        with pytest.raises(ValueError, match="a fault") as caught, rank0_output(prints):
            raise ValueError("a fault")
        assert type(caught.value) is kind


def test_what_cant_be_cut_is_refused(train_config):
    with pytest.raises(ValueError, match="shard=fsdp: start it with torchrun"):
        train(train_config(shard="fsdp"))
    (fault,) = train_config(shard="fsdp", optimizer="muon").faults()
    assert "muon needs whole matrices" in fault
