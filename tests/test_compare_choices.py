"""compare.py: which runs are chosen, how many fit a terminal, and grids over any setting."""

from pathlib import Path

import pytest
from runs_by_hand import write_run
from sixty_runs import write_sixty
from test_compare import SMOKE, planned

import compare
from reslab.report.selection import load_runs, sort_runs
from reslab.report.summary import fitted_differences, fitted_table, group_rows, row
from reslab.run.configfile import UsageError
from reslab.run.fields import flat
from reslab.run.log import read_run
from reslab.run.settings import TrainConfig
from reslab.training import grid
from reslab.training.optimizer import OPTIMIZERS


def test_runs_are_searched_for_chosen_sorted_and_averaged(tmp_path, capsys):
    for arm in ("pre", "none", "post"):
        for n in (4, 8):
            for seed in (1, 2):
                name = f"{arm}{n}{seed}"
                write_run(tmp_path, name, (3.0 - n / 10 + seed / 100,), residual=arm, n_layer=n, seed=seed)
    (tmp_path / "none82" / "checkpoint").mkdir()
    (tmp_path / "none82" / "checkpoint" / "config.json").write_text("{}", encoding="utf-8")
    page = f"--page={tmp_path / 'p.html'}"
    argv = ["--where", "residual=pre,none", "--where=n_layer>=8", "--sort=-val", page]
    assert compare.main([str(tmp_path), *argv]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:6]] == ["none82", "pre82", "none81", "pre81"]
    assert compare.main([str(tmp_path), "--where=n_layer=8.0", "--mean=seed", page]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split(",")[0] for line in lines[2:5]) == ["none", "post", "pre"]
    (tmp_path / "empty").mkdir()
    for place, message in {
        "empty": "none is below it",
        "pre41x": "no such file or folder; did you mean pre41",
    }.items():
        with pytest.raises(ValueError, match=message):
            compare.main([str(tmp_path / place), page])
    capsys.readouterr()
    assert compare.main([str(tmp_path / "empty"), str(tmp_path / "pre41"), page]) == 0
    told = capsys.readouterr()
    assert told.err.count("left out: ") == 1 and "empty" in told.err and "pre41" in told.out


def test_a_condition_that_no_run_can_meet_is_one_line(tmp_path, capsys):
    for arm in ("pre", "none"):
        for n in (4, 8):
            write_run(tmp_path, f"{arm}{n}", residual=arm, n_layer=n)
    page = f"--page={tmp_path / 'p.html'}"
    for argv, message in {
        ("--where=n_leyer=8",): "no such setting; did you mean n_layer",
        ("--where=n_layer",): "must be SETTING=VALUE",
        ("--where=n_layer>x",): "must be a number",
        ("--where=n_layer=x",): "--where=n_layer=x: must be a whole number",
        ("--where=n_layer=5",): "no run has n_layer 5; there are 4, 8",
        ("--where=n_layer=4", "--where=n_layer=8"): "none of 4 runs",
        ("--where=residual=pre,non",): "--where=residual=non: allowed are .*; did you mean none",
        ("--where=residual!=non",): "--where=residual=non: allowed are .*; did you mean none",
        ("--where=arm=non",): "did you mean none",
        ("--where=status=done",): "allowed are finished, diverged, unfinished, foreign",
        ("--where=probes=yes",): "must be True or False",
        ("--where=probes=1",): "must be True or False",  # it is no number
        ("--where",): "^--where: needs a value",
        ("--where", "--sort=val"): "^--where: needs a value",
        ("--sort=speed",): "--sort=speed: allowed are val",
        ("--sort=n_layr",): "did you mean n_layer",
    }.items():
        with pytest.raises(ValueError, match=message):
            compare.main([str(tmp_path), *argv, page])
    capsys.readouterr()
    assert compare.main([str(tmp_path), "--where=residual=pre,rezero", page]) == 0
    said = capsys.readouterr()
    note = "note: --where=residual=pre,rezero: no run has residual rezero; there are none, pre\n"
    assert said.err == note and "pre8" in said.out and "none8" not in said.out


def test_a_choice_that_no_cell_can_meet_is_told_before_any_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "train_cells", lambda *_: pytest.fail("trained"))
    argv = [SMOKE, "--arms=pre,none", f"--out_dir={tmp_path / 'runs'}", f"--page={tmp_path / 'p.html'}"]
    for choice, message in {
        "--where=n_leyer=8": "no such setting; did you mean n_layer",
        "--where=residual=non": "allowed are .*; did you mean none",
        "--where=status=done": "allowed are finished",
        "--where=n_layer=77": "no run has n_layer 77; there are 3",
        "--sort=speed": "allowed are val",
        "--map=a=val/loss": "for foreign curves; with a config there are none",
        "--same_data": "for foreign curves",
    }.items():
        with pytest.raises(UsageError, match=message):
            compare.main([*argv, choice])
    known_after_training = ["--where=status=finished", "--sort=-val"]
    assert compare.main([*argv, *known_after_training, "--list"]) == 0


@pytest.mark.parametrize(("key", "order"), [("val", "bcad"), ("-val", "acbd"), ("n_layer", "dabc")])
def test_runs_without_a_value_come_last(tmp_path, key, order):
    """And depths are sorted as numbers; equal ones stay as they are."""
    for name, loss, depth in (("a", 3.0, 10), ("b", 1.0, 10), ("c", 2.0, 12)):
        write_run(tmp_path, name, (loss,), n_layer=depth)
    write_run(tmp_path, "d", rows=[{"step": 0, "batch/loss": 4.0}], n_layer=9)  # not evaluated yet
    runs, _ = load_runs([tmp_path / name for name in "abcd"])
    assert "".join(run.folder.name for run in sort_runs(runs, key)) == order


@pytest.mark.parametrize("count", [40, 400])
def test_a_table_of_many_runs_fits_the_terminal(tmp_path, count):
    place = tmp_path / "a-folder-with-a-rather-long-name"
    place.mkdir()
    runs = [read_run(write_run(place, f"run-{k}", (2.0 + k / 1000,), seed=k)) for k in range(count)]
    text = fitted_table([row(run) for run in runs], width=80)
    lines = text.splitlines()
    assert max(map(len, lines[: count + 1])) <= 80 and len(lines) < count + 15
    assert "all runs: arm pre" in text and "all runs: layers 4" in text and text.count(str(place)) == 1
    assert all(f"{2.0 + k / 1000:.3f} ± 0.020" in lines[k + 1] for k in range(count))


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_tables_of_runs_of_all_kinds_fit_and_hold_every_loss(tmp_path, monkeypatch, width):
    monkeypatch.chdir(tmp_path)  # a path is no wider than it is on any machine
    Path("a-folder").mkdir()
    written = write_sixty(Path("a-folder"))
    runs, _ = load_runs([one.place for one in written])
    texts = [fitted_table(rows, width) for rows in ([row(run) for run in runs], group_rows(runs))]
    for text in [*texts, fitted_differences(runs[:4], width), fitted_differences(runs[38:42], width)]:
        wide = [line for line in text.splitlines() if len(line) > width]
        assert all(" " not in line.strip() for line in wide), wide  # a path
    for one in written:
        assert one.val is None or f"{one.val:.3f}" in texts[0]
    for cells in group_rows(runs):
        assert cells["val"] in texts[1] and cells["group"] in " ".join(texts[1].split())


def test_any_setting_varies_and_equal_values_are_one_run(tmp_path):
    argv = ("--vary", "optimizer=adamw,muon", "--vary=beta2=0.95,9.5e-1,0.99", "--lrs=1e-3,0.001,1E-3")
    cells = planned(*argv, f"--out_dir={tmp_path}")
    assert len(cells) == 4
    assert {(cell["optimizer"], cell["beta2"]) for cell in cells.values()} == {
        (optimizer, beta2) for optimizer in ("adamw", "muon") for beta2 in ("0.95", "0.99")
    }
    assert len({folder.name for folder in cells}) == 4 and {c["learning_rate"] for c in cells.values()} == {
        "0.001"
    }
    for word, message in {
        "--vary=beta3=1": "no such setting; did you mean beta[12]",
        "--vary=resume=True": "resume=True: makes no run another experiment; give it once, for all runs",
        "--vary=beta2": "must be SETTING=VALUE",
        "--vary=beta2=x": "beta2=x: must be a number",
        "--vary=optimizer=lion": f"allowed are {', '.join(OPTIMIZERS)}",
    }.items():
        with pytest.raises(ValueError, match=message):
            planned(word, f"--out_dir={tmp_path}")


@pytest.mark.parametrize(
    ("argv", "note"),
    [
        (("--lrs=1e-3,2e-3", "--optimizer=muon", "--muon_lr=0.01"), "learning_rate turns only AdamW's part"),
        (("--lrs=1e-3,2e-3",), None),
        (("--vary=muon_lr=0.01,0.02",), "muon_lr has no effect without optimizer=muon"),
        (("--vary=muon_lr=0.01,0.02", "--vary=optimizer=adamw,muon"), "muon_lr in 1 of 2 combinations"),
        (("--vary=residual_scale=0.5,0.7",), "residual_scale has no effect without the wiring scaled"),
        (("--vary=residual_scale=0.5,0.7", "--arms=scaled"), None),
        (("--vary=init_qk_scale=1,3",), "init_qk_scale has no effect without init=self or shared_qk"),
        (("--vary=init_qk_scale=1,3", "--init=shared_qk"), None),
        (
            ("--vary=skip_blocks=every:2,last:1",),
            "skip_blocks has no effect without the wiring",
        ),
        (("--vary=skip_blocks=every:2,last:1", "--arms=partial_skips"), None),
    ],
)
def test_a_varied_setting_without_effect_is_told(tmp_path, capsys, argv, note):
    compare.main([SMOKE, *argv, "--list", f"--out_dir={tmp_path}"])
    told = capsys.readouterr().err
    assert told.startswith(f"note: {note}") if note else told == ""


def test_the_cells_are_listed_with_their_time_and_one_is_trained_by_its_number(tmp_path, monkeypatch, capsys):
    argv = [SMOKE, "--arms=pre,none", "--seeds=2", f"--out_dir={tmp_path}"]
    parsed, real = [], grid.parse
    monkeypatch.setattr(grid, "parse", lambda *rest, **options: parsed.append(rest) or real(*rest, **options))
    assert compare.main([*argv, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:4]] == ["1", "2", "3", "4"]
    assert lines[-1] == "4 cells; time left: unknown until one has finished"
    assert len(parsed) == 4  # each cell's command line once
    trained = []
    monkeypatch.setattr(grid, "train_cell", lambda folder, *rest: trained.append(folder.name) or 0)
    assert compare.main([*argv, "--cell=3"]) == 0
    assert trained == ["none-L3-s1337"] and not (tmp_path / "compare.html").exists()
    with pytest.raises(ValueError, match="must be 1 to 4"):
        compare.main([*argv, "--cell=5"])
    monkeypatch.setattr(grid, "_check_same", lambda *rest: None)
    write_run(tmp_path, "pre-L3-s1337")  # it took 30.25 s
    capsys.readouterr()
    assert compare.main([*argv, "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("pre-L3-s1337  finished") and lines[1].endswith("not begun, about 30 s")
    assert lines[-1] == "4 cells; time left: about 91 s on this machine, one after the other"


def test_a_short_run_says_little_of_how_long_a_deep_one_takes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(grid, "_check_same", lambda *rest: None)
    for layers in (3, 30):
        write_run(tmp_path, f"pre-L{layers}-s1337", n_layer=layers)  # each took 30.25 s
    argv = [SMOKE, "--arms=pre,none", "--depths=3,30", f"--out_dir={tmp_path}", "--list"]
    assert compare.main(argv) == 0
    lines = capsys.readouterr().out.splitlines()
    times = [line.rpartition("about ")[2] for line in lines if "not begun" in line]
    assert times == ["6 s", "55 s"] and "time left: about 60 s" in lines[-1]  # 60.5 s for 33 layers


def test_seeds_are_given_to_the_grids_of_a_study_that_name_none(tmp_path):
    config = tmp_path / "mine.py"
    named = "'b': {'seed': [7], 'max_iters': [700]}"
    config.write_text(f"study = {{'a': {{'residual': ['none']}}, {named}}}\n", encoding="utf-8")

    def cells(*argv):
        words = [str(config), f"--out_dir={tmp_path}", "--seed=4", *argv]
        return {cell.folder.name: cell.config.seed for cell in grid.plan(*compare.read_arguments(words))}

    assert cells() == {"a-none": 4, "b-s7-max_iters700": 7}
    assert cells("--seeds=2") == {"a-none-s4": 4, "a-none-s5": 5, "b-s7-max_iters700": 7}
    config.write_text(f"study = {{{named}}}\n", encoding="utf-8")
    with pytest.raises(UsageError, match="--seeds=2: leave it out, each grid of the study has its own"):
        cells("--seeds=2")


def test_what_has_ended_takes_no_more_time_and_what_was_stopped_all_of_it(tmp_path):
    """Equal cells take as long as the one that has finished; how much a stopped one has done is not read."""
    for name, status in (("done", "finished"), ("diverged", "diverged"), ("stopped", "")):
        write_run(tmp_path, name, status=status)
    names = ("done", "diverged", "stopped", "new", "newer")
    equal = [grid.Cell(tmp_path / name, [], TrainConfig(), "", {}) for name in names]
    *lines, last = grid.listing(equal)
    states = [
        "finished",
        "diverged",
        "unfinished, about 30 s",
        "not begun, about 30 s",
        "not begun, about 30 s",
    ]
    assert [line.split("  ")[2] for line in lines] == states
    assert last == "5 cells; time left: about 91 s on this machine, one after the other"


@pytest.mark.parametrize(
    ("setting", "idle", "counts"),
    [
        ("min_lr", {"schedule": "linear"}, {"schedule": "cosine"}),
        ("residual", {"attn_residual": "pre", "mlp_residual": "none"}, {"attn_residual": "pre"}),
        ("muon_lr", {"optimizer": "sgd"}, {"optimizer": "muon"}),
        ("learning_rate", {"optimizer": "muon", "muon_lr": 0.1}, {"optimizer": "muon", "muon_lr": 0.0}),
    ],
)
def test_a_setting_has_no_effect_where_another_stands_in_its_place(setting, idle, counts):
    usual = flat(TrainConfig())
    holds, _ = grid.WITHOUT_EFFECT[setting]
    assert holds(usual | idle) and not holds(usual | counts)
