"""The help of every program: it fits the terminal, has each setting once, examples and exit codes."""

import re

import pytest
from conftest import ROOT, run_python

import autopsy
import bench
import compare
import export
import sample
import train
from reslab.run.fields import settings
from reslab.run.help import EXIT_CODES, help_text, reflowed
from reslab.run.options import AutopsyConfig, BenchConfig, CompareConfig, ExportConfig, SampleConfig
from reslab.run.settings import GPTConfig, TrainConfig
from reslab.training import reprobe

PROGRAMS = {
    "train": (TrainConfig, train.HELP),
    "sample": (SampleConfig, sample.HELP),
    "compare": (CompareConfig, compare.HELP),
    "autopsy": (AutopsyConfig, autopsy.HELP),
    "export": (ExportConfig, export.HELP),
    "bench": (BenchConfig, bench.HELP),
    "reprobe": (reprobe.ReprobeConfig, reprobe.HELP),
}
# Programs whose command lines are argparse's, and what comes before --help.
OTHERS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("data/*/prepare.py"))]
OTHERS += ["benchmarks/gpu.py", "-m experiments", "-m reslab", "-m reslab.report.site", "-m tests.mutants"]


def listed(text: str) -> list[str]:
    """The settings that a help shows, in its order."""
    return re.findall(r"^  --(\w+)", text, re.MULTILINE)


@pytest.mark.parametrize("columns", [80, 40])
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_help_has_each_setting_once_and_fits(name, columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    cls, text = PROGRAMS[name]
    shown = help_text(cls, text)
    own = set(settings(cls)) - (set(settings(TrainConfig)) if name == "compare" else set())
    assert sorted(listed(shown)) == sorted(own)
    # A command is never broken: a reader copies it.
    wide = [
        line for line in shown.splitlines() if len(line) > columns and line[:7] not in ("    pyt", "    tor")
    ]
    assert not wide
    if columns == 80:
        assert all(len(line) <= 80 for line in shown.splitlines())
        assert cls.POSITIONALS.usage in shown.splitlines()[0]
    assert " ".join(shown.split()).count(EXIT_CODES) == shown.count("Exit codes") == 1
    assert 2 <= len(re.findall(r"^    (?:python|torchrun) ", shown, re.MULTILINE)) <= 4


def test_settings_stand_with_those_that_are_declared_beside_them():
    shown = help_text(TrainConfig, "")
    groups = dict(re.findall(r"^(\S.*)\n((?:  .*\n)+)", shown, re.MULTILINE))
    assert listed(groups["The shape of a model. Field names are nanoGPT's."]) == list(settings(GPTConfig))
    places = [name for name, setting in settings(TrainConfig).items() if setting.role.name == "place"]
    assert listed(groups["What is written and shown:"]) == places


def test_a_default_is_shown_as_it_is_typed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = help_text(TrainConfig, "") + help_text(CompareConfig, "")
    options = "--n_layer=12", "--adam_eps=1e-08", "--resume", "--probes=True", "--csv=PATH", "--log=TEXT"
    for option in options:
        assert f"\n  {option} " in shown, option
    assert shown.count("attention_residual,") == 1 and "(those of residual)" in shown


@pytest.mark.parametrize("program", OTHERS)
def test_the_help_of_the_other_programs_fits(program, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    shown = run_python(*program.split(), "--help").stdout
    assert all(len(line) <= 80 for line in shown.splitlines()), shown
    called = "reslab PROGRAM" if program == "-m reslab" else program.removeprefix("benchmarks/")
    assert shown.startswith("usage: ") and called in shown.splitlines()[0]


def test_a_remark_goes_below_its_command_where_both_do_not_fit():
    text = "Two lines\nof a paragraph.\n\n    python train.py    a remark\n"
    assert reflowed(text, 80) == "Two lines of a paragraph.\n\n    python train.py    a remark"
    assert reflowed(text, 20) == "Two lines of a\nparagraph.\n\n    python train.py\n        a remark"
