"""Settings: roles and what follows from them, one parser for all doors, and answers without torch."""

import contextlib
import dataclasses
import re
import sys
from pathlib import Path
from typing import Literal

import pytest
from conftest import ROOT, run_python
from runs_by_hand import write_run

from reslab.nn.init import INITS
from reslab.nn.layers import ACTIVATIONS, NORMS
from reslab.report.figures import depth, learning_rates
from reslab.report.groups import labels
from reslab.report.pagedata import page_data
from reslab.report.summary import differences
from reslab.report.trackers import TRACKERS
from reslab.residual import WIRINGS
from reslab.run.config import parse
from reslab.run.configfile import UsageError
from reslab.run.fields import Experiment, Role, flat, from_flat, keys_of, settings, with_part, with_role
from reslab.run.log import read_run
from reslab.run.options import AutopsyConfig, BenchConfig, CompareConfig, ExportConfig, SampleConfig
from reslab.run.settings import GPTConfig, OptimConfig, TrainConfig
from reslab.training.families import FAMILIES
from reslab.training.growth import PLACES
from reslab.training.loop import train
from reslab.training.optimizer import OPTIMIZERS, SCHEDULES

# Each door's settings, and words that its command line needs.
DOORS = {
    "train": (TrainConfig, []),
    "sample": (SampleConfig, ["run"]),
    "autopsy": (AutopsyConfig, ["run"]),
    "compare": (CompareConfig, ["run"]),
    "export": (ExportConfig, ["run", "folder"]),
    "bench": (BenchConfig, []),
}
NUMBERS = [  # those of train.py, which compare.py takes too, are asked once
    (door, key)
    for door, (cls, _) in DOORS.items()
    for key, setting in settings(cls).items()
    if setting.kind in (int, float) and (door != "compare" or key not in settings(TrainConfig))
]
# Runs a program whose import of torch fails.
WITHOUT_TORCH = """
import runpy, sys

class NoTorch:
    def find_spec(name, path=None, target=None):
        if name == "torch":
            raise RuntimeError("torch was imported")

sys.meta_path.insert(0, NoTorch)
sys.argv = sys.argv[1:]
sys.path.insert(0, "")
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def read(door: str, *argv: str):
    cls, needed = DOORS[door]
    return parse(cls, [*needed, *argv])


def told(door: str, *argv: str) -> list[str]:
    with pytest.raises(UsageError) as error:
        read(door, *argv)
    return str(error.value).splitlines()


@pytest.mark.parametrize("door", DOORS)
def test_help_faults_and_settings_are_told_without_torch(door):
    argv, script = DOORS[door][1], ROOT / f"{door}.py"
    shown = run_python("-c", WITHOUT_TORCH, script, "--help").stdout
    usage = shown.splitlines()[0]
    assert usage.startswith(f"usage: {door}.py") and DOORS[door][0].POSITIONALS.usage in usage
    assert f"python {door}.py" in shown and "Exit codes: 0 done; " in shown
    typo = run_python("-c", WITHOUT_TORCH, script, *argv, "--print_confg", code=2).stderr
    assert typo == "error: --print_confg: no such setting; did you mean --print_config?\n"
    listed = run_python("-c", WITHOUT_TORCH, script, *argv, "--print_config").stdout
    assert len(listed.splitlines()) == len(settings(DOORS[door][0]))


def test_help_is_there_where_docstrings_are_not():
    shown = run_python("-OO", "train.py", "--help").stdout
    assert "Number of blocks" in shown and "Exit codes: 0 done" in shown


@pytest.mark.parametrize("door", DOORS)
def test_every_setting_has_a_role_and_a_help(door):
    cls = DOORS[door][0]
    source = (ROOT / "reslab/run/settings.py").read_text("utf-8")
    source += (ROOT / "reslab/run/options.py").read_text("utf-8")
    for key, setting in settings(cls).items():
        assert setting.role.name in ("place", "machine", "measuring", "schedule", "experiment")
        assert re.search(rf'^    {key}: .*\n    """', source, re.MULTILINE), key


def test_a_setting_without_a_role_is_refused():
    made = dataclasses.make_dataclass("Made", [("a", Experiment[int], 1), ("b", int, 2)])
    with pytest.raises(TypeError, match=r"Made\.b: needs a role"):
        settings(made)


def test_choices_are_the_keys_of_their_dicts():
    choices = {key: setting.choices for key, setting in settings(TrainConfig).items() if setting.choices}
    for key, entries in {
        "residual": WIRINGS,
        "norm": NORMS,
        "mlp": ACTIVATIONS,
        "init": INITS,
        "optimizer": OPTIMIZERS,
        "schedule": SCHEDULES,
        "grow_at": PLACES,
    }.items():
        assert choices[key] == tuple(entries)
    assert choices["attn_residual"] == choices["mlp_residual"] == ("", *WIRINGS)
    assert told("train", "--log=excel") == [
        f"log=excel: allowed are {', '.join(TRACKERS)}, several with commas"
    ]


def test_a_dict_is_read_where_it_stands(tmp_path):
    (tmp_path / "m.py").write_text("import nothing_of_that_name\nA = {'x': 1, 'y': f}\n", encoding="utf-8")
    assert keys_of(str(tmp_path / "m.py"), "A") == ("x", "y")
    with pytest.raises(LookupError, match="no dict B"):
        keys_of(str(tmp_path / "m.py"), "B")


def test_the_empty_wiring_is_that_of_all_sublayers():
    shape = GPTConfig(residual="post", mlp_residual="none")
    assert (shape.wiring("attn"), shape.wiring("mlp")) == ("post", "none")


def test_weights_of_others_dictate_every_setting_that_they_must_fit():
    """A family says each of them, but those that have no meaning for it; GPT-2 has a dropout of its own."""
    told = [{*family.ours, *family.settings} for family in FAMILIES.values()]
    assert set.union(*told) == with_part(GPTConfig, "weights") | {"dropout"}
    assert all(with_part(GPTConfig, "weights") - one <= {"rope_theta"} for one in told)
    assert settings(GPTConfig)["dropout"].role == Role("experiment")


def test_a_schedules_own_settings_change_when_a_run_goes_on(train_config):
    assert train(train_config(max_iters=4)) == 0
    assert with_role(OptimConfig, "schedule") >= {"max_iters", "learning_rate", "warmup_iters", "schedule"}
    values = {"max_iters": 6, "learning_rate": 2e-3, "min_lr": 0.0, "schedule": "linear", "warmup_iters": 1}
    assert train(train_config(resume=True, **values)) == 0
    changed = read_run(Path(train_config().out_dir)).last("changed")
    assert {key: now for key, (_, now) in changed.items()} == values
    with pytest.raises(ValueError, match=r"beta2=0\.5: the run in .* was started with beta2=0\.99"):
        train(train_config(resume=True, **values, beta2=0.5))


@pytest.mark.parametrize(
    "changes",
    [
        {"log": "tensorboard"},
        {"profile": True},
        {"device": "cuda"},
        {"compile": "True"},
        {"kernels": "torch"},
        {"eval_interval": 7},
        {"activation_checkpointing": True},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_is_no_part_of_the_experiment_leaves_runs_together(tmp_path, changes):
    """A curve holds both runs, and seeds form one band, whatever device or log they have."""
    base = {key: value for key, value in flat(TrainConfig()).items() if key != "out_dir"}

    def made(name, **more):
        return read_run(write_run(tmp_path, name, **base | more))

    deep = [made("a", n_layer=4), made("b", n_layer=8, **changes)]
    assert sorted(depth(deep).data[0].x) == [4, 8]
    fast = [made("c", learning_rate=1e-3), made("d", learning_rate=1e-2, **changes)]
    assert len(learning_rates(fast).data[0].x) == 2
    seeds = [made("e", seed=1), made("f", seed=2, **changes)]
    assert len({run["group"] for run in page_data(seeds, "title")["runs"]}) == 1
    other = [made("g", seed=1), made("h", seed=2, grad_clip=0.5)]
    assert len({run["group"] for run in page_data(other, "title")["runs"]}) == 2


def test_a_difference_is_listed_once_and_places_never(tmp_path):
    base = {"device": "auto", "log": "", "profile": False, "resume": False}
    runs = [read_run(write_run(tmp_path, "a", **base))]
    runs.append(read_run(write_run(tmp_path, "b", **base | {"device": "cpu", "profile": True})))
    assert differences(runs) == []  # both were made on the CPU, whatever was asked for
    runs[1].facts["device"] = "a GPU"
    assert differences(runs) == [{"setting": "device", "a": "cpu", "b": "a GPU"}]
    assert "profile" not in "".join(labels(runs))


@pytest.mark.parametrize(("door", "key"), NUMBERS)
def test_absurd_numbers_are_a_value_or_one_line(door, key):
    digits = ("9" * 4000, "9" * 5001)  # Python converts up to 4300 of them
    for text in ("1e400", *digits, *(f"-{d}" for d in digits), "nan", "-nan", "inf", "0x10"):
        (line,) = told(door, f"--{key}={text}")
        assert line.startswith(f"--{key}={text[:60]}") and ": must be " in line and len(line) < 250
    with contextlib.suppress(UsageError):  # zero, which some may be
        assert flat(read(door, f"--{key}=-0").config)[key] == 0


def test_absurd_numbers_of_config_files_are_told_too(tmp_path):
    file = tmp_path / "huge.py"
    file.write_text("n_layer = 10**5000\nlearning_rate = 1e400\nbatch_size = -0\n", encoding="utf-8")
    lines = told("train", str(file))
    assert [line.split(": must be ")[1] for line in lines] == [
        "below 2**63",
        "finite and not negative",
        "at least 1",
    ]
    assert all(line.startswith(f"{file}: ") for line in lines)


def test_a_wrong_value_is_told_with_what_is_allowed():
    wrong = ["--bias=maybe", "--n_layer=two", "--dropout=half", "--pos=sine", "--seed=-1"]
    lines = told("train", *wrong, "--norm_eps=1e-320")
    assert lines == [
        "--bias=maybe: must be True or False",
        "--n_layer=two: must be a whole number",
        "--dropout=half: must be a number",
        "--pos=sine: allowed are learned, rope",
        "--seed=-1: must be at least 0 and below 2**63",
        "--norm_eps=1e-320: must be finite and above 0 (smaller than 2.3e-308 is 0)",
    ]


def test_all_doors_share_one_grammar():
    one = read("compare", "--n_layer", "2", "--serve", "--seeds=3", "--bias", "False")
    assert one.config.train.model.n_layer == 2 and one.config.serve and one.config.seeds == 3
    assert one.overrides == {"n_layer": "2", "serve": "True", "seeds": "3", "bias": "False"}
    assert read("train", "--n_layer=4", "--n_layer=x", "--n_layer", "5").config.model.n_layer == 5
    assert told("export", "third") == ["3 of 2 given; give RUN DIR [--key=value ...]"]
    assert told("bench", "word") == ["word: not a --key=value"]
    assert told("compare", "--seeds=0", "--n_layr=2") == [
        "--seeds=0: must be at least 1 and at most 10000",
        "--n_layr=2: no such setting; did you mean --n_layer?",
    ]


def test_the_home_folder_is_meant_by_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for door, (cls, _) in DOORS.items():
        for key in (key for key, setting in settings(cls).items() if setting.is_path):
            assert flat(read(door, f"--{key}=~/x").config)[key] == str(tmp_path / "x"), key
    paths = {key for key, setting in settings(CompareConfig).items() if setting.is_path}
    assert paths >= {"dataset", "out_dir", "init_from", "page", "json", "png"}
    assert parse(SampleConfig, ["~/run"]).places == [str(tmp_path / "run")]
    (tmp_path / "c.py").write_text("out_dir = '~/here'\n", encoding="utf-8")
    assert read("train", "~/c.py").config.out_dir == str(tmp_path / "here")
    assert read("sample", "--prompt=~/x").config.prompt == "~/x"  # text, not a path


def test_a_config_file_may_import(tmp_path):
    """A neighbour's assignments count; functions, classes and modules are the file's own."""
    for folder, layers in (("one", 3), ("two", 5)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "shared.py").write_text(f"n_layer = {layers}\nWIDTH = 24\n", encoding="utf-8")
        text = "import math\nfrom pathlib import Path\nfrom shared import n_layer\nimport shared\n"
        text += "def twice(n):\n    return 2 * n\nn_embd = twice(shared.WIDTH)\n"
        text += "out_dir = str(Path('runs') / 'x')\n"
        (tmp_path / folder / "config.py").write_text(text, encoding="utf-8")
    before = list(sys.path)
    for folder, layers in (("one", 3), ("two", 5)):
        config = read("train", str(tmp_path / folder / "config.py"), "--n_head=2").config
        assert (config.model.n_layer, config.model.n_embd) == (layers, 48)
        assert config.out_dir == str(Path("runs") / "x")
    assert sys.path == before and "shared" not in sys.modules
    (tmp_path / "wrong.py").write_text("dropout = lambda: 3\n", encoding="utf-8")
    (line,) = told("train", str(tmp_path / "wrong.py"))
    assert line.endswith(": must be a number")


def test_a_config_survives_being_flat():
    config = read("train", "--n_layer=3", "--learning_rate=2e-3", "--residual=none").config
    assert from_flat(TrainConfig, flat(config)) == config


def test_optional_and_bounded_types_are_taken_apart():
    known = settings(CompareConfig)
    assert known["gpus_per_run"].kind is float and known["gpus_per_run"].checks
    assert known["json"].kind is Path and known["json"].is_path
    made = dataclasses.make_dataclass("Made", [("a", Experiment[Literal["x", "y"]], "x")])
    assert settings(made)["a"].choices == ("x", "y")


def test_no_help_repeats_the_choices():
    """They are beside it already, and one that is added would be missing."""
    source = (ROOT / "reslab" / "run" / "settings.py").read_text(encoding="utf-8")
    for name in ("norm", "mlp", "residual", "init", "optimizer", "schedule", "dtype", "grow_at"):
        shown = re.search(rf'^    {name}: [^\n]*\n    """(.*?)"""', source, re.MULTILINE | re.DOTALL)[1]
        words = re.findall(r"\w+", shown)
        assert not set(settings(TrainConfig)[name].choices) <= set(words), name
