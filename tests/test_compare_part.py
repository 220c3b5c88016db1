"""compare.py CONFIG --where: a part of a grid is trained, and what conditions see of its cells."""

import shutil
from dataclasses import replace

import pytest
from runs_by_hand import write_run
from test_compare import SMOKE

import compare
from reslab.run.configfile import UsageError
from reslab.training import grid, init_from


def test_of_a_grid_only_the_cells_that_were_asked_for_are_trained(tmp_path, monkeypatch, capsys):
    """What a condition on settings leaves out costs no training, and --cell counts what --list shows; how a
    run ends is known only behind it."""
    argv = [SMOKE, "--arms=pre,none,rezero", "--depths=1,2", f"--out_dir={tmp_path / 'runs'}"]
    argv += [f"--page={tmp_path / 'p.html'}", "--where=residual=pre,rezero", "--where=n_layer>=2"]
    trained = []

    def train(_, cells) -> int:
        for cell in cells:
            trained.append(cell.folder.name)
            cell.folder.parent.mkdir(exist_ok=True)
            ended = "diverged" if cell.config.model.residual == "rezero" else "finished"
            write_run(cell.folder.parent, cell.folder.name, status=ended)
        return 0

    monkeypatch.setattr(grid, "train_cells", train)
    assert compare.main([*argv, "--where=residual=pre,none,rezero,post", "--list"]) == 0
    out, err = capsys.readouterr()
    assert "pre-L2" in out and "rezero-L2" in out and "2 cells" in out and "none" not in out
    assert err.count("no run has residual post") == 1
    compare.main([*argv, "--where=status=finished"])
    assert trained == ["pre-L2-s1337", "rezero-L2-s1337"]
    out = capsys.readouterr().out
    assert "pre-L2-s1337" in out and "rezero" not in out
    shutil.rmtree(tmp_path / "runs")
    trained.clear()
    compare.main([*argv, "--cell=2"])
    assert trained == ["rezero-L2-s1337"]


def test_a_condition_sees_the_shape_that_a_foreign_model_dictates(tmp_path, monkeypatch):
    """And without conditions no model is looked into: that may read all of its weights."""
    looked = []

    def dictated(config):
        looked.append(config)
        return replace(config, model=replace(config.model, n_embd=48))

    monkeypatch.setattr(init_from, "resolve_init_from", dictated)
    argv = [
        SMOKE,
        "--arms=pre,none",
        f"--out_dir={tmp_path / 'runs'}",
        f"--page={tmp_path / 'p.html'}",
        "--list",
    ]
    assert compare.main(argv) == 0 and not looked
    assert compare.main([*argv, "--where=n_embd=48"]) == 0 and len(looked) == 2
    with pytest.raises(UsageError, match="there are 48"):
        compare.main([*argv, "--where=n_embd=16"])
