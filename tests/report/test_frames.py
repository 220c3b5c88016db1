"""reslab.frame: the numbers of --csv and --curves, with every setting, as pandas has them."""

import math
import sys

import pytest
from runs_by_hand import LINES, train_loss, write_run

import reslab
from reslab.report.facts import load
from reslab.report.records import curve_rows

pandas = pytest.importorskip("pandas")


@pytest.fixture
def folder(tmp_path):
    write_run(tmp_path, "a", losses=(4.0, 2.5), seed=1)
    write_run(tmp_path, "b", losses=(4.0, 2.25), seed=2, residual="none", facts={"torch": "3"})
    write_run(tmp_path, "c", losses=(4.0, 3.5), seed=3, without=("baselines_nats", "dataset", "git_commit"))
    return tmp_path


def test_a_row_is_a_run_with_its_settings_losses_baselines_and_origin(folder):
    table = reslab.frame(folder).set_index("run")
    assert list(table.index) == ["a", "b", "c"]
    assert list(table["val/loss"]) == [2.5, 2.25, 3.5]
    assert list(table["train/loss"]) == [train_loss(loss) for loss in (2.5, 2.25, 3.5)]
    assert list(table["residual"]) == list(table["arm"]) == ["pre", "none", "pre"]
    assert list(table["seed"]) == [1, 2, 3] and list(table["n_embd"]) == [16] * 3  # also what does not differ
    assert list(table["baseline_bigram_val"][:2]) == [LINES["bigram"]["val"]] * 2
    assert math.isnan(table["baseline_bigram_val"]["c"])
    assert list(table["data_source_sha256"]) == ["0", "0", "unknown"]
    assert list(table["torch"]) == ["2", "3", "2"] and list(table["commit"]) == ["abc", "abc", "unknown"]
    assert table.groupby("residual")["val/loss"].mean()["pre"] == 3.0


def test_what_a_loop_does_not_tell_is_no_setting_of_it(folder):
    """A column that only our runs tell is empty for the loop; alone, the loop has no such column."""
    told = {"width": 8, "residual": "scaled", "gradient_accumulation_steps": None}
    with reslab.Recorder(folder / "mine", config=told) as log:
        log(0, val_loss=2.0)
    recorded = set(load(folder / "mine").config)
    assert recorded == {*told, "n_layer", "n_embd", "block_size", "batch_size", "learning_rate", "seed"}
    alone = reslab.frame(folder / "mine").iloc[0]
    assert alone["arm"] == "scaled" and alone["width"] == 8 and "residual_scale" not in alone
    beside = reslab.frame(folder).set_index("run")
    for setting in ("residual_scale", "attn_residual", "gradient_accumulation_steps", "n_layer"):
        assert pandas.isna(beside[setting]["mine"]) and not pandas.isna(beside[setting]["a"]), setting


def test_curves_are_tidy(folder):
    table = reslab.frame(folder / "a", folder / "b", curves=True)
    columns, *rows = curve_rows([load(folder / name) for name in ("a", "b")])
    assert list(table.columns) == columns and table.to_numpy().tolist() == rows
    val = table[(table.split == "val") & (table.kind == "loss")].pivot(
        index="step", columns="run", values="value"
    )
    assert val["b"].tolist() == [4.0, 2.25]


def test_what_can_not_be_read_is_left_out_or_one_line(folder, capsys, monkeypatch):
    (folder / "a" / "config.json").write_text("{", encoding="utf-8")
    assert list(reslab.frame(folder)["run"]) == ["b", "c"]
    assert capsys.readouterr().err.startswith("left out: ")
    with pytest.raises(ValueError, match="no such file or folder"):
        reslab.frame(folder / "nowhere")
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas; run: python -m pip install pandas") as error:
        reslab.frame(folder)
    assert len(str(error.value).splitlines()) == 1
