"""What a program is asked to write and can't is told in one line, before anything is read or trained.

One rule: a file needs a folder that is there, and a folder is made.
"""

import os
from pathlib import Path

import pytest
from conftest import ROOT, run_python
from runs_by_hand import write_run
from test_settings import DOORS, read, told

import compare
from reslab.data.prepare_cli import arguments
from reslab.run.fields import flat, settings, short
from reslab.run.files import output_fault

OUTPUTS = [  # option, whether it is a folder
    (door, key, setting.output.folder)
    for door, (cls, _) in DOORS.items()
    for key, setting in settings(cls).items()
    if setting.output
]


@pytest.fixture
def closed(tmp_path):
    """A folder in which nothing can be written, for root neither."""
    if Path("/proc/self").exists():
        return Path("/proc")
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o500)
    if os.access(folder, os.W_OK):
        pytest.skip("this user may write everywhere")
    return folder


def test_a_file_of_a_run_an_input_and_one_place_for_two_are_refused(tmp_path):
    run = write_run(tmp_path, "a")
    (run / "checkpoint" / "last").mkdir(parents=True, exist_ok=True)
    state = run / "checkpoint" / "last" / "state.json"
    state.write_text("{}", encoding="utf-8")
    for path in (run / "config.json", run / "metrics.jsonl", state):
        (line,) = told("compare", f"--csv={path}")
        assert f"is a file of the run {run}; choose another place" in line
    read("compare", f"--csv={run / 'new.csv'}")
    (line,) = told("compare", f"--csv={tmp_path / 'x'}", f"--json={tmp_path / 'x'}")
    assert line.endswith("is where --json goes") or line.endswith("is where --csv goes")
    read("compare", "--csv=/dev/null", "--json=/dev/null")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (line,) = told("compare", f"--csv={tmp_path / 'loop'}")
    assert line.endswith("is a link that leads to itself")
    curve = tmp_path / "other.csv"
    curve.write_text("step,val/loss\n0,4\n1,3\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.csv: is an input; choose another place"):
        compare.main([str(run), str(curve), f"--csv={curve}", f"--page={tmp_path / 'p.html'}"])
    assert curve.read_text(encoding="utf-8").startswith("step,")


def test_every_path_that_is_no_input_is_known_as_an_output():
    for door, (cls, _) in DOORS.items():
        for key, setting in settings(cls).items():
            assert (setting.kind is Path) is (setting.output is not None), f"{door} --{key}"
    assert {key for door, key, _ in OUTPUTS if door == "compare"} == {
        *("page", "json", "csv", "tex", "curves", "png")
    }


@pytest.mark.parametrize(("door", "key", "folder"), OUTPUTS)
def test_an_output_that_can_not_be_written_is_one_line_at_once(door, key, folder, tmp_path, closed):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    right, wrong = ("folder", tmp_path / "file") if folder else ("file", tmp_path / "folder")
    for argv, message in [
        ([f"--{key}"], f"--{key}: needs a value"),
        ([f"--{key}", "--print_config=False"], f"--{key}: needs a value"),
        ([f"--{key}="], f"--{key}=: needs a value"),
        (
            [f"--{key}={wrong}"],
            f"--{key}={short(wrong)}: is a {wrong.name}, must be a {'folder' if folder else 'file'}",
        ),
        (
            [f"--{key}={tmp_path}/file/x"],
            f"--{key}={short(tmp_path / 'file' / 'x')}: {tmp_path / 'file'} is a file",
        ),
        ([f"--{key}={closed}/x"], f"--{key}={short(closed / 'x')}: nothing can be written in {closed}"),
    ]:
        (line,) = told(door, *argv)
        assert line.startswith(message), line
    below = tmp_path / "not" / "there" / "x"
    if folder:
        assert flat(read(door, f"--{key}={below}").config)[key] == str(below)
    else:
        (line,) = told(door, f"--{key}={below}")
        assert line.startswith(f"--{key}={short(below)}: no folder {below.parent}")
    for good in (tmp_path / "new", tmp_path / right, *([] if folder else [os.devnull])):
        assert flat(read(door, f"--{key}={good}").config)[key] == str(good)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder"]  # nothing was made
    assert (tmp_path / "file").read_text(encoding="utf-8") == "kept"


def test_a_page_may_lie_beside_the_runs_that_will_be_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read("compare", "--out_dir=runs/study", "--page=runs/study.html", "--csv=runs/study/a.csv")
    assert told("compare", "--out_dir=runs/study", "--page=pages/study.html")
    assert told("compare", "--out_dir=runs/study", "--page=runs/other/study.html")


def test_no_page_is_written_for_a_list_or_a_cell(closed):
    for word in ("--list", "--cell=2"):
        assert read("compare", word, f"--page={closed}/x")


def test_a_link_is_what_it_leads_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "file")
    assert output_fault(tmp_path / "link").startswith("no folder")
    (tmp_path / "nowhere").mkdir()
    assert output_fault(tmp_path / "link") is None and not list((tmp_path / "nowhere").iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("place", ["file", "file/x", "{closed}/x"])
def test_folders_of_runs_models_and_datasets_are_told_at_once_too(place, tmp_path, closed, capsys):
    (tmp_path / "file").write_text("kept", encoding="utf-8")
    place = place.format(closed=closed)
    argv = [f"--out_dir={place}", "--device=cpu", "--dataset=none"]
    said = run_python(ROOT / "train.py", *argv, cwd=tmp_path, code=2).stderr
    assert f"error: out_dir={place}: " in said and "Errno" not in said
    said = run_python(ROOT / "export.py", "no-run", place, cwd=tmp_path, code=2).stderr.splitlines()
    assert len(said) == 1 and said[0].startswith(f"error: {place}: ")
    with pytest.raises(SystemExit) as ended:
        arguments("about", tmp_path).parse_args([f"--out={tmp_path / place}"])
    assert ended.value.code == 2 and f"{tmp_path / place}: " in capsys.readouterr().err


def test_an_output_replaces_no_file_of_a_run_a_dataset_or_a_model_and_no_source_text(tmp_path):
    run = write_run(tmp_path, "run")
    owned = {run / name: "is a file of the run" for name in ("config.json", "metrics.jsonl", "probes.jsonl")}
    for folder, names in {
        "data": ("meta.json", "val.bin"),
        "model": ("model.safetensors", "config.json"),
    }.items():
        (tmp_path / folder).mkdir()
        owned |= {tmp_path / folder / name: "is a file of the " for name in names}
    owned |= {tmp_path / name: "is text that a person wrote" for name in ("a.py", "b.ipynb", "README.md")}
    for path in owned:
        path.touch()
    for path, reason in owned.items():
        assert (output_fault(path) or "").startswith(reason), path
    for free in (tmp_path / "new.py", tmp_path / "data" / "table.json", run / "page.html"):
        assert output_fault(free) is None, free
    (tmp_path / "old.json").touch()
    assert output_fault(tmp_path / "old.json") is None  # an earlier result
