"""What a study may be, and options of compare.py that contradict each other: one line, nothing is trained."""

import pytest
from test_compare import SMOKE, planned

import compare
from reslab.run.configfile import UsageError
from reslab.training.grid_values import read_study


@pytest.mark.parametrize(
    ("study", "words"),
    [
        ("5", "must be name of a grid"),
        ('[{"residual": ["pre"]}]', "must be name of a grid"),
        ("{}", "must be name of a grid"),
        ('{"a": 5}', "must be name of a grid"),
        ('{"a": {}}', "must be name of a grid"),
        ('{1: {"residual": ["pre"]}}', "must be name of a grid"),
        ('{"../x": {"residual": ["pre"]}}', "must be name of a grid"),
        ('{"a": {1: [1]}}', "a: 1 is no name of a setting"),
        ('{"a": {"n_layer": 3}}', "a: n_layer=3: must be a list of 1 to 10000 values"),
        ('{"a": {"out_dir": ["b", "c"]}}', "a: out_dir: makes no run another experiment; give it once"),
        ('{"a": {"residual": []}}', "must be a list of 1 to"),
        ('{"a": {"residual": "pre"}}', "must be a list of 1 to"),
        ('{"a": {"seed": range(10**7)}}', "must be a list of 1 to"),
    ],
)
def test_a_study_that_is_none_is_one_line(tmp_path, study, words):
    path = tmp_path / "made.py"
    path.write_text(f"study = {study}\n", encoding="utf-8")
    with pytest.raises(UsageError) as told:
        read_study(str(path))
    assert (
        words in str(told.value)
        and str(told.value).startswith(f"{path}: study")
        and "\n" not in f"{told.value}"
    )


def test_a_study_is_read_as_it_is_and_a_config_without_one_has_none(tmp_path):
    path = tmp_path / "made.py"
    path.write_text('study = {"a-b.2": {"seed": range(2), "residual": ("pre",)}}\n', encoding="utf-8")
    assert read_study(str(path)) == {"a-b.2": {"seed": range(2), "residual": ("pre",)}}
    path.write_text("n_layer = 2\n", encoding="utf-8")
    assert read_study(str(path)) == {}


@pytest.mark.parametrize(
    ("argv", "option"),
    [
        (("--vary=seed=1,2", "--seeds=5"), "--seeds=5"),
        (("--vary=n_layer=1", "--depths=2,3"), "--depths=2,3"),
        (("--vary=residual=pre", "--arms=none"), "--arms=none"),
    ],
)
def test_values_that_are_given_twice_are_refused(tmp_path, argv, option):
    with pytest.raises(UsageError, match=f"^{option}: leave it out, --vary="):
        planned(f"--out_dir={tmp_path}", *argv)


def test_a_cell_writes_no_table(tmp_path, capsys):
    argv = [SMOKE, "--cell=1", f"--out_dir={tmp_path}"]
    for option in ("json", "csv", "tex", "png", "curves"):
        with pytest.raises(UsageError, match=f"^--{option}=.*: is not written with --cell$"):
            compare.main([*argv, f"--{option}={tmp_path / 'x'}"])
