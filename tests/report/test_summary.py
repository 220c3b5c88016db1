"""What is reported in words and numbers: the table, the settings that differ, the JSON that is kept.

The runs are written by hand and differ in everything, so that a number from the wrong split, row, layer or
run is another one.
"""

import json
from collections import Counter

import pytest
from runs_by_hand import LINES, probe_row, train_loss, write_run

from reslab.report import groups, pagedata
from reslab.report.facts import baselines_of
from reslab.report.groups import arm, group_names, labels
from reslab.report.pagedata import page_data
from reslab.report.records import results
from reslab.report.summary import COLUMNS, differences, fitted_table, group_rows, legend, row, table
from reslab.run.log import read_run


def pair(make_run) -> list:
    """Two runs that differ in wiring, depth, rate, seed, losses, length, date and commit."""
    older = {"started": "2026-03-05T23", "git_commit": "bbb", "parameters": 1234567}
    newer = {"started": "2026-04-01T01", "git_commit": "aaa", "parameters": 89}
    first = {"losses": (4.0, 3.1, 2.95, 2.5, 2.301), "seed": 7, "facts": older}
    second = {"losses": (3.9, 3.6), "residual": "none", "n_layer": 5, "seed": 8, "learning_rate": 0.02}
    return [make_run("one", **first), make_run("two", status="diverged", facts=newer, **second)]


def test_every_column_is_what_the_run_wrote(make_run):
    one, two = pair(make_run)
    assert row(one) == {
        "run": str(one.folder),
        "arm": "pre",
        "layers": "4",
        "params": "1,234,567",
        "steps": "40",
        "train": f"{train_loss(2.301):.3f}",
        "val": "2.301 ± 0.024",
        "bits/byte": "",
        "-unigram": "-0.799",
        "-bigram": "-0.099",
        "<unigram at": "20",  # the first that is below, not the first that is on it
        "<bigram at": "40",
        "tok/s": "128",
        "status": "finished",
    }
    assert row(two) == {
        "run": str(two.folder),
        "arm": "none",
        "layers": "5",
        "params": "89",
        "steps": "10",
        "train": f"{train_loss(3.6):.3f}",
        "val": "3.600 ± 0.021",
        "bits/byte": "",
        "-unigram": "+0.500",
        "-bigram": "+1.200",
        "<unigram at": "never",
        "<bigram at": "never",
        "tok/s": "107",
        "status": "diverged",
    }
    assert list(row(one)) == list(COLUMNS)


def test_a_run_without_rows_is_a_row_too(make_run):
    cells = row(make_run(losses=(), status=""))
    assert cells["val"] == "" and cells["steps"] == "0" and cells["status"] == "unfinished"
    assert cells["-unigram"] == cells["-bigram"] == cells["train"] == ""
    assert cells["<unigram at"] == cells["<bigram at"] == "" and cells["tok/s"] == ""


def test_the_legend_explains_every_column_whose_name_is_a_sign(make_run):
    """The unigram baseline and the bigram baseline alike."""
    rows = [row(make_run())]
    shown = legend(rows, table(rows))
    signs = [column for column in COLUMNS if column[0] in "-<"]
    assert signs == ["-unigram", "-bigram", "<unigram at", "<bigram at"]
    assert [c for c in signs if f"\n{c}: {COLUMNS[c]}" not in shown] == []


@pytest.mark.parametrize("split", ["train", "val"])
def test_each_split_has_baselines_of_its_own(make_run, split):
    expected = {name: LINES[name][split] for name in ("unigram", "bigram")}
    assert baselines_of(make_run(), split) == {"uniform": LINES["uniform"]} | expected


def test_arms_are_named_by_what_differs(make_run):
    assert arm(make_run("a", attn_residual="none").config) == "attn:none mlp:pre"
    assert arm(make_run("b", residual="scaled", residual_scale=0.1).config) == "scaled 0.1"
    partial = make_run("p", residual="partial_skips", mlp_residual="none", skip_blocks="last:2").config
    assert arm(partial) == "attn:partial_skips last:2 mlp:none"
    runs = [make_run("c"), make_run("d", seed=2), make_run("e", residual="none", n_layer=6)]
    assert labels(runs) == ["pre, 4 layers, seed 1", "pre, 4 layers, seed 2", "none, 6 layers, seed 1"]
    runs = [make_run("f"), make_run("g", learning_rate=0.01), make_run("h", residual="none")]
    assert labels(runs) == ["pre, 4 layers, lr 0.001", "pre, 4 layers, lr 0.01", "none, 4 layers"]
    assert labels([make_run("i"), make_run("j")]) == ["pre, 4 layers (i)", "pre, 4 layers (j)"]


def test_a_name_tells_what_is_unusual(make_run):
    """What most groups of a wiring and a depth have is in no name; each name is of one run."""
    changes = [{}, {"learning_rate": 0.01}, {"beta2": 0.9}, {"beta2": 0.9, "seed": 2}, {"optimizer": "sgd"}]
    runs = [make_run(f"r{k}", **{"beta2": 0.99, "optimizer": "adamw"} | c) for k, c in enumerate(changes)]
    assert group_names(runs) == [
        "pre, 4 layers",
        "pre, 4 layers, lr 0.01",
        "pre, 4 layers, beta2 0.9",
        "pre, 4 layers, beta2 0.9",
        "pre, 4 layers, optimizer sgd",
    ]
    assert len(set(labels(runs))) == len(runs)


@pytest.mark.parametrize("work", [group_rows, lambda runs: page_data(runs, "title", size=0)])
def test_twice_as_many_groups_are_twice_the_work(make_run, monkeypatch, work):
    """Groups of two arms that differ in their rate: what is asked of all of them is worked out once."""
    calls = Counter()
    for module, name in ((groups, "settings_key"), (groups, "_varied"), (pagedata, "_run")):
        function = getattr(module, name)
        monkeypatch.setattr(
            module, name, lambda *a, name=name, function=function: calls.update([name]) or function(*a)
        )
    runs = [
        make_run(f"{arm}{k}", residual=arm, learning_rate=k / 100)
        for k in range(1, 9)
        for arm in ("pre", "none")
    ]
    counts = []
    for number in (8, 16):
        calls.clear()
        work(runs[:number])
        counts.append(dict(calls))
    few, many = counts
    assert many["settings_key"] == 2 * few["settings_key"] and many["_varied"] == few["_varied"]
    assert many.get("_run", 0) in (0, 2 * 16)  # where nothing fits: as much as there is, and the least


def test_only_what_differs_is_listed_settings_and_machines_alike(make_run):
    runs = [make_run("a"), make_run("b", residual="none", log="wandb", overwrite=True)]
    assert differences(runs) == [{"setting": "residual", "a": "pre", "b": "none"}]
    facts = {"torch": "3", "git_commit": "xyz", "device": "cuda", "machine": "another"}
    other = make_run("c", dropout=0.5, seed=2, facts=facts)
    assert {cells["setting"]: (cells["a"], cells["c"]) for cells in differences([runs[0], other])} == {
        "dropout": ("unknown", "0.5"),
        "seed": ("1", "2"),
        "torch": ("2", "3"),
        "git_commit": ("abc", "xyz"),
        "device": ("cpu", "cuda"),
        "machine": ("a machine", "another"),
    }


def test_runs_of_the_same_name_have_columns_of_their_own(tmp_path):
    runs = []
    for place, seed in (("x", 1), ("y", 2)):
        (tmp_path / place).mkdir()
        runs.append(read_run(write_run(tmp_path / place, "same", seed=seed)))
    (cells,) = differences(runs)
    assert cells == {"setting": "seed", str(runs[0].folder): "1", str(runs[1].folder): "2"}


def test_a_table_lines_words_up_to_the_left_and_numbers_to_the_right():
    shown = table([{"run": "a", "steps": "10"}, {"run": "long", "steps": "200000"}]).splitlines()
    assert shown == ["run    steps", "a         10", "long  200000"]


def test_the_column_that_matters_least_is_folded_first(make_run):
    """And never the name, the validation loss or the status."""
    rows = [row(run) for run in pair(make_run)]
    order = ["params", "tok/s", "<unigram at", "<bigram at", "steps", "train", "-unigram", "-bigram"]
    order += ["layers", "arm"]
    mark, seen = "not shown for want of width: ", set()
    for width in range(20, 140, 4):
        lines = " ".join(" ".join(fitted_table(rows, width).split()).split("; --csv")[:1]).partition(mark)
        folded = lines[2].split(", ") if lines[2] else []
        assert folded == order[: len(folded)], width
        seen.add(len(folded))
    assert seen == set(range(len(order) + 1))


def test_what_is_kept_is_what_the_runs_wrote(make_run):
    one, two = pair(make_run)
    kept = json.loads(results([one, two], "compare.py one two"))
    assert {key: value for key, value in kept.items() if key not in ("runs", "groups", "warnings")} == {
        "command": "compare.py one two",
        "date": "2026-04-01",  # of the newest run
        "commit": ["aaa", "bbb"],
        "machine": "a machine, cpu, torch 2",
        "dataset": {"source": "a text", "source_sha256": "0"},
        "baselines_nats": LINES,
    }
    assert kept["groups"][1] == {"group": "none, 5 layers", "train/loss": None, "val/loss": None}  # diverged
    first, second = kept["runs"]
    assert first["path"] == str(one.folder) and first["commit"] == "bbb" and first["torch"] == "2"
    expected = {
        "run": "one",
        "residual": "pre",
        "n_layer": 4,
        "seed": 7,
        "learning_rate": 0.001,
        "step": 40,
        "status": "finished",
        "train/loss": train_loss(2.301),
        "val/loss": 2.301,
        "val/loss_se": 0.024,
        "val_minus_bigram": pytest.approx(2.301 - 2.4),
        "step_below_unigram": 20,
        "tokens_per_s": 128.0,
        "layers_that_learn": 0,
        "early_warning": None,
    }
    assert {key: first[key] for key in expected} == expected
    assert (second["run"], second["status"], second["step"]) == ("two", "diverged", 10)
    assert (second["val/loss"], second["train/loss"]) == (3.6, train_loss(3.6))
    assert (second["seed"], second["n_layer"], second["layers_that_learn"]) == (8, 5, 4)


def test_every_machine_that_made_a_run_is_kept(make_run):
    other = {"machine": "big one", "device": "cuda", "torch": "3"}
    runs = [make_run("a"), make_run("b", seed=2, facts=other), make_run("c", seed=3)]
    assert json.loads(results(runs, ""))["machine"] == "a machine, cpu, torch 2; big one, cuda, torch 3"


def test_both_ends_of_the_stack_are_kept_at_the_first_steps_and_the_last(make_run):
    _, run = pair(make_run)
    longer = make_run("three", losses=(3.9, 3.8, 3.7, 3.6), residual="none", n_layer=5)
    for one, steps in ((run, {0, 10}), (longer, {0, 10, 30})):
        seen = json.loads(results([one], ""))["runs"][0]["probed"]
        assert {each["step"] for each in seen} == steps and seen[-1]["step"] == max(steps)
    for each in seen:
        written = {k.removeprefix("probe/"): v for k, v in probe_row(5, each["step"], 0.0).items()}
        assert each == {
            "step": each["step"],
            "gradient_norm": [written["resid_gradient"][0], written["resid_gradient"][-1]],
            "position0_share": written["position0_share"][0],
            "qk_gradient": [written["qk_gradient"][0], written["qk_gradient"][4]],
            "token_diversity": written["token_diversity"][5],
        } | ({"layers_that_learn": written["layers_that_learn"]} if each["step"] else {})


def test_a_run_probed_at_step_0_alone_has_no_count_of_layers_that_learn(make_run):
    """Every layer of a fresh stack passes; what it can't do shows within the first updates."""
    fresh = make_run("fresh", losses=(4.0,))
    assert fresh.last("probe/layers_that_learn") == 4
    (kept,) = json.loads(results([fresh], ""))["runs"]
    assert kept["layers_that_learn"] is None
    assert [("layers_that_learn" in each, each["step"]) for each in kept["probed"]] == [(False, 0)] * 2


def test_an_early_warning_is_kept_and_large_tables_leave_the_probes_out(make_run):
    rows = [{"step": 9, "val/loss": 3.0}, {"step": 10, "early_warning": "will not train"}]
    warned = make_run("warned", rows=rows)
    runs = [warned, *(make_run(f"r{k}", seed=k) for k in range(2, 5))]
    kept = json.loads(results(runs, ""))["runs"]
    assert [one["early_warning"] for one in kept] == ["will not train", None, None, None]
    assert all("probed" in one for one in kept)
    runs += [make_run(f"r{k}", seed=k) for k in range(5, 13)]
    assert all("probed" in one for one in json.loads(results(runs, ""))["runs"]), "four arms, three seeds"
    kept = json.loads(results([*runs, make_run("one more", seed=13)], ""))["runs"]
    assert len(kept) == 13 and not any("probed" in one for one in kept)


def test_what_no_run_tells_is_said_once():
    rows = [{"run": "a", "val": "2.1", "-bigram": "unknown"}, {"run": "b", "val": "2.2", "-bigram": ""}]
    assert fitted_table(rows, 80) == "run  val\na    2.1\nb    2.2\nno run has: -bigram"
