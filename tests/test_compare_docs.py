"""docs/compare.md: every command and every Python block of it is run, and every column is in it."""

import os
import re
import shlex

import pytest
from conftest import ROOT, run_python
from report.test_foreign import write_all
from runs_by_hand import write_run

import compare
from reslab.report.facts import load
from reslab.report.summary import COLUMNS, GROUP_COLUMNS

TEXT = (ROOT / "docs" / "compare.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
COMMANDS = [line for kind, block in BLOCKS if kind == "" for line in block.splitlines()]
COMMANDS += [text for text in re.findall(r"`([^`\n]+)`", TEXT) if text.startswith("python ")]
READING = [command for command in dict.fromkeys(COMMANDS) if command.startswith("python compare.py ")]
OTHERS = [command for command in dict.fromkeys(COMMANDS) if command not in READING]
TRAINING = [command for command in OTHERS if "site" not in command]  # that is tests/report/test_site.py
RECORDER, FRAME = (
    next(block for kind, block in BLOCKS if kind == "python" and word in block)
    for word in ("reslab.Recorder", "reslab.frame")
)
SMALL = "--n_layer=2 --n_embd=16 --n_head=2 --block_size=16 --batch_size=2 --eval_sequences=4 --device=cpu"
SMALL += " --max_iters=4 --warmup_iters=1 --eval_interval=2 --probe_sequences=2 --keep=every:2"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the runs, curves and configs of the text."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "study").mkdir(parents=True)
    for name in ("deep", "mine"):
        write_run(tmp_path / "runs", name, residual="pre", n_layer=8)
    for arm in ("pre", "none"):
        for seed in (1, 2):
            write_run(tmp_path / "runs" / "study", f"{arm}{seed}", residual=arm, seed=seed, n_layer=12)
    write_all(tmp_path)["TensorBoard"].rename(tmp_path / "tb_folder")
    (tmp_path / "config").symlink_to(ROOT / "config")
    return tmp_path


def test_the_text_has_its_commands():
    assert len(READING) >= 6 and len(TRAINING) == 2


@pytest.mark.parametrize("command", READING)
def test_a_command_that_reads_runs(place, command, capsys):
    argv = shlex.split(command)[2:]
    assert compare.main(argv) == 0
    said = capsys.readouterr()
    assert "left out" not in said.err
    if "--list" not in argv:
        assert (place / "compare.html").is_file() and "page: " in said.out
    for word in argv:
        if re.search(r"\.(csv|tex|json)$", word) and argv[argv.index(word) - 1].startswith("--"):
            assert (place / word).stat().st_size > 100


@pytest.mark.slow
def test_the_commands_that_train_and_measure_again(dataset_folder, tmp_path):
    (tmp_path / "config").symlink_to(ROOT / "config")
    for command in TRAINING:
        script, *argv = shlex.split(command)[1:]
        if script == "train.py":
            script, argv = ROOT / script, [*argv, *SMALL.split(), f"--dataset={dataset_folder}"]
        run_python(script, *argv, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
    probed = tmp_path / "runs" / "laptop-kept" / "probes.jsonl"
    assert len(probed.read_text(encoding="utf-8").splitlines()) > 2


def test_the_block_about_pandas(place):
    pytest.importorskip("pandas")
    names = {}
    exec(FRAME, names)
    assert list(names["runs"]["arm"]) == ["none", "none", "pre", "pre"]
    assert list(names["curves"].columns) == ["run", "group", "seed", "split", "kind", "step", "value"]


def test_the_block_about_a_loop_of_ones_own_and_what_a_second_run_of_it_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    exec(RECORDER, {})
    run = load(tmp_path / "runs" / "mine")
    assert run.status == "finished" and len(run.rows) == 102 and run.last("val/loss") < 2
    with pytest.raises(
        ValueError, match=r"runs/mine: holds something already and is left .* folder of its own"
    ):
        exec(RECORDER, {})
    assert load(tmp_path / "runs" / "mine").rows == run.rows


def test_every_column_of_the_tables_is_explained():
    for column, meaning in [*COLUMNS.items(), *GROUP_COLUMNS.items()]:
        assert f"| `{column}` | {meaning} |\n" in TEXT
