"""Curves of other programs: every number is the file's, all are marked as foreign, none has our baselines."""

import csv
import json

import pytest
from runs_by_hand import LINES, write_run

import compare
from reslab.report.facts import warnings
from reslab.report.foreign import KEYS, read_foreign
from reslab.report.pagedata import page_data
from reslab.report.selection import load_runs
from reslab.report.summary import row
from reslab.run.configfile import UsageError

NANOGPT = """number of parameters: 10.65M
step 0: train loss 4.2874, val loss 4.2823
iter 0: loss 4.2664, time 1234.56ms, mfu -100.00%
iter 10: loss 3.2, time 34.56ms, mfu 1.00%
step 20: train loss 2.5, val loss 2.25
iter 20: loss nan, time 34.56ms, mfu 1.00%
"""
HISTORY = [
    {"loss": 3.5, "grad_norm": 1.5, "learning_rate": 1e-3, "epoch": 0.5, "step": 10},
    {"eval_loss": 2.25, "eval_runtime": 3.0, "epoch": 1.0, "step": 20},
    {"train_loss": 2.9, "train_runtime": 9.0, "step": 20},
]


def write_tensorboard(folder):
    tensorboard = pytest.importorskip("torch.utils.tensorboard")
    with tensorboard.SummaryWriter(str(folder)) as writer:
        for step, loss in ((0, 4.25), (20, 2.25)):
            writer.add_scalar("loss/val", loss, step)
    return folder


def write_all(root) -> dict:
    """Kind -> place."""
    (root / "other.csv").write_text("Step,note,train_loss,Val Loss\n0,a,4,4.25\n10,b,3,\n20,,2.5,2.25\n")
    (root / "trainer_state.json").write_text(json.dumps({"log_history": HISTORY}))
    (root / "nanogpt.log").write_text(NANOGPT)
    places = {"CSV": "other.csv", "transformers": "trainer_state.json", "nanoGPT": "nanogpt.log"}
    places = {kind: root / name for kind, name in places.items()}
    return places | {"TensorBoard": write_tensorboard(root / "tb")}


EXPECTED = {
    "CSV": {"val/loss": ([0, 20], [4.25, 2.25]), "train/loss": ([0, 10, 20], [4, 3, 2.5])},
    "TensorBoard": {"val/loss": ([0, 20], [4.25, 2.25])},
    "transformers": {
        "val/loss": ([20], [2.25]),
        "batch/loss": ([10], [3.5]),
        "batch/grad_norm": ([10], [1.5]),
        "learning_rate": ([10], [1e-3]),
    },
    "nanoGPT": {
        "val/loss": ([0, 20], [4.2823, 2.25]),
        "train/loss": ([0, 20], [4.2874, 2.5]),
        "batch/loss": ([0, 10], [4.2664, 3.2]),
    },
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_every_number_is_the_files(tmp_path, kind):
    run = read_foreign(write_all(tmp_path)[kind], {"loss/val": "val/loss"})
    assert run.facts["foreign"] == kind and run.status == "foreign"
    read = {key: run.series(key) for key in KEYS if run.series(key)[0]}
    assert read == EXPECTED[kind]


def test_they_stand_marked_beside_ours_in_table_json_csv_and_page(tmp_path, capsys):
    ours, places = write_run(tmp_path, "ours"), write_all(tmp_path)
    files = {name: tmp_path / f"out-{name}" for name in ("json", "csv", "curves")}
    argv = [f"--{name}={path}" for name, path in files.items()] + [f"--page={tmp_path / 'p.html'}"]
    argv += ["--map", "loss/val=val/loss", "--map=mfu=tokens_per_s"]
    with pytest.raises(UsageError, match=r"--map=mfu=\.\.\.: no foreign file has this name"):
        compare.main([str(ours), *map(str, places.values()), *argv])
    assert compare.main([str(ours), *map(str, places.values()), *argv[:-1]]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if line.startswith("warning: ")]
    assert "foreign: other.csv, trainer_state.json, nanogpt.log, tb: data, tokenizer and code are" in line
    kept = json.loads(files["json"].read_text())["runs"]
    table = list(csv.DictReader(files["csv"].open(newline="")))
    assert [one["foreign"] for one in kept] == [None, *places]
    runs, _ = load_runs([ours, *places.values()], "loss/val=val/loss")
    drawn = page_data(runs, "title")["runs"]
    for run, one, cells, entry in zip(runs[1:], kept[1:], table[1:], drawn[1:], strict=True):
        kind = run.facts["foreign"]
        assert (
            one["arm"] == row(run)["arm"] == entry["arm"] == f"foreign {kind}"
            and f"foreign {kind}" in printed
        )
        assert one["val/loss"] == float(cells["val/loss"]) == entry["curves"]["val"]["loss"][-1] == 2.25
        assert cells["foreign"] == entry["foreign"] == kind
        assert (
            one["val_minus_bigram"] is one["step_below_bigram"] is None and row(run)["-bigram"] == "unknown"
        )
        assert entry["baselines"] == {"train": {}, "val": {}} and one["seed"] is None
    assert row(runs[0])["-bigram"] == f"{2.2 - LINES['bigram']['val']:+.3f}"
    assert len({entry["label"] for entry in drawn}) == 5


def test_with_same_data_they_are_read_against_our_baselines(tmp_path):
    ours, place = write_run(tmp_path, "ours"), write_all(tmp_path)["nanoGPT"]
    runs, _ = load_runs([ours, place], same_data=True)
    assert row(runs[1])["-bigram"] == f"{2.25 - LINES['bigram']['val']:+.3f}"
    assert row(runs[1])["<bigram at"] == "20" and warnings(runs) == []
    other = write_run(tmp_path, "other", facts={"baselines_nats": {**LINES, "uniform": 9.0}})
    with pytest.raises(UsageError, match="our runs differ in their baselines"):
        load_runs([ours, other, place], same_data=True)
    with pytest.raises(UsageError, match="there is no run of ours"):
        load_runs([place], same_data=True)


def test_a_map_goes_before_the_known_names(tmp_path):
    path = write_all(tmp_path)["CSV"]
    run = read_foreign(path, {"train_loss": "val/loss", "Val Loss": "train/loss"})
    assert run.last("val/loss") == 2.5 and run.last("train/loss") == 2.25
    for text in ("x", "=val/loss", "x=val/los"):
        with pytest.raises(UsageError, match="must be NAME=KEY, KEY one of train/loss"):
            load_runs([path], text)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "time,loss\n1,2\n", "no column of steps .*it has time, loss"),
        ("a.csv", "step,loss\nx,2\n", "the step x is no whole number"),
        ("a.csv", "step,loss\n1.5,2\n", "the step 1.5 is no whole number"),
        ("a.csv", "step,accuracy\n1,2\n", "it has accuracy; say which is the loss with --map"),
        ("a.csv", "run,split,kind,step,value\na,val,loss,1,2\nb,val,loss,1,2\n", "several runs are in it"),
        ("a.csv", b"\xff\xfe\x00", "damaged"),
        ("a.json", "{", "damaged .JSONDecodeError"),
        ("a.json", "[]", "no log_history"),
        ("a.json", '{"log_history": [{"loss": 3}]}', "damaged .KeyError"),
        ("a.json", '{"log_history": [3]}', "damaged .AttributeError"),
        ("a.log", "hello\n", "no loss that is known"),
        ("a.log", b"\xff", "damaged"),
        ("tb/events.out.tfevents.1.x", b"not one", "no loss that is known"),
    ],
)
def test_an_unknown_or_damaged_file_is_one_line(tmp_path, capsys, name, content, expected):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    place = path.parent if "/" in name else path
    with pytest.raises(UsageError, match=expected) as error:
        compare.main([str(place), f"--page={tmp_path / 'p.html'}"])
    assert len(str(error.value).splitlines()) == 1 and str(place) in str(error.value)
    ours = write_run(tmp_path, "ours")
    assert compare.main([str(ours), str(place), f"--page={tmp_path / 'p.html'}"]) == 0
    assert f"left out: {place}" in capsys.readouterr().err


def test_our_own_curves_csv_of_one_run_is_read_back(tmp_path):
    ours, curves = write_run(tmp_path, "ours"), tmp_path / "curves.csv"
    assert compare.main([str(ours), f"--curves={curves}", f"--page={tmp_path / 'p.html'}"]) == 0
    runs, _ = load_runs([ours, curves])
    for key in ("train/loss", "val/loss", "val/loss_se", "batch/loss", "batch/grad_norm"):
        assert runs[1].series(key) == runs[0].series(key), key
