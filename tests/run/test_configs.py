"""Config files: what their first lines claim, and what the results that they quote were made with."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT

from reslab.run.config import parse
from reslab.run.fields import flat
from reslab.run.settings import TrainConfig

PATHS = {path.stem: path for path in sorted((ROOT / "config").glob("*.py"))}


def settings(name: str) -> dict:
    return flat(parse(TrainConfig, [str(PATHS[name])], leave_out=("study",))[0])


def differences(one: str, other: str) -> set[str]:
    a, b = settings(one), settings(other)
    return {key for key in a if a[key] != b[key]}


@pytest.mark.parametrize("name", PATHS)
def test_every_config_asks_a_question_and_can_be_run(name):
    text = PATHS[name].read_text(encoding="utf-8")
    assert text.startswith("# Question: ")
    assert f"config/{name}.py" in text  # the command that runs it
    values = settings(name)
    assert values["out_dir"] == f"runs/{name}" and (ROOT / "data" / values["dataset"]).is_dir()
    if values["max_iters"]:
        assert 0 < values["eval_interval"] <= values["max_iters"]
        assert values["min_lr"] < values["learning_rate"] or values["schedule"] != "cosine"
        assert values["warmup_iters"] <= 0.25 * values["max_iters"]


@pytest.mark.parametrize("name", [n for n in PATHS if (ROOT / "experiments" / n / "result.json").exists()])
def test_the_results_of_a_config_have_its_depth_and_its_updates(name):
    runs = json.loads((ROOT / "experiments" / name / "result.json").read_text(encoding="utf-8"))["runs"]
    values, varied = settings(name), '"n_layer": ' in PATHS[name].read_text(encoding="utf-8")
    assert runs
    for run in runs:
        if (depth := re.search(r"-L(\d+)-s", run["run"])) and not (varied or run["run"].startswith("silent")):
            assert int(depth[1]) == values["n_layer"], run["run"]  # the control is the same at every depth
        assert run["step"] in (values["max_iters"], 10 * values["max_iters"]) or run["status"] == "diverged"


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("dose", set()),
        ("worth", {"n_layer", "eval_interval", "eval_sequences", "probe_sequences", "sample_tokens", "seed"}),
        ("causes", {"residual", "n_layer", "optimizer", "muon_lr", "eval_interval", "eval_sequences"}),
        ("ladder", set()),
        ("which_skip", set()),
        ("widths", set()),
        ("control", {"sample_tokens", "n_layer", "probes"}),
    ],
)
def test_a_recipe_that_is_called_that_of_degradation_is_that_one(name, others):
    assert "The recipe is that of config/degradation.py" in PATHS[name].read_text(encoding="utf-8")
    assert differences("degradation", name) <= {"out_dir", "probe_sequences", "seed", *others}


def test_the_pair_of_today_differs_from_the_deep_one_in_its_blocks_and_its_size_alone():
    blocks = {"norm", "mlp", "pos", "bias", "tie_weights", "n_kv_head"}
    size = {"out_dir", "n_layer", "max_iters", "warmup_iters", "eval_interval"}
    assert differences("deep", "deep_llama") == blocks | size
    llama = settings("deep_llama")
    assert {key: llama[key] for key in sorted(blocks)} == {
        "bias": False,
        "mlp": "swiglu",
        "n_kv_head": 1,
        "norm": "rmsnorm",
        "pos": "rope",
        "tie_weights": False,
    }


def test_a_grown_stack_has_the_shape_of_the_one_that_it_grows_from():
    shape = {"n_layer", "n_head", "n_embd", "block_size", "bias", "mlp", "norm", "pos", "dataset", "residual"}
    assert differences("grow", "laptop") & shape == {"n_layer", "pos"}  # its command gives --pos=rope
    assert settings("grow")["n_layer"] > settings("laptop")["n_layer"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # karpathy/nanoGPT: config/train_shakespeare_char.py, and its README's command for CPUs
        (
            "nanogpt_shakespeare_char",
            (6, 6, 384, 256, 0.2, 64, 5000),
        ),
        (
            "nanogpt_shakespeare_char_cpu",
            (4, 4, 128, 64, 0.0, 12, 2000),
        ),
    ],
)
def test_nanogpts_recipes_are_its_own(name, expected):
    values = settings(name)
    keys = ("n_layer", "n_head", "n_embd", "block_size", "dropout", "batch_size", "max_iters")
    assert tuple(values[key] for key in keys) == expected
    schedule = {"optimizer": "adamw", "learning_rate": 1e-3, "min_lr": 1e-4, "schedule": "cosine"}
    schedule |= {"warmup_iters": 100, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.99, "grad_clip": 1.0}
    schedule |= {"gradient_accumulation_steps": 1, "residual": "pre", "bias": False, "mlp": "gelu_erf"}
    assert {key: values[key] for key in schedule} == schedule


@pytest.mark.parametrize(("name", "rate"), [("shakespeare_char", 0.04), ("shakespeare_char_cpu", 0.02)])
def test_our_recipe_trains_nanogpts_model_in_fewer_updates(name, rate):
    """At the rate that was measured. Of the same size, on the same batches, read on the same sequences."""
    changed = {"optimizer", "muon_lr", "learning_rate", "schedule", "warmup_iters", "max_iters"}
    changed |= {"eval_interval", "out_dir"} | ({"pos"} if name.endswith("cpu") else set())
    assert differences(name, f"nanogpt_{name}") == changed
    assert settings(name)["max_iters"] <= settings(f"nanogpt_{name}")["max_iters"] / 4
    assert settings(name)["muon_lr"] == rate and settings(name)["optimizer"] == "muon"


@pytest.mark.parametrize("size", ["medium", "large", "xl"])
def test_gpt2s_are_evaluated_alike_and_not_changed(size):
    assert differences("eval_gpt2", f"eval_gpt2_{size}") == {"init_from", "out_dir", "batch_size"}
    assert settings(f"eval_gpt2_{size}")["init_from"] == f"gpt2-{size}"
    assert settings("eval_gpt2")["max_iters"] == 0 and settings("eval_gpt2")["init_from"] == "gpt2"


def test_fine_tuning_is_32_sequences_an_update_at_a_small_constant_rate():
    values = settings("finetune_shakespeare")
    assert values["batch_size"] * values["gradient_accumulation_steps"] == 32
    assert values["schedule"] == "constant" and values["learning_rate"] < 1e-4 and values["warmup_iters"] == 0
    assert values["dataset"] == settings("shakespeare")["dataset"] == settings("eval_gpt2")["dataset"]


@pytest.mark.parametrize("name", ["study", "study_gpu"])
def test_a_study_gives_both_arms_the_same_chances(name):
    """Where a grid has both arms, it has each value for both; depths go down to one layer and up."""
    names: dict = {}
    exec(Path(PATHS[name]).read_text(encoding="utf-8"), names)
    study, base = names["study"], settings(name)
    assert study["lr"]["residual"] == ["pre", "none"] == study["deep"]["residual"]
    rates = study["lr"]["learning_rate"]
    assert rates == sorted(rates) and rates[-1] / rates[0] >= 1000 and base["learning_rate"] in rates
    assert min(study["lr"]["n_layer"]) == 1 and max(study["deep"]["n_layer"]) == 2 * base["n_layer"]
    for grid in study.values():
        assert all(key in base for key in grid) and all(grid.values())
        assert all(len(set(map(str, values))) == len(values) for values in grid.values())
