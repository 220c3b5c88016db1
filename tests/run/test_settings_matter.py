"""No setting is ignored: each changes what a run of two updates computes, logs or writes, or says why not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import rows

from reslab.data.corpus import write_dataset
from reslab.run.fields import flat
from reslab.run.fields import settings as settings_of
from reslab.run.settings import TrainConfig
from reslab.training.loop import train

BASE = {"max_iters": 3, "eval_interval": 2, "warmup_iters": 1, "eval_sequences": 4, "sample_tokens": 0}

# Setting -> another value, and what has to be set in both runs for it to matter.
MATTERS = {
    "block_size": (12, {}),
    "vocab_size": (500, {}),
    "n_layer": (3, {}),
    "n_head": (4, {}),
    "n_embd": (32, {}),
    "dropout": (0.3, {}),
    "bias": (False, {}),
    "norm": ("rmsnorm", {}),
    "mlp": ("relu2", {}),
    "pos": ("rope", {}),
    "qk_norm": (True, {}),
    "n_kv_head": (1, {}),
    "head_dim": (4, {}),
    "n_inner": (20, {}),
    "qkv_bias": (True, {"bias": False}),
    "rope_theta": (100.0, {"pos": "rope"}),
    "tie_weights": (False, {}),
    "residual": ("none", {}),
    "attn_residual": ("none", {}),
    "mlp_residual": ("none", {}),
    "residual_scale": (0.9, {"residual": "scaled"}),
    "skip_blocks": ("first:1", {"residual": "partial_skips"}),
    "init": ("orthogonal", {}),
    "init_qk_scale": (1.0, {"init": "self"}),
    "norm_eps": (1e-2, {}),
    "optimizer": ("sgd", {}),
    "max_iters": (2, {}),
    "learning_rate": (2e-3, {}),
    "block_lr": (2e-3, {}),
    "muon_lr": (0.05, {"optimizer": "muon"}),
    "min_lr": (5e-4, {}),
    "schedule": ("linear", {}),
    "warmup_iters": (2, {}),
    "weight_decay": (0.9, {}),
    "beta1": (0.5, {}),
    "beta2": (0.5, {}),
    "adam_eps": (1e-2, {}),
    "grad_clip": (0.01, {}),
    "dataset": ("another", {}),
    "init_from": ("a run", {}),
    "grow_at": ("middle", {"init_from": "a run", "n_layer": 4}),
    "batch_size": (3, {}),
    "gradient_accumulation_steps": (2, {}),
    "eval_interval": (1, {}),
    "eval_sequences": (3, {}),
    "log_interval": (2, {"probes": False}),
    "probes": (False, {}),
    "probe_sequences": (3, {}),
    "sample_tokens": (9, {}),
    "seed": (1, {}),
    "dtype": ("bfloat16", {}),
}
ELSEWHERE = {
    "out_dir": "where everything is written",
    "resume": "test_resume.py",
    "overwrite": "test_train.py",
    "print_config": "test_cli.py",
    "keep": "test_reprobe.py",
    "end_note": "test_cli.py",
    "log": "test_trackers.py",
    "device": "only the CPU is on every machine; test_device.py",
    "compile": "changes no number; test_step.py",
    "cuda_graph": "changes no number, and nothing on a CPU; test_cuda.py",
    "kernels": "test_device.py; where torch's are the fastest, they are taken anyway",
    "activation_checkpointing": "changes no number; test_step.py",
    "shard": "needs several processes; test_distributed.py",
    "profile": "writes a trace after eight updates; test_profiling.py",
}


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("another")
    write_dataset(folder, lambda: ["another text, and then more of it.\n" * 99], "char", "other", quiet=True)
    return folder


def what_it_did(config, folder: Path) -> dict:
    """All that a run leaves, without the settings themselves and the clock."""
    assert train(replace(config, out_dir=str(folder))) == 0
    written = rows(replace(config, out_dir=str(folder)))
    for row in written:  # a diagnosis quotes numbers that are compared anyway
        row.pop("diagnosis", None)
    weights = folder / "checkpoint" / "last" / "model.safetensors"
    return {"rows": written, "weights": weights.read_bytes()}


def test_every_setting_is_in_one_of_the_lists():
    assert MATTERS.keys() | ELSEWHERE.keys() == settings_of(TrainConfig).keys()
    assert not MATTERS.keys() & ELSEWHERE.keys()


@pytest.fixture(scope="module")
def known() -> dict:
    """What runs did, by their settings: most settings are compared with the same run."""
    return {}


@pytest.mark.parametrize("setting", MATTERS)
def test_a_setting_changes_what_a_run_does(setting, train_config, other_folder, tmp_path, known):
    value, needs = MATTERS[setting]
    settings = BASE | needs
    if "a run" in (value, needs.get("init_from")):
        train(train_config(**BASE, out_dir=str(tmp_path / "first"), seed=5))
        needs = {key: str(tmp_path / "first") if word == "a run" else word for key, word in needs.items()}
        settings, value = BASE | needs, str(tmp_path / "first") if value == "a run" else value
    if setting == "dataset":
        value = str(other_folder)
    one = train_config(**settings)
    other = train_config(**settings | {setting: value})
    assert flat(one)[setting] != flat(other)[setting]
    if str(settings) not in known:
        known[str(settings)] = what_it_did(one, tmp_path / "one")
    left, right = known[str(settings)], what_it_did(other, tmp_path / "other")
    assert json.dumps(left["rows"]) != json.dumps(right["rows"]) or left["weights"] != right["weights"]


def test_what_the_probes_read_is_train_and_what_evaluations_read_is_both(train_config, monkeypatch):
    from reslab.data.dataset import TokenDataset

    real, read = TokenDataset.sequences, []

    def watched(self, split, starts):
        read.append((split, tuple(starts)))
        return real(self, split, starts)

    config = train_config(**BASE | {"eval_sequences": 5, "probe_sequences": 3})
    monkeypatch.setattr(TokenDataset, "sequences", watched)
    train(config)
    dataset = TokenDataset(Path(config.dataset), config.model.block_size, config.seed)
    probed = [("train", tuple(dataset.eval_starts("train", 3)))]
    drawn = [("train", tuple(dataset.starts("train", step, 4))) for step in range(3)]
    evaluated = [
        (split, tuple(part))
        for split in ("train", "val")
        for part in (dataset.eval_starts(split, 5)[:4], dataset.eval_starts(split, 5)[4:])
    ]
    assert set(read) == {*probed, *drawn, *evaluated}
    assert read[:5] == evaluated + probed
