"""The page in a real browser: what is on the screen is what the runs' files say."""

import json
import shutil
from pathlib import Path

import pytest
from page_driver import move, press, resize, text
from runs_by_hand import AUTOPSY, probe_row, write_run

from reslab.report.html import write_autopsy, write_page
from reslab.report.pagedata import page_data
from reslab.report.pictures import browser, missing, open_page, write_pictures
from reslab.report.serve import PageServer
from reslab.run.log import read_run

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]


def metrics(folder: Path) -> dict[int, dict]:
    """Step -> its probes, read from the file itself."""
    rows = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return {row["step"]: row for row in rows if "probe/resid_gradient" in row}


def sizes(driver) -> dict[str, dict[str, float | None]]:
    """What the block shows: run -> key -> value."""
    return driver.execute_script("""
        return Object.fromEntries([...document.querySelectorAll("#block .arm")].map((arm) => [arm.dataset.run,
          Object.fromEntries([...arm.querySelectorAll("dd")].map((dd) =>
            [dd.dataset.key, dd.dataset.value === "" ? null : Number(dd.dataset.value)]))]));""")


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_shows_what_was_measured(page, tmp_path, width):
    runs = {name: write_run(tmp_path, name, residual=name) for name in ("pre", "none")}
    driver = page(*runs.values(), width=width)
    assert driver.execute_script("return document.documentElement.scrollWidth") == width  # nothing sticks out

    # The block: the last step and layer 0 at first, then another step, layer and sublayer.
    measured = {name: metrics(folder) for name, folder in runs.items()}
    first = sizes(driver)
    assert first["pre"]["dx"] == pytest.approx(measured["pre"][20]["probe/resid_gradient"][0], rel=5e-3)
    assert first["none"]["dx"] == pytest.approx(measured["none"][20]["probe/resid_gradient"][0], rel=5e-3)
    move(driver, "#block label:nth-of-type(1) input", 2)
    move(driver, "#block label:nth-of-type(2) input", 1)
    move(driver, "#block label:nth-of-type(3) select", 1)
    for name, shown in sizes(driver).items():
        row, k = measured[name][10], 2 * 2 + 1
        rms, gradients = row["probe/resid_rms"], row["probe/resid_gradient"]
        expected = {"x": rms[k], "raw": rms[k] * row["probe/branch_ratio"][k], "y": rms[k + 1]}
        expected |= {"f": row["probe/added_rms"][k], "cos": row["probe/added_cosine"][k]}
        expected |= {"skip": row["probe/skip_gradient"][k], "branch": row["probe/branch_gradient"][k]}
        expected |= {"dy": gradients[k + 1], "dx": gradients[k]}
        assert shown == pytest.approx(expected, rel=1e-2), name


def test_the_steps_of_a_block_go_by_button_and_by_key(page, tmp_path):
    driver = page(*(write_run(tmp_path, name, residual=name) for name in ("pre", "none")))
    assert "The stream x" in text(driver, "#block .stage")
    press(driver, "#block", "ArrowRight")
    assert "splits" in text(driver, "#block .stage")
    driver.execute_script("document.querySelector('#block [data-step=\"5\"]').click()")
    assert "dy/dx = 1 + dF/dx" in text(driver, "#block [data-run=pre] .says")
    assert "There is no skip, so dy/dx = dF/dx" in text(driver, "#block [data-run=none] .says")
    wires = """return [...document.querySelectorAll(`[data-run=${arguments[0]}] [data-wire]`)]
        .map((wire) => wire.dataset.wire)"""
    assert "skip" in driver.execute_script(wires, "pre")
    assert "skip" not in driver.execute_script(wires, "none")  # the wire is cut


def test_the_reach_and_the_curves_show_what_was_measured(page, tmp_path):
    runs = {name: write_run(tmp_path, name, residual=name) for name in ("pre", "none")}
    driver, measured = page(*runs.values()), {name: metrics(folder) for name, folder in runs.items()}
    # At another step, of another probe, and one layer up by the keys.
    move(driver, "#reach input[type=range]", 0)
    move(driver, "#reach select", "qk_gradient")
    press(driver, "#reach [data-run=none] canvas", "ArrowUp")
    value = driver.execute_script(
        "return document.querySelector('#reach [data-run=none] output').dataset.value"
    )
    assert float(value) == pytest.approx(measured["none"][0]["probe/qk_gradient"][1], rel=5e-3)
    assert "layer 1" in text(driver, "#reach [data-run=none] output")
    press(driver, "#reach", "ArrowRight")
    assert (
        driver.execute_script("return document.querySelector('#reach [data-run=none] output').dataset.step")
        == "10"
    )

    # The curves: the same losses against tokens, and an arm that is switched off.
    curve = """return document.querySelector("[data-chart=loss] .plot").data
        .filter((t) => t.meta?.split === "val").map((t) => [t.meta.run, t.x, t.y])"""
    move(driver, "#curves label:nth-of-type(2) select", "tokens")
    assert driver.execute_script(curve) == [[name, [0, 480, 960], [4.0, 2.9, 2.2]] for name in runs]
    driver.execute_script("document.querySelector('#runs input[data-run=none]').click()")
    assert [name for name, *_ in driver.execute_script(curve)] == ["pre"]
    assert list(sizes(driver)) == ["pre"]


def test_space_plays_the_training(page, tmp_path):
    driver = page(write_run(tmp_path))
    move(driver, "#reach input[type=range]", 0)
    press(driver, "#reach", " ")
    assert "Pause" in text(driver, "#reach button")
    press(driver, "#reach", " ")
    assert "Play" in text(driver, "#reach button")


@pytest.fixture
def broken(tmp_path) -> list[Path]:
    """A name that is HTML, no probes, a divergence, post-norm, no row, and a last line that was cut."""
    diverged = [{"step": k, "batch/loss": v, "batch/grad_norm": v} for k, v in enumerate((4.0, 50.0, None))]
    diverged.append({"step": 2, "status": "diverged", "diagnosis": "diverged at step 2"})
    unsplit = [probe_row(4, 0, 1.0) | {"probe/skip_gradient": [None] * 8}]
    folders = [
        write_run(tmp_path, "<script>", residual="<img src=x onerror=alert(1)>"),
        write_run(tmp_path, "off", rows=[{"step": 0, "val/loss": 4.0, "val/loss_se": 0.1}], probes=False),
        write_run(tmp_path, "bad", rows=diverged),
        write_run(tmp_path, "post", residual="post", rows=unsplit),
        write_run(tmp_path, "empty", rows=[]),
        write_run(tmp_path, "cut"),
    ]
    cut = folders[-1] / "metrics.jsonl"
    cut.write_bytes(cut.read_bytes()[:-20])
    return folders


def test_a_broken_run_gives_a_page_that_says_so(page, broken):
    driver = page(*broken)
    unsafe = "return document.images.length + document.querySelectorAll('#record script').length"
    assert driver.execute_script(unsafe) == 0
    names = ("<script>", "off", "bad", "empty", "cut")
    shown = {name: text(driver, f'#record [data-run="{name}"]') for name in names}
    assert "<script>" in shown["<script>"] and "<img src=x" in shown["<script>"]
    assert "--probes=False" in shown["off"] and "a single row" in shown["off"]
    assert "diverged at step 2" in shown["bad"]
    assert "no row yet" in shown["empty"] and "cut short" in shown["cut"]
    ends = driver.execute_script(
        """return document.querySelector("[data-chart=loss] .plot").data
        .filter((t) => t.marker?.symbol === "x").map((t) => t.y)"""
    )
    assert ends == [[50.0]]
    assert "Not measured in" in text(driver, "#reach .small")


def test_a_block_without_a_constant_skip_says_so(page, broken):
    driver = page(*broken)
    move(driver, "#block label:nth-of-type(4) select", str(broken[3]))
    assert sizes(driver)["post"]["skip"] is None
    assert "no constant skip" in text(driver, "#block [data-run=post] dl")
    driver.execute_script("document.querySelector('#block [data-step=\"5\"]').click()")
    assert "no constant" in text(driver, "#block [data-run=post] .says")


def test_what_makes_runs_not_comparable_stands_under_the_heading(page, tmp_path):
    text_of = {"source": "another <text>", "source_sha256": "1", "vocab_size": 60}
    ours = write_run(tmp_path, "a")
    other = write_run(tmp_path, "b", facts={"dataset": text_of, "torch": "3"})
    lines = "return [...document.querySelectorAll('#warnings li')].map((li) => li.innerText)"
    height = "return document.getElementById('warnings').offsetHeight"
    driver = page(ours, other)
    shown = driver.execute_script(lines)
    assert [line.split()[0] for line in shown] == ["data", "tokenizer", "torch"]
    assert driver.execute_script(height) > 0
    assert shown == page_data([read_run(ours), read_run(other)], "title")["warnings"]
    driver = page(ours)
    assert driver.execute_script(lines) == [] and driver.execute_script(height) == 0


def test_a_thousand_layers_are_a_column(page, tmp_path):
    driver = page(write_run(tmp_path, "deep", residual="none", n_layer=1000, losses=(4.0,)))
    assert (
        driver.execute_script("return document.querySelector('#reach canvas:not([width=\"256\"])').height")
        == 2001
    )
    move(driver, "#block label:nth-of-type(1) input", 999)
    assert sizes(driver)["deep"]["dy"] == pytest.approx(0.1**0.5, rel=5e-3)


def test_the_theme_follows_the_system_and_its_button(page, tmp_path):
    driver = page(write_run(tmp_path))
    theme = "return [document.documentElement.dataset.theme, getComputedStyle(document.body).backgroundColor]"
    light = driver.execute_script(theme)
    driver.execute_script("document.getElementById('theme').click()")
    dark = driver.execute_script(theme)
    assert [light[0], dark[0]] == ["light", "dark"] and light[1] != dark[1]
    plot = "return document.querySelector('[data-chart=loss] .plot').layout.font.color"
    assert driver.execute_script(plot) == driver.execute_script(
        "return getComputedStyle(document.documentElement).getPropertyValue('--ink').trim()"
    )


def test_a_chart_is_a_table_too(page, tmp_path):
    driver = page(write_run(tmp_path))
    lines = driver.execute_script(
        "return csv(document.querySelector('[data-chart=loss] .plot').data)"
    ).splitlines()
    assert lines[0] == "name,x,y,value" and "with skips,10,2.9," in lines
    lines = driver.execute_script(
        "return csv(document.querySelector('[data-chart=layer-by-step] .plot').data)"
    )
    assert "with skips,10,2,1.1" in lines.splitlines()


def test_an_autopsy_page_opens(chrome, tmp_path):
    write_autopsy(tmp_path / "autopsy.html", AUTOPSY, "Autopsy of a")
    open_page(chrome, (tmp_path / "autopsy.html").as_uri())
    assert "<read>" in text(chrome, "#autopsies pre")
    assert chrome.execute_script("return document.querySelectorAll('#autopsies .main-svg').length") >= 2
    assert chrome.get_log("browser") == []


def test_a_live_page_follows_its_run_and_tells_its_end(chrome, tmp_path):
    folder = write_run(tmp_path, "run", status="")
    log = folder / "metrics.jsonl"
    waiting = ["another"]
    server = PageServer(
        0,
        lambda: page_data([read_run(folder)], "live") | {"waiting": [*waiting]},
        lambda: (log.stat().st_size, len(waiting)),
    )
    try:
        resize(chrome, 1280)
        open_page(chrome, server.url)
        wait(chrome, "at step 20")
        with log.open("a", encoding="utf-8") as file:
            file.write('{"step": 30, "status": "finished", "diagnosis": "learned a lot"}\n')
        wait(chrome, "finished; 1 of 2 runs have not begun")
        assert "All runs have ended" not in text(chrome, "#following")
        waiting.clear()
        wait(chrome, "All runs have ended")
        assert "learned a lot" in text(chrome, "#record")
        assert chrome.get_log("browser") == []
    finally:
        server.close()
        chrome.get("about:blank")
        chrome.get_log("browser")


def wait(driver, expected: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(driver, 60, poll_frequency=0.05).until(lambda d: expected in text(d, "#following"))


def test_the_pictures_are_those_of_the_page(tmp_path):
    folders = [
        write_run(tmp_path, f"{name}{n}", residual=name, n_layer=n)
        for name in ("pre", "none")
        for n in (2, 4)
    ]
    write_page(tmp_path / "page.html", [read_run(folder) for folder in folders], "A title", "A talk")
    written = write_pictures(tmp_path / "page.html", tmp_path / "png")
    names = ["first", "block", "reach", "loss", "layer-by-step", "depth", "layers-that-a-signal-reaches"]
    assert [path.stem for path in written] == names
    for path in written:
        assert path.read_bytes().startswith(b"\x89PNG") and 5_000 < path.stat().st_size < 300_000
        width, height = (int.from_bytes(path.read_bytes()[at : at + 4]) for at in (16, 20))
        assert width > 1600 and height > 500, path  # whole, and not what a window showed of it


def test_a_missing_browser_is_one_line(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with (
        pytest.raises(ValueError, match=r"pictures need a browser.*apt-get install chromium") as error,
        browser(9, 9),
    ):
        pass
    assert "\n" not in str(error.value)
