"""The curves of the page in a real browser: what is downloaded, and what the colours tell."""

import csv
import io

import pytest
from page_driver import move, unfold
from runs_by_hand import write_run

from reslab.report.facts import load
from reslab.report.html import write_page
from reslab.report.pictures import missing, open_page
from reslab.report.records import curves_csv

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]


@pytest.fixture
def shown(page, chrome, tmp_path):
    """Four runs of two depths and two seeds, on a page."""
    folders = [
        write_run(tmp_path, f"d{n}s{s}", losses=(4.0, 3.0 + s / 10, 2.0 + n / 10), n_layer=n, seed=s)
        for n in (2, 4)
        for s in (1, 2)
    ]
    write_page(tmp_path / "curves.html", [load(folder) for folder in folders], "A title")
    open_page(chrome, (tmp_path / "curves.html").as_uri())
    unfold(chrome)
    return chrome, [load(folder) for folder in folders]


def downloaded(driver, name: str) -> str:
    """What the CSV button of a chart saves."""
    return driver.execute_script(
        """const real = save; let content; save = (name, text) => { content = text };
        document.querySelector(`[data-chart=${arguments[0]}] [aria-label$=CSV]`).click();
        save = real; return content;""",
        name,
    )


def points(text: str) -> set[tuple]:
    rows = list(csv.DictReader(io.StringIO(text)))
    exported = {(*list(cells.values())[:6], float(cells["value"])) for cells in rows}
    assert len(exported) == len(rows)
    return exported


def test_a_download_is_tidy_unsmoothed_and_without_bands(shown):
    driver, runs = shown
    move(driver, "#curves input[aria-label=smoothing]", 80)
    expected = points(curves_csv(runs))
    losses = points(downloaded(driver, "loss"))
    assert sorted(one[:6] for one in losses) == sorted(one[:6] for one in expected if one[4] != "grad_norm")
    known = {one[:6]: one[6] for one in expected}
    assert all(one[6] == pytest.approx(known[one[:6]], rel=1e-5) for one in losses)
    norms = points(downloaded(driver, "gradient-norm"))
    assert norms == {one for one in expected if one[4] == "grad_norm"}


def test_a_setting_gives_the_colours_and_numbers_have_a_ramp(shown):
    driver, _ = shown
    by_run = "return Object.fromEntries(page.data.runs.map((run) => [run.name, lineOf(run).color]))"
    keys = driver.execute_script("return settingOptions().map(([key]) => key)")
    assert keys[0] == "" and {"n_layer", "seed"} <= set(keys)
    for key, position in (("n_layer", 1), ("seed", 3)):
        driver.execute_script(
            "const s = curvesView.colour.input; s.value = arguments[0]; s.dispatchEvent(new Event('change'))",
            key,
        )
        colours = driver.execute_script(by_run)
        told = {}
        for name, colour in colours.items():
            told.setdefault(name[position], set()).add(colour)
        assert all(len(one) == 1 for one in told.values()) and len(set.union(*told.values())) == 2
        drawn = driver.execute_script(
            "return document.querySelector('[data-chart=loss] .plot').data.map((t) => t.line?.color)"
        )
        assert set(colours.values()) <= set(drawn)
    driver.execute_script(
        "const s = curvesView.colour.input; s.value = ''; s.dispatchEvent(new Event('change'))"
    )
    assert driver.execute_script(by_run) == driver.execute_script(
        "return Object.fromEntries(page.data.runs.map((run) => [run.name, run.line.color]))"
    )


def test_one_step_that_explodes_does_not_darken_the_others(shown):
    """Its values are brightest, and the end of the scale says that there is more beyond."""
    driver, _ = shown
    places = """const lists = arguments[0], scale = commonScale(lists, "log");
        return [lowEnd(scale), highEnd(scale), scale.most, lists.map((list) => list.map(scale.place))];"""
    usual = [[0.1, 1.0], [0.5, 2.0], [0.01, 4.0]]
    low, high, most, drawn = driver.execute_script(places, usual)
    assert (low, high, most) == ("0.01", "4", 4) and drawn[2] == [0, 1]
    low, high, most, drawn = driver.execute_script(places, [*usual, [1e28, 1e29], [1e-20, 1.0]])
    assert (low, high, most) == ("≤ 2×10⁻¹²", "≥ 2,000", 1e29)
    assert drawn[3] == [1, 1] and drawn[4][0] <= 0 and 0.7 < drawn[0][1] < 0.9
