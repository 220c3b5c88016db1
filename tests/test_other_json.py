"""JSON that is valid and not ours, in the place of any file of a run: one line from every door."""

import importlib
import json
import shutil
import sys

import pytest

from reslab.run import config as configure
from reslab.run.fields import flat
from reslab.run.files import sha256
from reslab.training.loop import train

SHAPES = {
    "list": "[]",
    "null": "null",
    "number": "7",
    "empty": "{}",
    "deep": '{"config":' * 60_000 + "1" + "}" * 60_000,
    "digits": '{"config": {"step": ' + "9" * 5000 + "}}",
    "foreign": '{"model_type": "gpt2", "n_layer": 12, "config": [1]}',
}
# field -> other values, in a file that is ours otherwise
FIELDS = {
    "checkpoint/last/state.json": {
        "step": ["5", None, [], 2.5, 10**30],
        "config": [[], None, {}, {"n_layer": "two"}],
        "metrics_bytes": ["x", None],
        "best_val_loss": ["low", []],
        "tokenizer": [[], {"kind": 3}, None],
        "dataset_sha256": [5, []],
        "n_layer": [10**12, -1, "deep", None, 1.5],
        "n_embd": [10**9, 0],
    },
    "config.json": {"n_layer": [10**12, "x", []], "batch_size": ["x", None, []], "baselines_nats": [[], 3]},
}
ROWS = ['[{"step": 1}]', '{"step": "1"}', '{"step": 1e999}', '{"step": 1, "probe/resid_gradient": "x"}', "3"]
ROWS += ['{"step": 1, "val/loss": [1]}', '{"step": 1, "probe/resid_rms": 5}', '{"step": 1, "status": {}}']


@pytest.fixture(scope="module")
def complete_run(tmp_path_factory, dataset_folder):
    folder = tmp_path_factory.mktemp("json") / "run"
    argv = ["--n_layer=1", "--n_head=1", "--n_embd=8", "--block_size=8", "--batch_size=2", "--device=cpu"]
    argv += ["--eval_sequences=4", "--max_iters=4", "--eval_interval=2", "--warmup_iters=0"]
    argv += [f"--dataset={dataset_folder}", f"--out_dir={folder}"]
    assert train(configure.parse(configure_class(), argv).config) == 0
    return folder


def configure_class():
    from reslab.run.settings import TrainConfig

    return TrainConfig


@pytest.fixture
def damaged(complete_run, tmp_path, monkeypatch, capsys):
    """Puts a text in the place of a file of a run, and runs doors there; the codes and what they said."""

    def put(file: str, text: str) -> dict[str, tuple[int, str]]:
        run, page = tmp_path / "run", tmp_path / "page.html"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(complete_run, run)
        (run / file).write_text(text, encoding="utf-8")
        for folder in (run / "checkpoint").iterdir():  # the same in all, signed
            if file.startswith("checkpoint"):
                (folder / "state.json").write_text(text, encoding="utf-8")
                sums = [f"{sha256(p)}  {p.name}\n" for p in folder.iterdir() if p.name != "SHA256SUMS"]
                (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
        config = flat(configure.parse(configure_class(), []).config)
        config = {
            **config,
            **json.loads((complete_run / "config.json").read_text(encoding="utf-8"))["config"],
        }
        config |= {"out_dir": str(run), "max_iters": 6, "resume": True}
        training = [f"--{key}={value}" for key, value in config.items() if value != ""]
        doors = {"train": training, "sample": [str(run), "--max_new_tokens=2"]}
        doors |= {"compare": [str(run), f"--page={page}"], "autopsy": [str(run), "--sequences=2"]}
        answers = {}
        before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        for door, argv in doors.items():
            monkeypatch.setattr(sys, "argv", [f"{door}.py", *argv])
            with pytest.raises(SystemExit) as end:
                configure.run_door(importlib.import_module(door).main)
            answers[door] = end.value.code, capsys.readouterr().err
            if end.value.code:
                now = {path: path.read_bytes() for path in before if path.exists()}
                assert now == before, door
            else:
                before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
        return answers

    return put


def is_told(answer: tuple[int, str]) -> bool:
    code, output = answer
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    return (code == 0 and not lines) or (code == 2 and 1 <= len(lines) <= 2 and len(output) < 2000)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("file", "fail"),
    [
        ("config.json", {"train", "compare", "autopsy"}),
        ("checkpoint/last/state.json", {"train", "sample", "autopsy"}),
        ("autopsy.json", set()),
    ],
)
def test_another_shape_is_a_line_from_every_door(damaged, file, fail, shape):
    answers = damaged(file, SHAPES[shape])
    assert all(map(is_told, answers.values())), answers
    assert {door for door, (code, _) in answers.items() if code} == fail, answers


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_another_shape(damaged, row):
    answers = damaged("metrics.jsonl", row + "\n")
    assert all(map(is_told, answers.values())), answers
    assert all(answers[door][0] == 2 and "row 1" in answers[door][1] for door in ("compare", "autopsy"))


@pytest.mark.parametrize(("file", "key"), [(file, key) for file in FIELDS for key in FIELDS[file]])
@pytest.mark.slow
def test_fields_of_another_type_or_size(damaged, complete_run, file, key):
    for value in FIELDS[file][key]:
        content = json.loads((complete_run / file).read_text(encoding="utf-8"))
        (content if key in content else content["config"])[key] = value
        answers = damaged(file, json.dumps(content))
        assert all(map(is_told, answers.values())), (value, answers)
