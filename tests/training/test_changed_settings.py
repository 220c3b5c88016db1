"""Which settings a resumed run may change, and what it says of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import rows

from reslab.run.fields import flat, settings
from reslab.run.log import check_run_dir, read_run, write_config
from reslab.run.settings import TrainConfig
from reslab.training import rundir
from reslab.training.loop import train

MAY_CHANGE = {"max_iters": 4, "learning_rate": 1e-4, "min_lr": 1e-5, "schedule": "linear", "warmup_iters": 1}
MAY_CHANGE |= {"eval_interval": 2, "log_interval": 2, "probes": False, "dtype": "bfloat16"}
MAY_CHANGE |= {"muon_lr": 0.1, "sample_tokens": 3, "activation_checkpointing": True}
MAY_NOT = {"dropout": 0.5, "weight_decay": 0.5, "beta1": 0.5, "beta2": 0.5, "adam_eps": 0.5, "grad_clip": 0.5}
MAY_NOT |= {"seed": 3, "batch_size": 2, "gradient_accumulation_steps": 3, "optimizer": "sgd", "n_embd": 32}
MAY_NOT |= {"block_size": 8, "eval_sequences": 3, "norm_eps": 1e-3, "init": "orthogonal"}


def test_a_resumed_run_changes_only_what_leaves_it_the_same_experiment(train_config):
    """And is told of everything else at once, with both values."""
    train(train_config(max_iters=3, warmup_iters=0))
    with pytest.raises(ValueError) as told:
        train(train_config(**{"max_iters": 3, "resume": True} | MAY_NOT))
    assert {line.split("=")[0] for line in str(told.value).splitlines()} == MAY_NOT.keys()
    again = train_config(resume=True, **MAY_CHANGE)
    assert train(again) == 0
    (changed,) = [row["changed"] for row in rows(again) if "changed" in row]
    assert {key: now for key, (_, now) in changed.items()} == MAY_CHANGE


FREE = {
    *MAY_CHANGE,
    "block_lr",
    "compile",
    "cuda_graph",
    "device",
    "dataset",
    "end_note",
    "keep",
    "kernels",
    "log",
}
FREE |= {"out_dir", "overwrite", "print_config", "profile", "resume"}


def other_value(setting, value):
    """Another value of a setting's type."""
    if setting.choices:
        return next(choice for choice in setting.choices if choice != value)
    if setting.kind is bool:
        return not value
    return value / 2 + 1 if setting.kind is float else value + 1 if setting.kind is int else f"{value}x"


def test_of_each_setting_it_is_known_whether_a_resumed_run_may_change_it(train_config, tmp_path):
    config = train_config()
    write_config(tmp_path / "run", flat(config), {})
    refused = set()
    for key, setting in settings(TrainConfig).items():
        changed = flat(config) | {key: other_value(setting, flat(config)[key])}
        assert changed != flat(config), key
        try:
            check_run_dir(tmp_path / "run", changed, True, False, rundir.FREE_ON_RESUME)
        except ValueError as error:
            refused.add(str(error).partition("=")[0])
    assert refused == settings(TrainConfig).keys() - FREE


def test_a_resumed_run_may_find_its_data_elsewhere(train_config, dataset_folder, tmp_path, capsys):
    """And one that is done says so and writes nothing."""
    config = train_config(max_iters=2)
    train(config)
    moved = replace(config, dataset=str(shutil.copytree(dataset_folder, tmp_path / "moved")), resume=True)
    longer = replace(moved, optim=replace(config.optim, max_iters=3))
    assert train(longer) == 0 and read_run(Path(config.out_dir)).last("step") == 3
    log = Path(config.out_dir) / "metrics.jsonl"
    before, _ = log.read_bytes(), capsys.readouterr()
    assert train(longer) == 0 and log.read_bytes() == before
    (line,) = capsys.readouterr().out.splitlines()
    assert line == f"{config.out_dir}: finished already. {read_run(Path(config.out_dir)).last('diagnosis')}"
