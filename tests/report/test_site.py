"""The static site: made from what is kept, whole without a network, without paths of a machine."""

import json
import re

import pytest
from conftest import ROOT, run_python
from runs_by_hand import AUTOPSY, write_run

from reslab.report import site
from reslab.report.kept import PROBE_NUMBERS, keep, kept_autopsy, kept_runs, portable, short, spread
from reslab.report.notebook import markdown_html, notebook_html
from reslab.report.pagedata import autopsy_data
from reslab.report.pictures import missing, open_page
from reslab.run.config import run_door

PROJECT = "https://example.org/project"
HOME = re.compile(r"(/home/|/root/|/tmp/|/Users/|[A-Z]:\\\\)\w+")  # folders of a machine


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    site.build(folder, PROJECT)
    return folder


def test_the_first_page_leads_to_all_others_and_to_the_project(built):
    text = (built / "index.html").read_text(encoding="utf-8")
    links = set(re.findall(r'href="([^"]+)"', text)) - {"data:,"}
    assert links == {path.name for path in built.iterdir()} - {"index.html"} | {PROJECT}
    measured = {name for name in site.PAGES if kept_runs(ROOT / "experiments" / name)}
    assert {"laptop", "deep", "study"} <= measured
    assert {f"{site.PAGES[name][0]}.html" for name in measured} | {"lesson.html"} <= links
    assert "24 layers with skips learn. The same 24 layers without them do not." in text


def test_every_page_links_to_the_project_and_holds_no_path_of_a_machine(built):
    for path in built.iterdir():
        text = path.read_text(encoding="utf-8")
        assert f'href="{PROJECT}"' in text, path.name
        assert str(ROOT) not in text and str(built) not in text, path.name
        data = re.search(r'id="data">(.*?)</script>', text, re.S)
        assert not HOME.search(data[1] if data else text), path.name


def test_links_of_the_lesson_go_to_the_project():
    assert site._link("residuals.md#steps", PROJECT) == f"{PROJECT}/blob/main/docs/residuals.md"
    assert site._link("../model.py", PROJECT) == f"{PROJECT}/blob/main/model.py"
    assert site._link("https://arxiv.org", PROJECT) == "https://arxiv.org"
    assert site._link("../../elsewhere", PROJECT) == "index.html"


def test_the_lesson_opens_on_colab_where_it_is_hosted_on_github(tmp_path, monkeypatch):
    monkeypatch.setattr(site, "kept_runs", lambda experiment: [])  # the lesson alone
    address = "https://colab.research.google.com/github/some/lab/blob/main/docs/lesson.ipynb"
    for project, there in (("https://github.com/some/lab", True), (PROJECT, False), ("", False)):
        site.build(tmp_path, project)
        text = (tmp_path / "lesson.html").read_text(encoding="utf-8")
        assert (f'href="{address}"' in text) == ("Open in Colab</a>" in text) == there
    assert (ROOT / "docs" / "lesson.ipynb").is_file()


def test_a_notebook_shows_its_text_its_output_and_its_pictures_and_runs_nothing(tmp_path):
    picture = {"data": {"image/png": "aGk=\n", "text/plain": ["<Figure>"]}, "output_type": "display_data"}
    printed = {"output_type": "stream", "text": ["1 < 2\n"]}
    evil = "# Title <b>\n\n<script>alert(1)</script>\n\n[a](x.md)\n\n<details>\n\n| a |\n|---|\n| 1 |\n"
    cells = [{"cell_type": "markdown", "source": [evil]}]
    cells.append({"cell_type": "code", "source": ["print('<i>')"], "outputs": [printed, picture]})
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    text = notebook_html(path, lambda address: f"to-{address}")
    assert "<script>" not in text and "<b>" not in text and "<i>" not in text
    assert '<a href="to-x.md">' in text and "<td>1</td>" in text and "<details>" in text
    assert "<pre>1 &lt; 2\n</pre>" in text and 'src="data:image/png;base64,aGk="' in text
    assert "href" not in markdown_html("[a](javascript:alert)", str)
    folded = markdown_html("<details><summary>Answer</summary>\n\n*Yes*\n\n</details>", str)
    assert folded == "<details><summary>Answer</summary>\n<p><em>Yes</em></p>\n</details>\n"


def test_a_kept_log_is_the_run_in_short(tmp_path):
    rows = [{"step": k, "batch/loss": 4 - k / 1000, "batch/grad_norm": 1.0} for k in range(1000)]
    for step in (0, 1, 3, 10, 30, 100):
        rows.append({"step": step, "probe/resid_gradient": [0.123456] * 20_001})
    rows.append({"step": 999, "val/loss": 2.123456, "status": "finished", "diagnosis": "d"})
    rows.sort(key=lambda row: row["step"])
    run = write_run(
        tmp_path, "run", rows=rows, facts={"command": "/home/me/lab/train.py a --out_dir=/tmp/x/y"}
    )
    target = keep(run, tmp_path / "experiment")
    assert target == tmp_path / "experiment" / "log" / "run"
    (short,) = kept_runs(tmp_path / "experiment")
    assert short.facts["command"] == "train.py a --out_dir=y" and str(short.folder) == "run"
    steps, losses = short.series("batch/loss")
    assert (steps[0], steps[-1], losses[-1]) == (0, 999, 4 - 0.999) and 100 < len(steps) <= 150
    probed, values = short.series("probe/resid_gradient")
    assert probed[0] == 0 and probed[-1] == 100 and len(probed) * 20_001 <= PROBE_NUMBERS + 20_001
    assert values[0][0] == 0.123 and short.last("val/loss") == 2.123456 and short.status == "finished"
    unfinished = write_run(tmp_path, "open", status="")
    with pytest.raises(ValueError, match="open: has not ended"):
        keep(unfinished, tmp_path / "experiment")


def test_a_row_that_is_kept_has_the_skip_of_its_own_settings(tmp_path):
    record = {
        "run": "x",
        "step": 3,
        "status": "finished",
        "train/loss": 2.0,
        "val/loss": 2.0,
        "val/loss_se": 0.1,
    }
    wirings = [
        {"residual": "scaled", "residual_scale": 0.3},
        {"residual": "partial_skips", "skip_blocks": "last:6"},
        {"residual": "pre", "mlp_residual": "none"},
    ]
    result = {
        "command": "c",
        "date": "d",
        "machine": "m",
        "commit": ["a"],
        "dataset": {},
        "baselines_nats": {},
    }
    result["runs"] = [record | settings for settings in wirings]
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "result.json").write_text(json.dumps(result), encoding="utf-8")
    rows = kept_runs(tmp_path / "study")
    skips = [[row.facts["wiring"][kind]["skip"] for kind in ("attn", "mlp")] for row in rows]
    assert skips == [[0.3, 0.3], [0.0, 0.0], [1.0, 0.0]]


def test_the_tour_of_the_demo_has_the_numbers_of_its_autopsies(built):
    text = (built / "24-layers.html").read_text(encoding="utf-8")
    runs = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["runs"]
    kept_logs = kept_runs(ROOT / "experiments" / "laptop")
    commits = {run.config["residual"]: run.facts["git_commit"] for run in kept_logs}
    for run in runs:
        kept = json.loads((ROOT / f"experiments/laptop/autopsy-{run['arm']}.json").read_text("utf-8"))
        assert run["autopsy"]["paths"] == kept["paths"] and len(run["autopsy"]["lesions"]) == run["layers"]
        assert f"has norm {run['autopsy']['total']:.1e};" in kept["findings"][1]
        rise, error = run["autopsy"]["lesions"][0]
        assert kept["layers"][0]["without block"] == f"{rise:+.3f} ± {error:.3f}"
        assert kept["git_commit"] == commits[run["arm"]]  # the autopsy is of this run


def test_an_autopsy_that_could_not_measure_all_tells_the_rest(tmp_path):
    path = tmp_path / "autopsy-post.json"
    assert kept_autopsy(path) is None
    path.write_text(
        '{"findings": ["paths: n/a, no"], "layers": [{"without block": "n/a"}]}', encoding="utf-8"
    )
    assert kept_autopsy(path) == {"figures": [], "lens": ""}


def test_the_logs_that_are_kept_end_as_the_results_say():
    for folder in ROOT.glob("experiments/*/log"):
        records = json.loads((folder.parent / "result.json").read_text(encoding="utf-8"))["runs"]
        losses = {record["run"]: record["val/loss"] for record in records}
        for run in kept_runs(folder.parent):
            assert run.last("val/loss") == losses[str(run.folder)], run.folder
            assert run.last("probe/resid_gradient"), run.folder


def test_paths_lose_their_folders_and_nothing_else_changes():
    same = ["a/b.py", "https://a.org/b/c", "3/4", 1.5, None, {"k": ["runs/x"]}, "y = x + F(x) / sqrt(2 L)"]
    assert portable(same) == same
    assert portable("/a/b/train.py --x=/c/d e/f") == "train.py --x=d e/f"
    assert portable({"out": r"C:\Users\me\runs"}) == {"out": "runs"}


def test_of_many_values_the_first_the_last_and_more_early_ones_stay():
    chosen = spread(list(range(1000)), 20)
    assert chosen[0] == 0 and chosen[-1] == 999 and len(chosen) == 20
    assert sum(value < 500 for value in chosen) > 10
    assert spread([1, 2], 2) == [1, 2]


def test_what_is_wrong_is_one_line(tmp_path):
    done = run_python("-m", "reslab.report.site", "--keep", tmp_path, tmp_path / "none", code=2)
    assert "none: no such file or folder" in done.stderr
    assert "give --out FOLDER" in run_python("-m", "reslab.report.site", code=2).stderr


@pytest.mark.slow
@pytest.mark.skipif(missing() is not None, reason=missing() or "")
def test_the_site_opens_in_a_browser_that_has_no_network(built, chrome):
    chrome.execute_cdp_cmd(
        "Network.emulateNetworkConditions",
        {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    for path in sorted(built.iterdir()):
        if "data" in path.name or path.suffix != ".html":
            continue
        if 'id="data"' in path.read_text(encoding="utf-8"):
            open_page(chrome, path.as_uri())
            assert chrome.execute_script("return document.querySelector('h1').textContent")
        else:
            chrome.get(path.as_uri())
        loaded = chrome.execute_script("return performance.getEntriesByType('resource').map((e) => e.name)")
        assert not [name for name in loaded if not name.startswith(("data:", "blob:"))]
        assert chrome.execute_script("return document.documentElement.scrollWidth <= innerWidth"), path.name
        assert chrome.get_log("browser") == [], path.name


def test_what_is_kept_of_a_run_is_how_it_ended_and_small_numbers_stay(tmp_path):
    record = {
        "run": "x",
        "step": 3,
        "train/loss": 2.0,
        "val/loss": 2.5,
        "val/loss_se": 0.1,
        "residual": "pre",
    }
    result = {"command": "c", "date": "2026-01-02", "machine": "m", "commit": ["a"], "dataset": {}}
    result |= {"baselines_nats": {}, "runs": [record | {"status": s} for s in ("finished", "diverged")]}
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "result.json").write_text(json.dumps(result), encoding="utf-8")
    runs = kept_runs(tmp_path / "study")
    assert [run.status for run in runs] == ["finished", "diverged"]
    assert (runs[0].facts["started"], runs[0].last("val/loss")) == ("2026-01-02", 2.5)
    assert short([1.23456e-9, 12345.6, 3]) == [1.23e-9, 12300.0, 3]


def test_an_autopsy_on_a_page_has_the_costs_of_blocks_and_the_norm_of_the_sum():
    costs = {"loss": 2.0, "block": 0.5, "attn": 0.25, "mlp": 0.2}
    lesions = {key: {"delta": cost, "se": 0.125} for key, cost in costs.items()}
    lesions = {key: cost if key == "loss" else [cost] for key, cost in lesions.items()}
    lesions |= {"random": [{"removed": 1, "delta": 0.3, "se": 0.1}], "skips": None}
    paths = {"norms": [0.5, 0.25, 0.125], "total": 0.75, "error": 0.0}
    page = autopsy_data(AUTOPSY | {"lesions": lesions, "paths": paths}, "t")["autopsy"]
    assert (page["lesions"], page["paths"], page["total"]) == ([[0.5, 0.125]], [0.5, 0.25, 0.125], 0.75)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ((), "give --out FOLDER, or --keep EXPERIMENT RUN..."),
        (("--out={free}", "{free}"), "give --out FOLDER"),
        (("--keep={free}",), "give --out FOLDER"),
        (("--out={file}",), "is a file, must be a folder"),
        (("--keep={file}", "run"), "is a file, must be a folder"),
        (("--out=",), "needs a value"),
    ],
)
def test_a_site_that_can_t_be_written_is_one_line(tmp_path, monkeypatch, capsys, argv, words):
    (tmp_path / "file").touch()
    places = {"free": tmp_path / "free", "file": tmp_path / "file"}
    monkeypatch.setattr("sys.argv", ["site", *(word.format(**places) for word in argv)])
    with pytest.raises(SystemExit) as end:
        run_door(site.main)
    error = capsys.readouterr().err
    assert end.value.code == 2 and words in error and error.count("\n") == 1
    assert not (tmp_path / "free").exists()
