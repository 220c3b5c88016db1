"""compare.py: which runs a grid asks for, which are kept, and with which code it ends."""

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import ROOT
from runs_by_hand import write_run

import compare
from reslab.report import serve, trackers
from reslab.report.summary import differences, fitted_table, row, table
from reslab.run import config as configure
from reslab.run.log import read_run
from reslab.training import grid

SMOKE = str(ROOT / "config" / "smoke.py")


def planned(*argv: str) -> dict[Path, dict[str, str]]:
    """Run directory -> the settings on its command line, later words winning."""
    args, places, settings = compare.read_arguments([SMOKE, *argv])
    cells = grid.plan(args, places, settings)
    assert all(cell.argv[0] == SMOKE for cell in cells)
    return {
        cell.folder: dict(word.removeprefix("--").split("=", 1) for word in cell.argv[1:]) for cell in cells
    }


def test_a_grid_is_every_combination_once(tmp_path):
    cells = planned(
        *("--arms=pre,none", "--depths=3,5", "--lrs=1e-3,2e-3", "--seeds=2", "--seed=70"),
        *("--dropout=0.25", f"--out_dir={tmp_path}"),
    )
    expected = {
        (arm, n, lr, seed)
        for arm in ("pre", "none")
        for n in "35"
        for lr in ("0.001", "0.002")
        for seed in ("70", "71")
    }
    keys = ("residual", "n_layer", "learning_rate", "seed")
    assert len(cells) == 16 and {tuple(cell[key] for key in keys) for cell in cells.values()} == expected
    for folder, cell in cells.items():
        arm, n, lr, seed = (cell[key] for key in keys)
        assert folder == tmp_path / f"{arm}-L{n}-lr{lr}-s{seed}" == Path(cell["out_dir"])
        assert cell["dropout"] == "0.25"


def test_what_is_not_asked_for_is_the_configs(tmp_path):
    (folder, cell), *others = planned("--n_layer=4", "--seed=9", f"--out_dir={tmp_path}").items()
    assert not others and folder.name == "pre-L4-s9"
    assert (cell["residual"], cell["n_layer"], cell["seed"]) == ("pre", "4", "9")


def test_a_study_is_trained_unless_the_command_line_asks_for_a_grid(tmp_path):
    config = tmp_path / "mine.py"
    config.write_text(
        "n_layer = 2\nn_head = 2\nn_embd = 16\n"
        "study = {'a': {'residual': ['pre', 'none'], 'dropout': [0.5]}, 'b': {'max_iters': [700, 900]}}\n",
        encoding="utf-8",
    )

    def folders(*argv):
        args, places, settings = compare.read_arguments([str(config), f"--out_dir={tmp_path}", *argv])
        return [cell.folder.name for cell in grid.plan(args, places, settings)]

    assert folders() == ["a-pre-dropout0.5", "a-none-dropout0.5", "b-max_iters700", "b-max_iters900"]
    assert folders("--arms=rezero") == ["rezero-L2-s1337"]


def finished(tmp_path, **changes) -> Path:
    """The run directory of a grid's only cell, as if it was trained, with some settings changed since."""
    args, places, settings = compare.read_arguments([SMOKE, f"--out_dir={tmp_path}"])
    (cell,) = grid.plan(args, places, settings)
    folder, config = cell.folder, configure.flat(cell.config)
    write_run(tmp_path, folder.name)
    kept = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept["config"] = config | changes
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("max_iters", 7),
        ("n_layer", 9),
        ("seed", 3),
        ("dataset", "other"),
        ("learning_rate", 0.5),
        ("dtype", "x"),
        ("eval_interval", 3),
        ("eval_sequences", 3),
    ],
)
def test_a_run_with_another_setting_is_not_taken_for_the_one_asked_for(tmp_path, key, value):
    folder = finished(tmp_path, **{key: value})
    with pytest.raises(ValueError) as told:
        planned(f"--out_dir={tmp_path}")
    (line,) = str(told.value).splitlines()
    assert (
        line.startswith(f"{folder}: made with {key}={value}, now {key}=") and f"now {key}={value}" not in line
    )


def test_how_and_where_a_run_was_made_does_not_make_it_another(tmp_path):
    folder = finished(
        tmp_path, device="cuda:3", compile="True", log="wandb", out_dir="elsewhere", resume=True
    )
    assert list(planned(f"--out_dir={tmp_path}")) == [folder]


def test_a_run_from_before_a_setting_was_there_has_its_default(tmp_path):
    folder = finished(tmp_path)
    kept = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del kept["config"]["skip_blocks"]
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    assert list(planned(f"--out_dir={tmp_path}")) == [folder]
    with pytest.raises(ValueError, match=f"{folder}: made with skip_blocks=every:3, now skip_blocks=last:1"):
        planned(f"--out_dir={tmp_path}", "--skip_blocks=last:1")


@pytest.fixture
def cells(tmp_path):
    """Five cells: finished, diverged, stopped, and two that have not begun."""
    write_run(tmp_path, "done")
    write_run(tmp_path, "diverged", status="diverged")
    write_run(tmp_path, "stopped", status="")
    return [(tmp_path / name, [f"--name={name}"]) for name in ("done", "diverged", "stopped", "new", "newer")]


def test_what_has_ended_is_kept_and_the_rest_is_trained(cells, monkeypatch, capsys):
    trained = []
    monkeypatch.setattr(
        grid, "train_cell", lambda folder, argv, jobs, _: trained.append((folder.name, argv, jobs)) or 0
    )
    assert grid.train_grid(cells, 1) == 0
    assert trained == [(name, [f"--name={name}"], 1) for name in ("stopped", "new", "newer")]
    states = [
        line.partition(" ")[0] + line.rpartition(":")[2] for line in capsys.readouterr().out.splitlines()
    ]
    assert states == ["[1/5] kept", "[2/5] kept", "[3/5] resuming", "[4/5] training", "[5/5] training"]


@pytest.mark.parametrize(
    ("codes", "begun", "answer"),
    [
        ({"new": 3}, ["stopped", "new", "newer"], 0),  # a divergence is a result
        ({"stopped": 3, "new": 3, "newer": 3}, ["stopped", "new", "newer"], 0),
        ({"stopped": 1}, ["stopped"], 1),
        ({"stopped": 3, "new": 2}, ["stopped", "new"], 2),
        ({"new": 143}, ["stopped", "new"], 143),
    ],
)
def test_a_cell_that_breaks_ends_the_grid_with_its_code_and_a_divergence_does_not(
    cells, monkeypatch, capsys, codes, begun, answer
):
    trained = []
    monkeypatch.setattr(
        grid, "train_cell", lambda folder, *rest: trained.append(folder.name) or codes.get(folder.name, 0)
    )
    assert grid.train_grid(cells, 1) == answer and trained == begun
    told = capsys.readouterr().err
    assert (f"{begun[-1]}: ended with exit code {answer}" in told) is bool(answer)


def test_ctrl_c_ends_the_grid_after_the_cell_that_runs(cells, monkeypatch):
    trained, before = [], signal.getsignal(signal.SIGINT)

    def interrupted(folder, argv, jobs, children):
        trained.append(folder.name)
        os.kill(os.getpid(), signal.SIGINT)  # to the process, as a terminal sends it: the main thread wakes
        while not children.stopping:  # the handler runs in the main thread
            time.sleep(0.001)
        return 0

    monkeypatch.setattr(grid, "train_cell", interrupted)
    assert grid.train_grid(cells, 1) == 130 and trained == ["stopped"]
    assert signal.getsignal(signal.SIGINT) is before


def test_as_many_cells_as_asked_for_train_at_once(cells, monkeypatch):
    both = threading.Barrier(2, timeout=20)
    monkeypatch.setattr(grid, "train_cell", lambda *rest: both.wait() * 0)
    assert grid.train_grid(cells[2:4], 2) == 0  # alone, the first would wait in vain


@pytest.mark.parametrize("code", [0, 1, 2, 3, 130])
@pytest.mark.parametrize("jobs", [1, 3])
def test_a_cell_is_train_py_in_a_process_of_its_own(tmp_path, monkeypatch, capsys, jobs, code):
    calls = []

    def run(command, **options):
        calls.append((command, options))
        return SimpleNamespace(returncode=code, stdout="first\nlast word\n", stderr="")

    monkeypatch.setattr(grid.os, "cpu_count", lambda: 8)
    begun = write_run(tmp_path, "begun", status="")
    for folder, more in ((tmp_path / "new", []), (begun, ["--resume"])):
        assert grid.train_cell(folder, ["a.py", "--seed=1"], jobs, SimpleNamespace(run=run)) == code
        command, options = calls.pop()
        assert command == [sys.executable, str(ROOT / "train.py"), "a.py", "--seed=1", *more]
        assert jobs == 1 or options["env"]["OMP_NUM_THREADS"] == "2"  # its share of the cores
    assert capsys.readouterr().out == ("" if jobs == 1 else "last word\n" * 2)


def test_a_broken_grid_writes_no_page_and_its_code_is_the_programs(tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    argv = [SMOKE, f"--out_dir={tmp_path / 'grid'}", f"--page={page}"]
    monkeypatch.setattr(grid, "train_cell", lambda *rest: 1)
    assert compare.main(argv) == 1 and not page.exists()


def test_a_grid_that_is_trained_is_reported_and_its_page_published(tmp_path, monkeypatch, capsys):
    def trained(folder, *rest):
        write_run(folder.parent, folder.name, log="wandb")
        return 0

    (tmp_path / "grid").mkdir()
    published = []
    monkeypatch.setattr(grid, "train_cell", trained)
    monkeypatch.setattr(trackers, "publish_page", lambda *args: published.append(args))
    page = tmp_path / "page.html"
    assert compare.main([SMOKE, "--seeds=2", f"--out_dir={tmp_path / 'grid'}", f"--page={page}"]) == 0
    assert published == [(page, "wandb", tmp_path / "grid")]
    assert "pre-L3-s1337" in capsys.readouterr().out


@pytest.mark.parametrize("count", [1, 2, 4, 5])
def test_the_report_is_the_table_what_differs_the_page_and_the_json(tmp_path, monkeypatch, capsys, count):
    folders = [write_run(tmp_path, f"r{k}", seed=k) for k in range(count)]
    runs = [read_run(folder) for folder in folders]
    page, kept = tmp_path / "p.html", tmp_path / "t.json"
    monkeypatch.setattr(sys, "argv", ["compare.py", "r0", "and so on"])
    assert compare.main([*map(str, folders), f"--page={page}", f"--json={kept}", "--title=A & B"]) == 0
    output = capsys.readouterr().out
    assert fitted_table([row(run) for run in runs]) in output
    assert (1 < count <= 4) is (table(differences(runs)) in output if count > 1 else False)
    assert all(f'"name":"r{k}"' in page.read_text(encoding="utf-8") for k in range(count))
    assert "<title>A &amp; B</title>" in page.read_text(encoding="utf-8")
    report = json.loads(kept.read_text(encoding="utf-8"))
    assert [one["run"] for one in report["runs"]] == [f"r{k}" for k in range(count)]
    assert report["command"] == "compare.py r0 and so on"


def test_settings_without_a_config_and_missing_runs_are_refused(tmp_path):
    run = str(write_run(tmp_path))
    for argv in (["--arms=pre"], ["--lrs=1"], ["--depths=3"], ["--ray=local"], ["--dropout=0"]):
        with pytest.raises(ValueError, match="need a config file to train"):
            compare.main([run, *argv])
    with pytest.raises(ValueError, match="no such file or folder"):
        compare.main([run, str(tmp_path / "none")])


def test_a_live_page_follows_every_file_it_is_made_of(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        serve,
        "PageServer",
        lambda port, read, changed: (
            seen.update(read=read, changed=changed) or SimpleNamespace(url="", close=lambda: None)
        ),
    )
    folders = [write_run(tmp_path, "a"), tmp_path / "later"]
    config = SimpleNamespace(serve=True, port=0, map="", same_data=False, title="a talk")
    with compare.served(config, folders):
        assert [one["name"] for one in seen["read"]()["runs"]] == ["a"] and seen["read"]()[
            "title"
        ] == "a talk"
        states = [seen["changed"]()]
        for name in ("config.json", "metrics.jsonl", "autopsy.json"):
            with (folders[0] / name).open("a", encoding="utf-8") as file:
                file.write(" ")
            states.append(seen["changed"]())
        write_run(tmp_path, "later")
        states.append(seen["changed"]())
        (folders[0] / "lock").touch()
        assert seen["changed"]() == states[-1]
    assert len({str(state) for state in states}) == 5
