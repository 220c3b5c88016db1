"""Tables, figures as data, and pages, from run directories written by hand."""

import json
import re
import shutil
import subprocess
import sysconfig

import pytest
from conftest import ROOT
from plotly.offline import get_plotlyjs
from runs_by_hand import LINES, probe_row, write_run

from reslab.figures import FIGURES, depth, layers_that_learn, learning_rates, moved_outputs
from reslab.page import write_autopsy, write_page
from reslab.pagedata import flops_per_token, page_data, thin, to_json, tokens_per_step
from reslab.runlog import read_run
from reslab.summary import arm, differences, labels, results, row, table

BIOME = shutil.which("biome", path=sysconfig.get_path("scripts"))


@pytest.fixture
def make_run(tmp_path):
    return lambda name="run", **settings: read_run(write_run(tmp_path, name, **settings))


def data_of(page) -> dict:
    """The JSON that a page holds."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


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
    runs = [make_run("c"), make_run("d", seed=2), make_run("e", residual="none")]
    assert labels(runs) == ["pre, 4 layers, seed 1", "pre, 4 layers, seed 2", "none, 4 layers, seed 1"]
    runs = [make_run("f"), make_run("g", learning_rate=0.01), make_run("h", residual="none")]
    assert labels(runs) == ["pre, 4 layers, lr 0.001", "pre, 4 layers, lr 0.01", "none, 4 layers"]
    assert labels([make_run("i"), make_run("j")]) == ["pre, 4 layers (i)", "pre, 4 layers (j)"]


def test_only_what_differs_is_listed(make_run):
    runs = [make_run("a"), make_run("b", residual="none")]
    assert differences(runs) == [{"setting": "residual", "a": "pre", "b": "none"}]
    shown = table([row(run) for run in runs]).splitlines()
    assert shown[0].split()[:3] == ["run", "arm", "layers"] and len(shown) == 3
    kept = json.loads(results(runs, "compare.py a b"))
    assert [one["residual"] for one in kept["runs"]] == ["pre", "none"]
    assert kept["runs"][0]["val/loss"] == 2.2 and kept["yardsticks_nats"] == LINES


def test_the_data_of_a_page_are_the_rows_of_its_runs(make_run):
    run = make_run()
    entry = page_data([run], "title")["runs"][0]
    val = {"step": [0, 10, 20], "seconds": [0, 15, 30], "loss": [4.0, 2.9, 2.2], "se": [0.01] * 3}
    assert entry["curves"]["val"] == val
    assert entry["curves"]["batch"]["norm"] == [1.0, 1.0, 1.0]
    assert entry["probes"]["steps"] == [0, 10, 20]
    expected = probe_row(4, 10, 1.0)
    assert entry["probes"]["values"][1]["branch_ratio"] == expected["probe/branch_ratio"]
    assert entry["probes"]["values"][1]["input_gradient"] == pytest.approx(
        expected["probe/input_gradient"], 5e-3
    )
    assert entry["samples"][2] == {"step": 20, "prompt": "def ", "text": "sample <20>"}
    assert entry["yardsticks"]["val"] == {"uniform": 4.0, "unigram": 3.1, "bigram": 2.4}
    assert entry["notes"] == []


def test_tokens_and_flops_are_counted_from_the_settings(make_run):
    run = make_run()
    assert tokens_per_step(run) == 2 * 3 * 8
    assert flops_per_token(run) == 6 * 1000 + 12 * 4 * 16 * 8


def test_seeds_form_a_group_and_other_settings_do_not(make_run):
    runs = [
        make_run("a"),
        make_run("b", seed=2),
        make_run("c", learning_rate=0.1),
        make_run("d", residual="none"),
    ]
    entries = page_data(runs, "title")["runs"]
    assert [entry["group"] for entry in entries] == [0, 0, 2, 3]
    assert entries[1]["group_label"] == "pre, 4 layers, lr 0.001"


def test_a_long_run_is_thinned_to_its_extremes(make_run):
    rows = [
        {"step": k, "batch/loss": 3.0, "batch/grad_norm": 1.0, "elapsed_s": k / 10} for k in range(100_000)
    ]
    rows[45_678]["batch/loss"], rows[77_777]["batch/grad_norm"] = 9.0, 1e-9
    data = page_data([make_run(rows=rows)], "title")
    batch = data["runs"][0]["curves"]["batch"]
    assert len(batch["step"]) <= 2002 and batch["step"][0] == 0 and batch["step"][-1] == 99_999
    assert batch["loss"][batch["step"].index(45_678)] == 9.0  # the one spike is there
    assert batch["norm"][batch["step"].index(77_777)] == 1e-9
    assert f"batch/loss: {len(batch['step'])} of 100000 rows drawn" in data["runs"][0]["notes"][-1]
    assert thin([[1.0, None, 3.0]], 3) == [0, 1, 2]


def test_a_page_stays_below_its_size_and_says_what_it_left_out(make_run):
    rows = [probe_row(50, step, 1.0) for step in range(60)]
    data = page_data([make_run(rows=rows, n_layer=50)], "title", size=100_000)
    assert len(to_json(data)) <= 100_000
    steps = data["runs"][0]["probes"]["steps"]
    assert steps[0] == 0 and steps[-1] == 59 and len(steps) < 60
    assert f"probes: {len(steps)} of 60 measured steps drawn" in data["runs"][0]["notes"]


def notes_of(run) -> str:
    data = page_data([run], "title")
    json.loads(to_json(data))
    return " | ".join(data["runs"][0]["notes"])


def test_what_a_run_can_not_show_is_said(make_run):
    assert "no row yet" in notes_of(make_run("empty", rows=[]))
    single = notes_of(make_run("single", rows=[{"step": 0, "val/loss": 4.0, "val/loss_se": None}]))
    assert "a single row" in single and "no probes in metrics.jsonl" in single and "unfinished" in single
    unprobed = [{"step": 0, "val/loss": 4.0}, {"step": 1, "status": "finished", "verdict": "v"}]
    assert "trained with --probes=False" in notes_of(make_run("off", rows=unprobed, probes=False))
    early = {k: v for k, v in probe_row(4, 0, 1.0).items() if k != "probe/input_gradient"}
    assert "earlier version" in notes_of(make_run("early", rows=[early, *unprobed]))


def test_a_diverged_run_is_a_run_with_a_gap(make_run):
    rows = [
        {"step": k, "batch/loss": loss, "batch/grad_norm": None} for k, loss in enumerate((4.0, 99.0, None))
    ]
    run = make_run(rows=[*rows, {"step": 2, "status": "diverged", "verdict": "diverged at step 2"}])
    entry = page_data([run], "title")["runs"][0]
    assert entry["status"] == "diverged" and entry["verdict"] == "diverged at step 2"
    assert entry["curves"]["batch"]["loss"] == [4.0, 99.0, None]


def test_a_line_that_was_cut_short_is_left_out_and_told(make_run):
    run = make_run()
    path = run.folder / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    run = read_run(run.folder)
    assert "cut short" in notes_of(run) and run.last("val/loss") == 2.2


def test_probes_that_a_wiring_has_not_are_gaps(make_run):
    row_ = probe_row(4, 0, 1.0) | {"probe/skip_gradient": [None] * 8}
    data = page_data([make_run(rows=[row_], residual="post")], "title")
    assert data["runs"][0]["probes"]["values"][0]["skip_gradient"] == [None] * 8
    assert data["runs"][0]["wiring"]["attn"]["skip"] is None


def test_the_curve_over_the_learning_rate_is_whole_and_pure(make_run):
    runs = [make_run(f"lr{lr}", losses=(loss,), learning_rate=lr) for lr, loss in ((1e-3, 2.5), (1e-2, 9.0))]
    runs += [make_run("seed", losses=(2.7,), seed=2), make_run("other", dropout=0.1)]
    (curve,) = learning_rates(runs).data
    assert list(curve.x) == [1e-3, 1e-2] and list(curve.y) == [2.6, 9.0]  # a bad point is not left out
    assert curve.error_y.array[0] == pytest.approx(0.1) and curve.error_y.arrayminus[1] == 0
    assert learning_rates([runs[0]]) is None


def test_the_loss_over_depth_joins_the_best_rates_and_shows_every_run(make_run):
    runs = [
        make_run("a", losses=(2.0,), n_layer=2),
        make_run("b", losses=(3.0,), n_layer=2, learning_rate=0.1),
    ]
    runs += [make_run("c", losses=(1.5,), n_layer=8), make_run("d", losses=(1.7,), n_layer=8, seed=2)]
    line, dots = depth(runs).data
    assert list(line.x) == [2, 8] and list(line.y) == [2.0, 1.6]
    assert sorted(dots.y) == [1.5, 1.7, 2.0, 3.0]
    learn, whole = layers_that_learn(runs).data
    assert sorted(learn.y) == [2, 2, 8, 8] and list(whole.y) == [2, 8]
    assert all(draw(runs[:1]) is None for draw in FIGURES.values())


def test_a_large_perturbation_map_keeps_its_largest_changes():
    values = [[0.0] * 300 for _ in range(300)]
    values[7][299] = 1.0
    (drawn,) = moved_outputs({"perturbation": values}).data
    assert len(drawn.z) == 100 and max(map(max, drawn.z)) == 0 == drawn.z[2][99]


def test_a_page_is_whole_and_runs_nothing_of_a_name(make_run, tmp_path):
    evil = "</script><script>alert(1)"
    runs = [make_run("a"), make_run("<script>", residual=evil)]
    write_page(tmp_path / "page.html", runs, "<b>title")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in text and data_of(tmp_path / "page.html")["runs"][1]["arm"] == evil
    assert "&lt;b&gt;title" in text and "<b>title" not in text
    ours = text.replace(get_plotlyjs(), "").replace("http://www.w3.org/2000/svg", "")
    assert "http:" not in ours and "https:" not in ours  # nothing is fetched
    assert len(text.encode()) < 8e6 and text.count("plotly.js v") == 1


def test_an_autopsy_is_a_page_and_a_part_of_its_runs_page(make_run, tmp_path):
    report = {
        "verdict": "a verdict",
        "lens": [4.0, 3.0],
        "lens_text": "<read>",
        "perturbation": [[1.0, 0.5], [0, 1]],
    }
    write_autopsy(tmp_path / "autopsy.html", report, "Autopsy of a")
    found = data_of(tmp_path / "autopsy.html")
    assert [figure["name"] for figure in found["autopsy"]["figures"]] == ["Logit lens", "Perturbation"]
    run = make_run("a")
    (run.folder / "autopsy.json").write_text(json.dumps(report), encoding="utf-8")
    assert page_data([run], "title")["runs"][0]["autopsy"] == found["autopsy"]
    (run.folder / "autopsy.json").write_text('{"lens": [4', encoding="utf-8")
    assert "autopsy.json is damaged" in notes_of(run)


@pytest.mark.skipif(not BIOME, reason="biome, the linter of scripts, has no build for this machine")
def test_the_scripts_of_the_page_are_clean():
    done = subprocess.run(
        [BIOME, "check", "--error-on-warnings", "reslab/web"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
