"""The data of a page: every field is what the runs wrote, thinned only where it is said."""

import json
from pathlib import Path

import pytest
import torch
from runs_by_hand import LINES, probe_row, train_loss

from reslab.report import pagedata
from reslab.report.figure import Figure
from reslab.report.figures import FIGURES
from reslab.report.groups import COLOURS, DASHES
from reslab.report.pagedata import page_data, thin, to_json, tokens_per_step
from reslab.report.summary import COLUMNS, differences, row
from reslab.run.log import read_run
from reslab.system import flops
from reslab.training.load import load
from reslab.training.loop import train

ORIGIN = {
    "started": "2026-05-06T07",
    "git_commit": "def",
    "machine": "big one",
    "device": "cuda",
    "torch": "9",
}
ORIGIN |= {"command": "train.py it", "parameters": 77}
ORIGIN |= {"wiring": {"attn": {"equation": "y = f", "skip": 0.0}, "mlp": {"equation": "y = g", "skip": 0.5}}}
ORIGIN |= {"flops_per_token": 4321}


def test_every_field_of_a_run_is_what_it_wrote(make_run):
    run = make_run("it", residual="none", n_layer=5, facts=ORIGIN)
    (entry,) = page_data([run], "title")["runs"]
    del entry["curves"], entry["probes"]
    assert entry == {
        "name": "it",
        "folder": str(run.folder),
        "label": "none, 5 layers",
        "short": "none, 5 layers",
        "group_label": "none, 5 layers",
        "group": 0,
        "arm": "none",
        "layers": 5,
        "wiring": ORIGIN["wiring"],
        "status": "finished",
        "diagnosis": "a diagnosis",
        "early_warning": "",
        "command": "train.py it",
        "machine": "big one, cuda, torch 9",
        "commit": "def",
        "started": "2026-05-06T07",
        "config": run.config,
        "tokens_per_step": 2 * 3 * 8,
        "flops_per_token": 4321,
        "foreign": "",
        "line": {"color": COLOURS[1], "dash": "solid"},
        "baselines": {
            split: {"uniform": 4.0, "unigram": LINES["unigram"][split], "bigram": LINES["bigram"][split]}
            for split in ("train", "val")
        },
        "samples": [
            {"step": step, "prompt": f"def {step}", "text": f"sample <{step}>"} for step in (0, 10, 20)
        ],
        "autopsy": None,
        "notes": [],
    }


def test_curves_and_probes_are_those_of_the_rows(make_run):
    (entry,) = page_data([make_run("it", residual="none", n_layer=5)], "title")["runs"]
    curves, probes = entry["curves"], entry["probes"]
    losses = (4.0, 2.9, 2.2)
    at = {"step": [0, 10, 20], "seconds": [0, 15, 30]}
    assert curves == {
        "train": at
        | {"loss": [pytest.approx(train_loss(v), 1e-5) for v in losses], "se": [0.03, 0.04, 0.05]},
        "val": at | {"loss": [4.0, 2.9, 2.2], "se": [0.02, 0.021, 0.022]},
        "batch": at | {"seconds": [0.25, 15.25, 30.25], "loss": [4.5, 3.4, 2.7], "norm": [1.0, 2.0, 3.0]},
    }
    assert probes["steps"] == [0, 10, 20]
    for step, values in zip(probes["steps"], probes["values"], strict=True):
        written = {k.removeprefix("probe/"): v for k, v in probe_row(5, step, 0.0).items() if k != "step"}
        if step == 0:  # where it counts every layer of every stack
            del written["layers_that_learn"]
        assert values.keys() == written.keys()
        for key in written:
            assert values[key] == pytest.approx(written[key], rel=5e-3), key


def test_the_page_says_what_it_is_about_and_holds_table_figures_and_differences(make_run):
    text = {"dataset": {"source": "a text", "source_sha256": "0", "vocab_size": 54321}}
    runs = [make_run("a", facts=text), make_run("b", residual="none", n_layer=2, facts=text)]
    data = page_data(runs, "the title")
    assert data["title"] == "the title" and data["columns"] == COLUMNS
    about = "Trained on a text (a vocabulary of 54,321). Losses in nats per token; lower is better."
    assert data["about"] == about
    assert data["table"] == [row(run) for run in runs] and data["differences"] == differences(runs)
    assert [entry["name"] for entry in data["runs"]] == ["a", "b"]
    drawn = {name: draw(runs) for name, draw in FIGURES.items()}
    shown = {figure["name"]: figure for figure in data["figures"]}
    assert list(shown) == [name for name, figure in drawn.items() if figure]
    for name, figure in shown.items():
        assert figure["caption"] == FIGURES[name].caption
        traces = json.loads(drawn[name].to_json())["data"]
        assert figure["data"] == traces
    named = page_data(runs, "the title", heading="a heading of one's own")
    assert named["title"] == named["heading"] == "a heading of one's own" and data["heading"] == ""
    assert page_data([], "nothing yet")["about"] == "" and page_data(runs[:1], "one")["differences"] == []


def test_the_two_arms_have_in_a_legend_the_names_that_people_give_them(make_run):
    runs = [make_run(f"{arm}{n}", residual=arm, n_layer=n) for arm in ("pre", "none", "post") for n in (1, 2)]
    (depth,) = [f for f in page_data(runs, "title")["figures"] if f["name"] == "Loss over depth"]
    names = {trace["name"] for trace in depth["data"]}
    assert {"with skips", "without skips", "post"} <= names and not {"pre", "none"} & names


def test_an_early_warning_and_an_unknown_commit_are_shown(make_run):
    rows = [{"step": 3, "early_warning": "will not train"}]
    (entry,) = page_data([make_run(rows=rows, facts={"git_commit": None})], "t")["runs"]
    assert (
        entry["early_warning"] == "will not train"
        and entry["commit"] == "unknown"
        and entry["diagnosis"] == ""
    )


def test_values_of_one_step_in_several_rows_are_together_and_derived_ones_are_left_out(make_run):
    first = {"step": 0, "probe/resid_gradient": [1.0, 3.0, 2.0]}
    later = {"step": 0, "probe/update_ratio": [0.25]}
    run = make_run(rows=[first, later])
    assert run.rows[0]["probe/gradient_norm"] == [1.0, 2.0]  # a reader has it
    probes = page_data([run], "title")["runs"][0]["probes"]
    assert probes == {"steps": [0], "values": [{"resid_gradient": [1.0, 3.0, 2.0], "update_ratio": [0.25]}]}


def test_a_probe_is_described_by_the_run_that_measured_it(make_run):
    peak = {"label": "largest entry", "scale": "linear", "sites": ["resid_pre"]}
    head = {"label": "of each head", "scale": "log", "sites": ["block"]}
    facts = {"probes": {"head": head, "peak": peak, "unmeasured": peak}}
    values = {"probe/peak": 1.23456, "probe/head": [[1.0, None], [2.0, 3.00049]]}
    data = page_data([make_run(facts=facts, rows=[{"step": 1} | values])], "title")
    assert data["probes"] == {"head": head, "peak": peak}
    assert data["runs"][0]["probes"]["values"] == [{"peak": 1.235, "head": [[1.0, None], [2.0, 3.0]]}]


def test_colours_tell_wirings_and_dashes_tell_depths(make_run):
    runs = [make_run(f"{n}{k}", residual=n, n_layer=k) for n in ("post", "none", "pre") for k in (4, 2)]
    drawn = [entry["line"] for entry in page_data(runs, "title")["runs"]]
    colours = [COLOURS[2]] * 2 + [COLOURS[1]] * 2 + [COLOURS[0]] * 2
    assert drawn == [{"color": c, "dash": d} for c, d in zip(colours, DASHES[1::-1] * 3, strict=True)]


def test_only_seeds_of_one_group_have_the_same_line(make_run):
    """More depths than dashes, more wirings than colours, and two rates of the same stack."""
    runs = [make_run(f"d{n}{arm}", residual=arm, n_layer=n) for n in range(1, 8) for arm in ("pre", "none")]
    others = ("post", "scaled", "rezero", "sandwich", "layerscale", "deepnorm", "highway")
    runs += [make_run(name, residual=name) for name in others]
    runs += [make_run(f"r{rate}", learning_rate=rate) for rate in (0.1, 0.2)]
    entries = page_data([*runs, make_run("again", seed=2, n_layer=1)], "title")["runs"]
    looks = [str(entry["line"]) for entry in entries]
    assert len(set(looks)) == len(runs) and looks[-1] == looks[0]


def test_tokens_are_counted_from_the_settings(make_run):
    assert tokens_per_step(make_run()) == 2 * 3 * 8


@pytest.mark.parametrize("shape", [{"tie_weights": False}, {"residual": "highway", "mlp": "swiglu"}])
def test_the_flops_of_a_page_are_those_of_the_utilization(train_config, monkeypatch, shape):
    """An untied embedding is looked up and not multiplied; what a wiring adds is left out."""
    config = train_config(max_iters=1, **shape)
    train(config)
    run = read_run(Path(config.out_dir))
    (entry,) = page_data([run], "title")["runs"]
    model = load(Path(config.out_dir))[0]
    parts = [part for block in model.blocks for part in (block.attn, block.mlp)]
    inside = sum(w.numel() for part in parts for w in part.parameters() if w.dim() == 2)
    weights = inside + 16 * run.facts["dataset"]["vocab_size"]
    assert entry["flops_per_token"] == 6 * weights + 12 * 2 * 16 * 16
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert flops.meter(model, "cuda")(1e6) == pytest.approx(1e6 * entry["flops_per_token"] / 65e12, abs=1e-4)


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
    rows[12_345]["batch/loss"], rows[54_321]["batch/grad_norm"] = 0.5, 40.0
    data = page_data([make_run(rows=rows)], "title")
    batch = data["runs"][0]["curves"]["batch"]
    assert len(batch["step"]) <= 2002 and batch["step"][0] == 0 and batch["step"][-1] == 99_999
    assert batch["loss"][batch["step"].index(45_678)] == 9.0  # the one spike is there
    assert batch["norm"][batch["step"].index(77_777)] == 1e-9
    assert batch["loss"][batch["step"].index(12_345)] == 0.5  # and the lowest
    assert batch["norm"][batch["step"].index(54_321)] == 40.0
    assert f"batch/loss: {len(batch['step'])} of 100000 rows drawn" in data["runs"][0]["notes"][-1]
    assert thin([[1.0, None, 3.0]], 3) == [0, 1, 2]
    assert thin([[None, 5.0, None, 7.0, 2.0, 3.0, None, None], [None] * 8], 4) == [0, 3, 4, 7]


def test_a_page_stays_below_its_size_and_says_what_it_left_out(make_run):
    rows = [probe_row(50, step, 1.0) for step in range(60)]
    size = len(to_json(page_data([make_run("empty", rows=[])], "")).encode()) + 160_000
    data = page_data([make_run(rows=rows, n_layer=50)], "title" + 60_000 * "é", size=size)
    assert len(to_json(data).encode()) <= size
    steps = data["runs"][0]["probes"]["steps"]
    assert steps[0] == 0 and steps[-1] == 59 and len(steps) < 60
    assert f"probes: {len(steps)} of 60 measured steps drawn" in data["runs"][0]["notes"]


def test_early_probes_are_kept_as_finely_as_late_ones_on_a_logarithmic_scale(make_run):
    rows = [{"step": step, "probe/x": [0.123] * 100} for step in range(400)]
    size = len(to_json(page_data([make_run("empty", rows=[])], ""))) + 9_000
    steps = page_data([make_run(rows=rows)], "title", size=size)["runs"][0]["probes"]["steps"]
    assert 5 < len(steps) < 100 and steps[:2] == [0, 1]
    assert sum(step < 20 for step in steps) >= sum(step > 20 for step in steps) - 1


def test_many_runs_share_the_room_of_a_page(make_run):
    rows = [{"step": k, "batch/loss": 3.0 + k % 7, "batch/grad_norm": 1.0} for k in range(3000)]
    runs = [make_run(f"r{k}", rows=rows, seed=k) for k in range(40)]
    sizes = [len(one["curves"]["batch"]["step"]) for one in page_data(runs, "title")["runs"]]
    assert max(sizes) <= 1002 < 1200 < len(page_data(runs[:1], "t")["runs"][0]["curves"]["batch"]["step"])


def notes_of(run) -> str:
    data = page_data([run], "title")
    json.loads(to_json(data))
    return " | ".join(data["runs"][0]["notes"])


def test_what_a_run_can_not_show_is_said(make_run):
    assert "no row yet" in notes_of(make_run("empty", rows=[]))
    single = notes_of(make_run("single", rows=[{"step": 0, "val/loss": 4.0, "val/loss_se": None}]))
    assert "a single row" in single and "no probes in metrics.jsonl" in single and "unfinished" in single
    unprobed = [{"step": 0, "val/loss": 4.0}, {"step": 1, "status": "finished", "diagnosis": "v"}]
    assert "trained with --probes=False" in notes_of(make_run("off", rows=unprobed, probes=False))


def test_a_diverged_run_is_a_run_with_a_gap(make_run):
    rows = [
        {"step": k, "batch/loss": loss, "batch/grad_norm": None} for k, loss in enumerate((4.0, 99.0, None))
    ]
    run = make_run(rows=[*rows, {"step": 2, "status": "diverged", "diagnosis": "diverged at step 2"}])
    entry = page_data([run], "title")["runs"][0]
    assert entry["status"] == "diverged" and entry["diagnosis"] == "diverged at step 2"
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


def test_a_figure_that_fails_is_left_out_with_one_warning(make_run, monkeypatch, capsys):
    def adds(runs):
        return runs[0].last("no/such") + 1.0

    broken = {"Overfitting": Figure("depth", "", adds), "A sum": Figure("depth", "", lambda runs: 3.0)}
    run = make_run()
    before = page_data([run], "t")["figures"]
    monkeypatch.setattr(pagedata, "FIGURES", broken | FIGURES)
    for _ in range(2):  # a page that follows runs is made again and again
        assert page_data([run], "t")["figures"] == before
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith('warning: figure "Overfitting" failed (TypeError: ')
    assert first.endswith("; it is left out")
    assert second.startswith('warning: figure "A sum" failed (TypeError: it returned a float, must return')
