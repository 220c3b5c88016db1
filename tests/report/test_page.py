"""The page as a file: whole, closed to the network, and safe from the names in it."""

import json
import re
import shutil
import subprocess
import sysconfig

import pytest
from conftest import ROOT
from runs_by_hand import AUTOPSY

from reslab.report.html import html, plotly_script, write_autopsy, write_page
from reslab.report.pagedata import page_data

BIOME = shutil.which("biome", path=sysconfig.get_path("scripts"))


def data_of(page) -> dict:
    """The JSON that a page holds."""
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)[1])


def test_a_page_is_whole_and_runs_nothing_of_a_name(make_run, tmp_path):
    evil = "</script><script>alert(1)"
    runs = [make_run("a"), make_run("<script>", residual=evil)]
    write_page(tmp_path / "page.html", runs, "<b>title")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert evil not in text and data_of(tmp_path / "page.html")["runs"][1]["arm"] == evil
    assert "&lt;b&gt;title" in text and "<b>title" not in text
    ours = re.sub(r"http://www.w3.org/(2000/svg|1998/Math/MathML)", "", text.replace(plotly_script(), ""))
    assert "http:" not in ours and "https:" not in ours  # nothing is fetched
    assert len(text.encode()) < 8e6 and text.count("* plotly.js ") == 1


def test_every_run_is_on_the_page_and_only_a_live_one_may_ask_its_server(make_run, tmp_path):
    runs = [make_run("a"), make_run("b", residual="none")]
    write_page(tmp_path / "page.html", runs, "title")
    data = page_data(runs, "title")
    assert data_of(tmp_path / "page.html") == json.loads(json.dumps(data))
    for live in (False, True):
        text = html(data, live)
        assert ("connect-src 'self'" in text) is (" data-live" in text) is live


def test_an_autopsy_is_a_page_and_a_part_of_its_runs_page(make_run, tmp_path):
    write_autopsy(tmp_path / "autopsy.html", AUTOPSY, "Autopsy of a")
    data = data_of(tmp_path / "autopsy.html")
    assert (data["title"], data["about"], data["runs"]) == ("Autopsy of a", "a diagnosis", [])
    assert data["autopsy"]["lens"] == "<read>"
    assert [figure["name"] for figure in data["autopsy"]["figures"]] == ["Logit lens", "Perturbation"]
    run = make_run("a")
    (run.folder / "autopsy.json").write_text(json.dumps(AUTOPSY), encoding="utf-8")
    assert page_data([run], "title")["runs"][0]["autopsy"] == data["autopsy"]
    (run.folder / "autopsy.json").write_text('{"lens": [4', encoding="utf-8")
    notes = page_data([run], "title")["runs"][0]["notes"]
    assert any("autopsy.json is damaged" in note for note in notes)


@pytest.mark.skipif(not BIOME, reason="biome, the linter of scripts, has no build for this machine")
def test_the_scripts_of_the_page_are_clean():
    done = subprocess.run(
        [BIOME, "check", "--error-on-warnings", "reslab/report/web"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
