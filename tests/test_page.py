"""Tables, figures and the page, from run directories written by hand."""

import json

import pytest
from plotly.offline import get_plotlyjs

from reslab.figures import FIGURES, learning_rates, loss_curves, reach
from reslab.page import write_page
from reslab.runlog import read_run
from reslab.summary import arm, differences, labels, results, row, table

LINES = {"uniform": 4.0, "unigram": {"train": 3.0, "val": 3.1}, "bigram": {"train": 2.3, "val": 2.4}}


@pytest.fixture
def make_run(tmp_path):
    def make(name="run", losses=(4.0, 2.9, 2.2), status="finished", **config):
        folder = tmp_path / name
        folder.mkdir()
        settings = {"residual": "pre", "attn_residual": "", "mlp_residual": "", "residual_scale": 0.5}
        settings |= {"n_layer": 4, "seed": 1, "learning_rate": 1e-3, "out_dir": name} | config
        facts = {"parameters": 1000, "yardsticks_nats": LINES, "command": "train.py", "git_commit": "abc"}
        facts |= {
            "dataset": {"source": "a text", "source_sha256": "0", "vocab_size": 50},
            "started": "2026-01-01T00",
        }
        facts |= {"machine": "a machine", "device": "cpu", "torch": "2"}
        (folder / "config.json").write_text(json.dumps({"config": settings} | facts), encoding="utf-8")
        rows = []
        for number, loss in enumerate(losses):
            rows.append({"step": number * 10, "train/loss": loss - 0.1, "train/loss_se": 0.01})
            rows[-1] |= {"val/loss": loss, "val/loss_se": 0.01}
            rows.append({"step": number * 10, "probe/gradient_norm": [1e-9, 0.0, 1.0]})
            rows.append(
                {"step": number * 10, "batch/loss": loss, "batch/grad_norm": 1.0, "tokens_per_s": 100.0}
            )
        if status:
            rows.append({"step": 20, "status": status, "verdict": "a verdict"})
        text = "".join(json.dumps(one) + "\n" for one in rows)
        (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
        return read_run(folder)

    return make


def test_a_row_reads_the_run_by_its_lines(make_run):
    cells = row(make_run())
    assert cells["arm"] == "pre" and cells["steps"] == "20" and cells["status"] == "finished"
    assert cells["-unigram"] == "-0.900" and cells["-bigram"] == "-0.200"
    assert cells["<unigram at"] == "10" and cells["<bigram at"] == "20"
    stuck = row(make_run("stuck", losses=(4.0, 3.1), status=""))
    assert stuck["<unigram at"] == "never" and stuck["status"] == "unfinished"


def test_a_run_without_rows_is_a_row_too(make_run):
    assert row(make_run(losses=(), status=""))["val"] == " ± "


def test_arms_are_named_by_what_differs(make_run):
    assert arm(make_run("a", attn_residual="none").config) == "attn:none mlp:pre"
    assert arm(make_run("b", residual="scaled", residual_scale=0.1).config) == "scaled 0.1"
    names = labels([make_run("c"), make_run("d", seed=2), make_run("e", residual="none")])
    assert names == ["pre, 4 layers, seed 1", "pre, 4 layers, seed 2", "none, 4 layers, seed 1"]


def test_only_what_differs_is_listed(make_run):
    runs = [make_run("a"), make_run("b", residual="none")]
    assert differences(runs) == [{"setting": "residual", "a": "pre", "b": "none"}]
    shown = table([row(run) for run in runs]).splitlines()
    assert shown[0].split()[:3] == ["run", "arm", "layers"] and len(shown) == 3
    kept = json.loads(results(runs, "compare.py a b"))
    assert [one["residual"] for one in kept["runs"]] == ["pre", "none"]
    assert kept["runs"][0]["val/loss"] == 2.2 and kept["yardsticks_nats"] == LINES


def test_every_run_is_a_curve_in_both_panels(make_run):
    figure = loss_curves([make_run("a"), make_run("b", residual="none")])
    assert [(t.name, t.xaxis) for t in figure.data] == [
        ("pre, 4 layers", "x"),
        ("none, 4 layers", "x"),
        ("pre, 4 layers", "x2"),
        ("none, 4 layers", "x2"),
    ]
    assert list(figure.data[2].y) == [4.0, 2.9, 2.2] and list(figure.data[2].x) == [0, 10, 20]
    assert "bigram 2.40" in [annotation.text for annotation in figure.layout.annotations]


def test_the_curve_over_the_learning_rate_is_whole_and_pure(make_run):
    runs = [make_run(f"lr{lr}", losses=(loss,), learning_rate=lr) for lr, loss in ((1e-3, 2.5), (1e-2, 9.0))]
    runs += [make_run("seed", losses=(2.7,), seed=2), make_run("other", dropout=0.1)]
    (curve,) = learning_rates(runs).data
    assert list(curve.x) == [1e-3, 1e-2] and list(curve.y) == [2.6, 9.0]  # a bad point is not left out
    assert learning_rates([runs[0]]) is None


def test_a_gradient_of_zero_is_a_gap_and_not_an_error(make_run):
    first = reach([make_run()]).data[0]
    assert list(first.y) == [1e-9, None, 1.0]
    assert FIGURES["What is left of the tokens"]([make_run("unprobed")]) is None


def test_a_page_is_whole_and_runs_nothing_of_a_name(make_run, tmp_path):
    runs = [make_run("a"), make_run("b", residual="</script><script>alert(1)")]
    write_page(tmp_path / "page.html", runs, "<b>title")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "alert(1)" in text and "<script>alert(1)" not in text
    assert "&lt;b&gt;title" in text
    assert "http" not in text.replace(get_plotlyjs(), "")  # nothing is fetched
    assert text.count("data-figure>") == 3  # the pictures that have something to show
