"""What a run is given when it begins or goes on, and what it tells of itself."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import power_cut_at, rows

from reslab.residual import WIRINGS
from reslab.run.config import MachineError
from reslab.system.distributed import DistContext
from reslab.system.parallel import DDP, Single
from reslab.training import start
from reslab.training.context import RunContext
from reslab.training.loop import train
from reslab.training.step import train_step


def test_the_bar_and_the_rate_are_those_of_where_it_goes_on(train_config, monkeypatch):
    config = train_config(gradient_accumulation_steps=3, max_iters=6, probes=False)
    with pytest.raises(RuntimeError):
        train(config, power_cut_at(4))
    given = {}
    for name in ("Progress", "Throughput"):
        kind = getattr(start, name)
        monkeypatch.setattr(start, name, lambda *a, kind=kind, name=name: given.update({name: a}) or kind(*a))
    assert train(replace(config, resume=True)) == 0
    assert given == {"Progress": (6, 4, True), "Throughput": (4 * 3 * 16, None)}


def test_each_kind_of_sublayer_is_told_with_its_own_wiring(train_config):
    config = train_config(
        max_iters=1, warmup_iters=0, probes=False, attn_residual="post", mlp_residual="none"
    )
    train(config)
    told = json.loads((Path(config.out_dir) / "config.json").read_text(encoding="utf-8"))["wiring"]
    for kind, name in {"attn": "post", "mlp": "none"}.items():
        assert told[kind] == {
            key: getattr(WIRINGS[name], key) for key in ("equation", "skip", "has_identity", "version")
        }


def test_wirings_that_can_not_be_together_are_told_with_all_else_and_leave_nothing(train_config, tmp_path):
    settings = {"attn_residual": "hyper", "mlp_residual": "pre", "out_dir": str(tmp_path / "a" / "b")}
    with pytest.raises(ValueError, match="hyper"):
        train(train_config(**settings))
    with pytest.raises(ValueError) as told:
        train(train_config(**settings, dataset="nowhere"))
    assert ["hyper" in line for line in str(told.value).splitlines()] == [False, True]
    assert not (tmp_path / "a").exists()


def test_texts_come_at_a_handful_of_evaluations_and_only_where_they_are_asked_for(train_config):
    """0, 1, 2, 4, 8, ... evaluations, whatever the steps between them, and the last one."""
    for tokens, expected in ((3, [0, 3, 6, 12, 18]), (0, [])):
        settings = {"max_iters": 18, "eval_interval": 3, "eval_sequences": 1, "probes": False}
        config = train_config(**settings, sample_tokens=tokens, overwrite=not tokens)
        train(config)
        assert [row["step"] for row in rows(config) if "sample/text" in row] == expected


def test_a_full_memory_is_answered_by_a_smaller_batch_and_more_passes(train_config):
    def greedy(state, *rest):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(MachineError, match=r"--batch_size=2 --gradient_accumulation_steps=6\. "):
        train(train_config(batch_size=4, gradient_accumulation_steps=3), greedy)

    def broken(state, *rest):
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        train(train_config(out_dir=train_config().out_dir + "2"), broken)


@pytest.mark.parametrize(
    ("strategy", "changes", "told"),
    [
        (Single("cuda:1"), {}, True),
        (Single("cuda:1"), {"cuda_graph": False}, False),
        (DDP("cuda"), {}, False),
        (Single("cpu"), {}, False),
    ],
)
def test_a_full_gpu_is_told_that_recorded_updates_hold_more(train_config, strategy, changes, told):
    """Evaluations and probes need theirs beside it."""
    for note in (None, "--cuda_graph=False, as recording says it"):
        error = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
        if note:
            error.add_note(note)
        raises = pytest.raises(MachineError, match=f"^{strategy.device}: out of memory; ")
        with raises as caught, start._memory_advice(train_config(**changes), strategy):
            raise error
        assert str(caught.value).count("--cuda_graph=False") == (told or bool(note))


def test_the_command_to_go_on_is_that_of_the_run_and_its_launcher(train_config, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "config/a.py"])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    for overwrite, ranks, command in (
        (False, 1, "python train.py config/a.py --resume"),
        (True, 1, "python train.py config/a.py --overwrite=False --resume"),
        (False, 2, "torchrun --nproc_per_node=2 train.py config/a.py --resume"),
    ):
        dist = DistContext(world_size=ranks, initialized=ranks > 1)
        config = train_config(overwrite=overwrite)
        assert RunContext(config, None, Single("cpu", dist)).resume_command() == command


def test_what_a_resumed_run_keeps_elsewhere_is_no_change_of_the_experiment(train_config):
    config = train_config(max_iters=2, warmup_iters=0)
    train(config)
    places = {"end_note": "done", "keep": "7", "print_config": False, "profile": False}
    again = train_config(max_iters=3, warmup_iters=0, resume=True, **places)
    assert train(again, train_step) == 0
    assert [row["changed"] for row in rows(again) if "changed" in row] == [{"max_iters": [2, 3]}]
