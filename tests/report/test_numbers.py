"""Thirty runs with known numbers: whose numbers a file holds, means over seeds, and what is warned of.

They differ in arm, depth, seed, data, torch, commit and how they ended, so that a number of another run,
split or baseline is another number.
"""

import json
import math
import shutil

import pytest
from runs_by_hand import LINES, train_loss, write_run

import compare
from reslab.report.facts import _few, identity, load, warnings
from reslab.report.groups import T_QUANTILES, Difference, losses_by_seed, mean_of, paired_difference
from reslab.report.pagedata import _digits, thin
from reslab.report.records import record, results
from reslab.report.summary import group_rows, row

OTHER_LINES = {"uniform": 4.5, "unigram": {"train": 3.4, "val": 3.6}, "bigram": {"train": 2.7, "val": 2.9}}
OTHER = {
    "dataset": {"source": "other text", "source_sha256": "9", "vocab_size": 90},
    "baselines_nats": OTHER_LINES,
    "torch": "3",
    "git_commit": "def",
    "machine": "another machine",
}


def final_loss(arm: str, layers: int, seed: int) -> float:
    return 2.0 + 0.5 * (arm == "none") + 0.01 * layers + 0.001 * seed**2


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """24 runs of two arms, four depths and three seeds, then six of other data, torch or ending."""
    root, runs = tmp_path_factory.mktemp("thirty"), []
    for arm in ("pre", "none"):
        for layers in (2, 4, 8, 16):
            for seed in (1, 2, 3):
                place = root / f"{arm}-{layers}"
                place.mkdir(exist_ok=True)
                losses = (3.9, 3.3, final_loss(arm, layers, seed))
                options = {"residual": arm, "n_layer": layers, "eval_sequences": 16}
                runs.append(write_run(place, f"s{seed}", losses, seed=seed, **options))
    for k, (status, options) in enumerate(
        [
            ("finished", {"facts": OTHER}),
            ("finished", {"facts": OTHER, "residual": "none"}),
            ("diverged", {"learning_rate": 0.5}),
            ("", {"learning_rate": 0.25}),
            ("finished", {"learning_rate": 0.125, "facts": {"torch": "3"}}),
            ("finished", {"learning_rate": 0.0625, "facts": {"git_commit": "def"}}),
        ]
    ):
        runs.append(write_run(root, f"other{k}", (3.9, 3.0 + k / 100), status, eval_sequences=16, **options))
    with (runs[-3] / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 20, "val/lo')  # cut short
    return [load(folder) for folder in runs]


def baselines_of(run) -> dict:
    return OTHER_LINES if run.facts["torch"] == "3" and run.folder.name in ("other0", "other1") else LINES


def test_the_json_gives_every_run_its_own_origin(runs):
    kept = json.loads(results(runs, "compare.py"))
    assert kept["dataset"] is None and kept["baselines_nats"] is None  # no one value is true for all
    assert len({one["run"] for one in kept["runs"]}) == 30  # s1, s2, s3 eight times: told by their paths
    for run, one in zip(runs, kept["runs"], strict=True):
        assert one["path"] == str(run.folder) and one["baselines_nats"] == baselines_of(run)
        assert (one["torch"], one["commit"]) == (run.facts["torch"], run.facts["git_commit"])
        assert one["machine"] == run.facts["machine"]
        assert one["data"]["source"] == run.facts["dataset"]["source"]
        last = [r for r in run.rows if "val/loss" in r][-1]
        assert {key: one[key] for key in last if key.endswith(("loss", "loss_se"))} == {
            key: value for key, value in last.items() if key.endswith(("loss", "loss_se"))
        }
        assert one["val_minus_bigram"] == last["val/loss"] - baselines_of(run)["bigram"]["val"]
        assert one["val_step"] == last["step"] and one["seed"] == run.config["seed"]


def test_a_table_gives_the_last_losses_and_not_the_best(tmp_path):
    cells = row(load(write_run(tmp_path, losses=(4.0, 2.0, 3.0))))
    assert cells["val"].startswith("3.000 ") and cells["train"].startswith(f"{train_loss(3.0):.3f}")


def test_a_loss_has_the_step_at_which_it_was_evaluated(tmp_path):
    rows = [{"step": 0, "train/loss": 4.0, "val/loss": 4.1}, {"step": 10, "train/loss": 3.0, "val/loss": 3.1}]
    run = load(write_run(tmp_path, rows=[*rows, {"step": 17, "batch/loss": 2.0}], status="unfinished"))
    assert (record(run)["step"], record(run)["val_step"], record(run)["val/loss"]) == (17, 10, 3.1)
    assert (row(run)["steps"], row(run)["status"]) == ("17", "unfinished, val of step 10")


def test_a_seed_that_was_run_twice_counts_once_by_its_mean(tmp_path):
    seeds = {"first": (1, 2.0), "again": (1, 3.0), "other": (2, 4.0)}
    runs = [load(write_run(tmp_path, n, losses=(5.0, loss), seed=s)) for n, (s, loss) in seeds.items()]
    assert losses_by_seed(runs) == {1: 2.5, 2: 4.0}
    (cells,) = group_rows(runs)
    assert (cells["val"], cells["sd"], cells["n"]) == ("3.250", "1.061", "2")


def test_means_are_over_seeds_and_arms_are_compared_seed_by_seed(runs):
    rows = {cells["group"]: cells for cells in group_rows(runs[:24])}
    assert len(rows) == 8
    for arm in ("pre", "none"):
        for layers in (2, 4, 8, 16):
            cells, losses = rows[f"{arm}, {layers} layers"], [final_loss(arm, layers, s) for s in (1, 2, 3)]
            mean = sum(losses) / 3
            sd = math.sqrt(sum((loss - mean) ** 2 for loss in losses) / 2)
            assert (cells["val"], cells["sd"], cells["n"]) == (f"{mean:.3f}", f"{sd:.3f}", "3")
            assert cells["-pre"] == ("+0.500" if arm == "none" else "")
            assert cells["difference"] == ("higher" if arm == "none" else "the reference")


def test_a_paired_difference_has_the_interval_of_students_t(tmp_path):
    def arm(name, *losses):
        return [
            load(write_run(tmp_path, f"{name}{seed}", (loss,), residual=name, seed=seed, eval_sequences=9))
            for seed, loss in enumerate(losses)
        ]

    none, pre = arm("none", 3.0, 3.2, 3.1), arm("pre", 2.9, 2.7, 3.3, 9.0)
    difference = paired_difference(none, pre)  # 0.1, 0.5, -0.2; the fourth seed has no partner
    assert (difference.n, difference.mean) == (3, pytest.approx(0.4 / 3))
    sd = mean_of([0.1, 0.5, -0.2]).sd
    assert difference.interval == pytest.approx(T_QUANTILES[1] * sd / math.sqrt(3))
    assert difference.reading == "none"  # the interval holds 0
    readings = {mean: Difference(mean, 0.5, 3).reading for mean in (-0.6, -0.5, 0.0, 0.5, 0.6)}
    assert list(readings.values()) == ["lower", "none", "none", "none", "higher"]
    single = paired_difference(none[:1], pre[:1])
    assert single.interval == pytest.approx(2 * math.hypot(0.02, 0.02)) and single.reading == "higher"
    others = ({"facts": OTHER}, {"block_size": 16}, {"eval_sequences": 8})  # each reads other sequences
    for k, changes in enumerate(others):
        options = {"seed": 0, "eval_sequences": 9} | changes
        assert paired_difference([load(write_run(tmp_path, f"else{k}", (3.0,), **options))], pre) is None
    lost = write_run(tmp_path, "lost", (3.0, 3.0, 9.0), "diverged", residual="none", seed=0, eval_sequences=9)
    assert paired_difference([load(lost), *none[:1]], pre[:1]) == single  # its error is not read


def test_what_is_told_of_a_run_is_what_it_ran_with(tmp_path):
    run = load(write_run(tmp_path, "run", dtype="auto", facts={"dtype": "bfloat16"}))
    asked = load(write_run(tmp_path, "old", dtype="float16"))
    assert [identity(one)["dtype"] for one in (run, asked)] == ["bfloat16", "float16"]
    data = {"source": "a text", "vocab_size": 50}
    alike = [{"dataset": data | {"source_sha256": "0" * 11 + end}} for end in "ab"]
    told = warnings([load(write_run(tmp_path, f"d{k}", facts=facts)) for k, facts in enumerate(alike)])
    assert any(line.startswith("data differs: a text (00000000000a) (1 run), a text (0") for line in told)
    assert (_few(list("abcd")), _few(list("abcdef"))) == ("a, b, c, d", "a, b, c, d and 2 more")


def test_the_quantiles_are_those_of_students_t():
    """97.5% of a variable with so many degrees of freedom lie below each, by the integral of its density."""
    for freedom, quantile in enumerate(T_QUANTILES, start=1):
        width = quantile / 20_000
        heights = [(1 + ((k + 0.5) * width) ** 2 / freedom) ** (-(freedom + 1) / 2) for k in range(20_000)]
        scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
        share = 0.5 + sum(heights) * width * scale / math.sqrt(freedom * math.pi)
        assert share == pytest.approx(0.975, abs=3e-5), freedom


@pytest.mark.parametrize(("seeds", "quantile"), [(2, 12.706), (30, 2.045), (31, 2.042), (32, 1.96)])
def test_so_many_seeds_have_one_degree_of_freedom_less(tmp_path, seeds, quantile):
    def arm(name, change):
        return [
            load(write_run(tmp_path, f"{name}{s}", (3 + change * s,), residual=name, seed=s))
            for s in range(seeds)
        ]

    difference = paired_difference(arm("none", 0.1), arm("pre", 0.0))
    sd = mean_of([0.1 * s for s in range(seeds)]).sd
    assert difference.interval == pytest.approx(quantile * sd / math.sqrt(seeds))


def test_what_makes_losses_not_comparable_is_said(runs):
    assert warnings(runs[:24]) == []
    told = {line.partition(" differs")[0]: line for line in warnings(runs)}
    assert list(told) == ["data", "tokenizer", "torch", "commit"]
    assert "a text (0) (28 runs), other text (9) (2 runs)" in told["data"]
    assert "2 (27 runs), 3 (3 runs)" in told["torch"] and "abc (27 runs), def (3 runs)" in told["commit"]


def test_the_same_warnings_are_printed_and_kept_in_the_json_and_the_latex(runs, tmp_path, capsys):
    files = {name: tmp_path / f"t.{name}" for name in ("json", "tex", "csv", "curves")}
    argv = [f"--{name}={path}" for name, path in files.items()]
    assert compare.main([str(runs[0].folder.parents[1]), *argv, f"--page={tmp_path / 'p.html'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    printed = [line.removeprefix("warning: ") for line in lines if line.startswith("warning: ")]
    assert printed == json.loads(files["json"].read_text(encoding="utf-8"))["warnings"] != []
    tex = files["tex"].read_text(encoding="utf-8")
    assert all(f"% {line}" in tex for line in printed) and r"$\pm$" in tex and tex.count(r" \\") == 31
    assert len(files["csv"].read_text(encoding="utf-8").splitlines()) == 31


@pytest.mark.parametrize(
    "fact", ["torch", "machine", "device", "git_commit", "command", "started", "parameters", "baselines_nats"]
)
def test_a_fact_that_is_not_known_is_unknown_everywhere(tmp_path, capsys, fact):
    folder = write_run(tmp_path, "poor", without=(fact, "dataset"))
    files = {name: tmp_path / f"t.{name}" for name in ("json", "tex", "csv", "curves")}
    argv = [f"--{name}={path}" for name, path in files.items()]
    assert compare.main([str(folder), *argv, f"--page={tmp_path / 'p.html'}"]) == 0
    (one,) = json.loads(files["json"].read_text(encoding="utf-8"))["runs"]
    assert one["data"] == {"source": "unknown", "source_sha256": "unknown"}
    if fact in ("torch", "machine", "device", "started", "command"):
        assert one[fact] == "unknown"
    if fact == "baselines_nats":
        assert one["val_minus_bigram"] is None
        (told,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("no run has: ")]
        assert {"-unigram", "-bigram", "<unigram at", "<bigram at"} <= set(told.split(": ")[1].split(", "))


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("config.json", "[]", "a list, must be an object"),
        ("config.json", "{", "damaged"),
        ("config.json", '{"config": []}', "not the record of a run"),
        ("config.json", '{"config": {"n_layer": "4"}}', "n_layer is a str, must be a number"),
        ("config.json", '{"config": {"residual": 4}}', "residual is a int, must be text"),
        ("metrics.jsonl", "[1]\n", "row 1: a list, must be an object"),
        ("metrics.jsonl", '{"val/loss": 1}\n', "row 1: no whole number under step"),
        ("metrics.jsonl", '{"step": 1, "val/loss": "low"}\n', "row 1: val/loss is a str, must be a number"),
        ("metrics.jsonl", f'{{"step": 1, "val/loss": {10**60}}}\n', f"val/loss is {10**60}, too large"),
        ("config.json", f'{{"config": {{"seed": {10**60}}}}}', f"seed is {10**60}, too large"),
        ("metrics.jsonl", '{"step": 1, "status": 3}\n', "row 1: status is a int, must be text"),
    ],
)
def test_a_damaged_run_is_one_line_alone_and_left_out_among_others(tmp_path, capsys, file, text, expected):
    good, bad = write_run(tmp_path, "good"), write_run(tmp_path, "bad")
    (bad / file).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=expected) as error:
        compare.main([str(bad), f"--page={tmp_path / 'p.html'}"])
    assert len(str(error.value).splitlines()) == 1
    assert compare.main([str(tmp_path), f"--page={tmp_path / 'p.html'}"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("left out: ") and str(bad / file) in told.err and "good" in told.out
    shutil.rmtree(good)


def test_a_group_without_a_number_says_why(tmp_path, capsys):
    options = {"eval_sequences": 9}
    for arm, seed in (("pre", 1), ("pre", 2), ("none", 1), ("post", 3)):
        write_run(tmp_path, f"{arm}{seed}", (3.0 + seed / 7,), residual=arm, seed=seed, **options)
    write_run(tmp_path, "other", (2.5,), residual="none", dropout=0.5, **options)
    runs = [load(tmp_path / name) for name in ("pre1", "pre2", "none1", "post3", "other")]
    cells = [{key: one[key] for key in ("n", "sd", "-pre", "difference")} for one in group_rows(runs)]
    sd = f"{1 / 7 / math.sqrt(2):.3f}"
    assert cells == [
        {"n": "2", "sd": sd, "-pre": "", "difference": "the reference"},
        {"n": "1", "sd": "n = 1", "-pre": "+0.000", "difference": "none"},
        {"n": "1", "sd": "n = 1", "-pre": "", "difference": "no common seed"},
        {"n": "1", "sd": "n = 1", "-pre": "", "difference": "no pre run"},
    ]
    page = f"--page={tmp_path / 'p.html'}"
    assert compare.main([str(tmp_path / "none1"), str(tmp_path / "post3"), "--mean=seed", page]) == 0
    assert "no group has: -pre, 95 % interval" in capsys.readouterr().out


def test_a_run_that_tells_less_than_others_is_named_once(tmp_path):
    whole = load(write_run(tmp_path, "whole", eval_sequences=9))
    poor = [load(write_run(tmp_path, name, without=("dataset", "torch"))) for name in ("a", "b")]
    (line,) = warnings([whole, *poor])
    assert line.startswith("unknown of a, b: data, tokenizer, eval_sequences, torch: ")
    assert warnings(poor) == ["unknown of a, b: data: the losses may not be comparable"]
    assert warnings(poor[:1]) == []
    named = [load(write_run(tmp_path, name, without=("dataset",), dataset=name)) for name in ("x", "y")]
    (line, *_) = warnings(named)
    assert line.startswith("data differs: x (hash unknown) (1 run), y (hash unknown) (1 run): ")


def test_numbers_of_a_page_are_rounded_to_digits_and_counts_stay_whole():
    given = [1234567, 1234567.0, 0.00012345678, [None, math.nan, -math.inf, [0, -2.5e9]]]
    assert _digits(given, 3) == [1234567, 1230000.0, 0.000123, [None, None, None, [0, -2.5e9]]]
    assert type(_digits(1234567, 3)) is int


@pytest.mark.parametrize("place", [0, 24, 49, 50, 74, 99])
def test_a_thinned_curve_has_the_extremes_of_each_stretch_its_last_point_too(place):
    spike = [1.0] * 100
    spike[place] = 9.0
    assert place in thin([spike], 8)
