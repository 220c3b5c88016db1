"""What each tracker is sent, at which step: the packages are made up, and remember."""

import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from runs_by_hand import write_run

from reslab.report import trackers
from reslab.report.pixels import LOG, RAMP, Scale, picture

ROWS = [
    {"step": 0, "val/loss": 4.0, "sample/prompt": "a", "sample/text": "abc", "n": 3},
    {"step": 10, "probe/rms": [1.0, 20.0, 300.0], "probe/learn": 7, "batch/loss": None, "off": [1, 2]},
    {"step": 10, "probe/rms": [None, 2.0, math.nan], "val/loss": 2.5, "diagnosis": "done"},
]
BASELINES = {"baseline/uniform": 4.0, "baseline/unigram": 3.1, "baseline/bigram": 2.4}
NUMBERS = [
    {"val/loss": 4.0, "n": 3} | BASELINES,
    {"probe/learn": 7, "probe/rms/first": 1.0, "probe/rms/last": 300.0},
    {"val/loss": 2.5} | BASELINES,
]
TAG = f"probe/rms/{LOG.name}"
WORDS = [{"sample/prompt": "a", "sample/text": "abc"}, {}, {"diagnosis": "done"}]
STEPS = [0, 10, 10]


def test_a_probe_with_a_list_for_each_layer_is_sent_with_the_others(folder, monkeypatch, capsys):
    """Two layers of two heads: the picture has a row for each head; of none at all nothing is sent."""
    sent = []
    made = SimpleNamespace(write=lambda *row: sent.append(row), close=lambda: None)
    monkeypatch.setitem(trackers.TRACKERS, "wandb", trackers.Tracker(lambda run: made))
    log = trackers.open_log(folder, 0, "wandb", {}, 0)
    log.write({"step": 0, "probe/heads": [[1.0, None], [2.0, 3.0]], "probe/rms": [4.0, 5.0], "probe/no": []})
    log.close()
    ((_, numbers, pictures, _),) = sent
    ends = {"probe/heads/first": 1.0, "probe/heads/last": 3.0, "probe/rms/first": 4.0, "probe/rms/last": 5.0}
    assert numbers == ends and pictures.keys() == {f"probe/heads/{LOG.name}", TAG}
    assert (pictures[f"probe/heads/{LOG.name}"] == picture([[1.0, None, 2.0, 3.0]], LOG)).all()
    assert capsys.readouterr().err == ""


@pytest.fixture
def packages(monkeypatch):
    """TensorBoard's writer, wandb and trackio; `calls` holds what they were told, in order."""
    calls = []

    def tell(name):
        return lambda *args, **options: calls.append((name, args, options))

    class Writer:
        def __init__(self, folder, **options):
            calls.append(("SummaryWriter", (folder,), options))
            for name in ("add_scalar", "add_image", "add_text", "add_custom_scalars", "add_hparams", "close"):
                setattr(self, name, tell(name))

    class Artifact:
        def __init__(self, name, type):
            self.name, self.files = name, []
            self.add_file = self.files.append

    def package(prefix, **more):
        names = ("log", "finish", "define_metric", "log_artifact")
        run = SimpleNamespace(**{name: tell(f"{prefix}.{name}") for name in names})
        run.summary = SimpleNamespace(update=tell(f"{prefix}.summary"))
        made = SimpleNamespace(init=lambda *a, **o: calls.append((f"{prefix}.init", a, o)) or run, **more)
        made.Image = lambda picture: ("image", picture.shape)
        made.Markdown = lambda text: ("markdown", text)
        made.Artifact = Artifact
        made.log_artifact = tell(f"{prefix}.log_artifact")
        return made

    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", SimpleNamespace(SummaryWriter=Writer))
    monkeypatch.setitem(sys.modules, "wandb", package("wandb"))
    monkeypatch.setitem(sys.modules, "trackio", package("trackio"))
    for name in ("WANDB_PROJECT", "TRACKIO_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    return calls


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "group").mkdir()
    return write_run(tmp_path / "group", "name", rows=[])


def told(calls, name) -> list[tuple]:
    return [(args, options) for each, args, options in calls if each == name]


def written(folder, log: str, rows=ROWS):
    copies = trackers.open_log(folder, 0, log, {"n_layer": 4}, 0)
    for row in rows:
        copies.write(row)
    return copies


def test_the_log_has_every_row_whatever_the_trackers_do(packages, folder):
    copies = written(folder, "tensorboard, wandb,trackio,wandb")
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == STEPS
    assert copies.size() == (folder / "metrics.jsonl").stat().st_size
    copies.close()
    assert [name for name, _, _ in packages if name.endswith(("init", "SummaryWriter"))] == [
        *("SummaryWriter", "wandb.init", "trackio.init")  # each once, in the order of --log
    ]


def test_tensorboard_is_sent_numbers_words_and_pictures_at_their_steps(packages, folder):
    copies = written(folder, "tensorboard")
    assert told(packages, "SummaryWriter") == [((str(folder / "tensorboard"),), {"purge_step": 0})]
    expected = [(key, v, step) for step, row in zip(STEPS, NUMBERS, strict=True) for key, v in row.items()]
    assert sorted(args for args, _ in told(packages, "add_scalar")) == sorted(expected)
    config, *texts = [args for args, _ in told(packages, "add_text")]
    assert config[0] == "config" and "| n_layer | 4 |" in config[1] and config[2] == 0
    assert texts == [("sample/prompt", "a", 0), ("sample/text", "abc", 0), ("diagnosis", "done", 10)]
    (one, _), (two, options) = told(packages, "add_image")
    assert one[0] == two[0] == TAG and one[2] == two[2] == 10 and options == {"dataformats": "HWC"}
    assert (one[1] == picture([ROWS[1]["probe/rms"]], LOG)).all()
    assert (two[1] == picture([row["probe/rms"] for row in ROWS[1:]], LOG)).all()
    copies.close()
    assert told(packages, "close") == [((), {})]


def test_wandb_is_sent_rows_with_their_step_inside_and_words_as_its_summary(packages, folder):
    copies = written(folder, "wandb")
    ((_, options),) = told(packages, "wandb.init")
    run_id = json.loads((folder / "trackers.json").read_text(encoding="utf-8"))["id"]
    assert options == {
        **{"project": "reslab", "id": run_id, "name": "name", "group": "group", "dir": folder},
        **{"config": {"n_layer": 4}, "resume": "allow"},
    }
    image = {TAG: ("image", (255, 256 + 32, 3))}
    expected = [{"step": s} | row for s, row in zip(STEPS, NUMBERS, strict=True)]
    assert [args[0] for args, _ in told(packages, "wandb.log")] == [
        *(expected[0], expected[1] | image, expected[2] | image)
    ]
    assert [args[0] for args, _ in told(packages, "wandb.summary") if args[0]] == [
        row for row in WORDS if row
    ]
    copies.close()
    ((args, _),) = told(packages, "wandb.log_artifact")
    assert (
        args[0].name == f"page-{run_id}"
        and args[0].files[0].endswith("page.html")
        and not (folder / "page.html").exists()
    )
    assert packages[-1][0] == "wandb.finish"


def test_trackio_is_sent_numbers_pictures_and_words_at_their_steps(packages, folder):
    copies = written(folder, "trackio")
    run_id = json.loads((folder / "trackers.json").read_text(encoding="utf-8"))["id"]
    ((args, options),) = told(packages, "trackio.init")
    assert args == ("reslab",) and options["name"] == f"name-{run_id}" and options["group"] == "group"
    assert options["config"] == {"n_layer": 4} and options["resume"] == "allow"
    image = {TAG: ("image", (255, 256 + 32, 3))}
    texts = [{key: ("markdown", text) for key, text in row.items()} for row in WORDS]
    assert told(packages, "trackio.log") == [
        ((NUMBERS[0] | texts[0],), {"step": 0}),
        ((NUMBERS[1] | image,), {"step": 10}),
        ((NUMBERS[2] | image | texts[2],), {"step": 10}),
    ]
    copies.close()
    ((args, options),) = told(packages, "trackio.log_artifact")
    assert args[0].name == "page.html" and options["name"] == f"page-name-{run_id}"
    assert packages[-1][0] == "trackio.finish"


def test_a_resumed_run_sends_again_only_what_tensorboard_forgets(packages, folder):
    written(folder, "tensorboard,wandb").log.close()
    run_id = json.loads((folder / "trackers.json").read_text(encoding="utf-8"))["id"]
    size = (folder / "metrics.jsonl").stat().st_size
    (folder / "tensorboard").mkdir()
    packages.clear()
    copies = trackers.open_log(folder, size, "tensorboard,wandb", {}, 10)
    ((_, options),) = told(packages, "SummaryWriter")
    assert options == {"purge_step": 10} and (folder / "tensorboard").exists()
    assert {args[2] for args, _ in told(packages, "add_scalar")} == {10}
    assert len(told(packages, "add_scalar")) == len(NUMBERS[1] | NUMBERS[2])
    assert not told(packages, "wandb.log") and told(packages, "wandb.init")[0][1]["id"] == run_id
    packages.clear()
    copies.write({"step": 11, "probe/rms": [5.0, 6.0, 7.0]})
    ((args, _),) = told(packages, "add_image")  # with the columns of the process before
    columns = [ROWS[1]["probe/rms"], [None, 2.0, None], [5.0, 6.0, 7.0]]
    assert (args[1] == picture(columns, LOG)).all()


def test_a_new_run_in_an_old_folder_is_a_new_run_everywhere(packages, folder):
    written(folder, "wandb").log.close()
    (folder / "tensorboard").mkdir()
    before = json.loads((folder / "trackers.json").read_text(encoding="utf-8"))["id"]
    written(folder, "wandb,tensorboard", []).log.close()
    assert not (folder / "tensorboard").exists()
    ids = [options["id"] for _, options in told(packages, "wandb.init")]
    assert ids[0] == before != ids[1] and len(set(ids)) == 2


def test_a_tracker_that_fails_gets_nothing_more_and_the_others_all(packages, folder, monkeypatch, capsys):
    def fail(*rest, **options):
        raise RuntimeError("no space\nand more")

    monkeypatch.setattr(sys.modules["trackio"], "Markdown", fail)
    copies = written(folder, "trackio,wandb")
    assert not told(packages, "trackio.log") and len(told(packages, "wandb.log")) == 3
    warnings = capsys.readouterr().err
    assert warnings == "warning: trackio failed (RuntimeError: no space); going on without it\n"
    copies.close()
    assert not told(packages, "trackio.log_artifact") and told(packages, "wandb.finish")


def test_a_picture_has_layer_0_at_the_bottom_time_to_the_right_and_small_values_dark():
    columns = [[1e-10, 1e3], [10**-3.5, 1e3], [1e3, 1e3]]
    image = picture(columns, LOG)[:, :-32].astype(int)
    height, width = image.shape[0] // 2, image.shape[1] // 3
    cells = image[height // 2 :: height, width // 2 :: width]  # (layers, steps, 3)
    assert (cells[1, 0] == RAMP[0]).all() and (cells[1, 2] == RAMP[-1]).all()
    assert (cells[1, 1] == RAMP[2]).all()  # halfway by its logarithm
    assert (cells[0] == np.array(RAMP[-1])).all()
    signed = picture([[-1.0, 0.0, 1.0]], Scale(-1, 1)).astype(int)
    assert (signed[128, 0] == RAMP[2]).all()


def test_text_keeps_its_line_breaks_and_the_final_losses_stand_beside_the_settings(packages, folder):
    rows = [*ROWS, {"step": 11, "train/loss": 2.25, "val/loss": 2.125, "sample/text": "a\n```\nb"}]
    written(folder, "tensorboard,trackio", rows).close()
    texts = [args[1] for args, _ in told(packages, "add_text") if args[0] == "sample/text"]
    assert texts == ["abc", "````\na\n```\nb\n````"]
    assert told(packages, "trackio.log")[-1][0][0]["sample/text"] == ("markdown", texts[1])
    (((settings, losses), _),) = told(packages, "add_hparams")
    assert settings == {"n_layer": 4} and losses == {"final/train/loss": 2.25, "final/val/loss": 2.125}
    (((layout,), _),) = told(packages, "add_custom_scalars")
    assert layout["loss"]["losses and baselines"][1] == trackers.ONE_CHART
