"""The dial shows what was measured and nothing between; the live section trains in a real browser."""

import base64
import json
from xml.etree import ElementTree

import pytest
from page_driver import move, saved, text
from runs_by_hand import write_run
from selenium.webdriver.support.ui import WebDriverWait

from reslab.report import pagedata
from reslab.report.pictures import missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]

WEIGHTS, DEPTHS, STEPS = (0.0, 0.5, 1.0), (2, 4, 8), (0, 10)


def gradient(weight: float, depth: int, step: int) -> list[float]:
    """Numbers that tell the stacks and the steps apart; the head's is 1."""
    return [10 ** -(depth * (1.1 - weight) + step / 10 - k) for k in range(depth)] + [1.0]


@pytest.fixture
def dial(page, tmp_path, monkeypatch):
    runs = [
        {
            "run": f"scaled-{weight:g}-L{depth}",
            "seed": 1337,
            "residual_scale": weight,
            "n_layer": depth,
            "places": list(range(depth + 1)),
            "probed": [
                {"step": step, "gradient": gradient(weight, depth, step), "position0_share": 0.5 + weight / 2}
                for step in STEPS
            ],
        }
        for weight in WEIGHTS
        for depth in DEPTHS
    ]
    runs += [run | {"run": "another seed", "seed": 1338, "probed": []} for run in runs]
    path = tmp_path / "dial.json"
    path.write_text(json.dumps({"date": "a day", "machine": "a machine", "runs": runs}), encoding="utf-8")
    monkeypatch.setattr(pagedata, "DIAL", path)
    run = write_run(tmp_path)
    return lambda query="": page(run, width=390, query=query)


def picture_words(driver, figure: str) -> str:
    """The words of a section's picture, whose PNG is one too."""
    assert base64.b64decode(saved(driver, figure, "PNG")).startswith(b"\x89PNG")
    return " ".join(ElementTree.fromstring(saved(driver, figure, "SVG")).itertext())


def slider(number: int) -> str:
    return f"#dial .controls label:nth-of-type({number}) input"


def test_the_dial_snaps_to_what_was_measured(dial):
    dial = dial()
    assert dial.execute_script("return document.documentElement.scrollWidth") == 390
    stops = [dial.execute_script(f"return document.querySelector('{slider(k)}').max") for k in (1, 2, 3)]
    assert stops == ["2", "2", "1"]  # a stop for each value, none between
    for place, value in ((1, 1), (2, 2), (3, 0)):
        move(dial, slider(place), value)
    assert "run scaled-0.5-L8" in text(dial, "#dial") and "at step 0" in text(dial, "#dial")
    assert "layer 0: 1.6×10⁻⁵" in text(dial, "#dial .column")  # 10 ** -(8 * 0.6)
    assert "λ to the power 16, 1.5×10⁻⁵" in text(dial, "#dial .stage")
    pixels = """const c = document.querySelector("#dial .column canvas"); return [c.width, c.height]"""
    assert dial.execute_script(pixels) == [1, 9]
    move(dial, slider(3), 1)
    assert "layer 0: 1.6×10⁻⁶" in text(dial, "#dial .column")
    move(dial, slider(1), 2)
    assert "on the first token" in text(dial, "#dial .stage")


def test_a_link_restores_the_dial(dial):
    driver = dial("?show=dial&skip=0.5&layers=8&updates=0")
    assert "run scaled-0.5-L8" in text(driver, "#dial") and "at step 0" in text(driver, "#dial")
    move(driver, slider(2), 0)
    assert driver.execute_script("return linkTo('dial')").endswith("skip=0.5&layers=2&updates=0")
    driver.execute_script(
        "document.querySelectorAll('#dial .cell')[8].dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    )
    assert "skip=1&layers=8&updates=0" in driver.current_url
    driver = dial("?skip=0.7&layers=&updates=ten")  # what was not measured is left out
    assert "run scaled-1-L8" in text(driver, "#dial") and "at step 10" in text(driver, "#dial")


def test_the_dial_is_a_picture_with_its_choice_and_its_run(dial):
    words = picture_words(dial("?skip=0.5&layers=8&updates=0"), "#dial")
    for part in ("training step 0", "λ = 0.5, 8 layers", "1.6×10⁻⁵", "run scaled-0.5-L8", "a day, a machine"):
        assert part in words, part


def test_a_cell_of_the_map_is_a_stack(dial):
    dial = dial()
    cells = "return document.querySelectorAll('#dial .cell').length"
    assert dial.execute_script(cells) == len(WEIGHTS) * len(DEPTHS)
    click = "dispatchEvent(new MouseEvent('click', {bubbles: true}))"
    dial.execute_script(f"document.querySelectorAll('#dial .cell')[1].{click}")
    assert "run scaled-0-L4" in text(dial, "#dial")
    chosen = "return [...document.querySelectorAll('#dial .cell')].map((c) => c.classList.contains('chosen'))"
    assert dial.execute_script(chosen) == [k == 1 for k in range(9)]


def test_without_the_experiment_there_is_no_dial(page, tmp_path, monkeypatch):
    monkeypatch.setattr(pagedata, "DIAL", tmp_path / "none.json")
    driver = page(write_run(tmp_path))
    assert driver.execute_script("return document.getElementById('dial').hidden")


def until(driver, script: str) -> None:
    WebDriverWait(driver, 120, poll_frequency=0.1).until(lambda d: d.execute_script(f"return {script}"))


def test_both_arms_train_in_the_browser_until_they_are_stopped(page, tmp_path):
    driver = page(write_run(tmp_path))
    button, again = "#live .controls button", "#live .controls button:nth-of-type(2)"
    click = "document.querySelector(arguments[0]).click()"
    assert driver.execute_script("return liveView.arms.length") == 0  # nothing is trained unasked
    assert driver.execute_script("return liveView.ids.length") > 50_000  # the scripts of the page
    driver.execute_script(click, button)
    until(driver, "liveView.arms[1]?.points.length >= 4")  # before, the plain gradient comes and goes
    driver.execute_script(click, button)
    until(driver, "liveView.told.textContent !== ''")
    step, points, reach = driver.execute_script(
        "return [liveView.step, liveView.arms.map((arm) => arm.points[0]), liveView.arms.map((a) => a.reach)]"
    )
    assert driver.execute_script("return liveView.told.textContent").startswith(
        f"Stopped after {step} updates"
    )
    words = picture_words(driver, "#live")
    for part in (f"after {step} updates", "with skips", "without skips", "Trained live in a browser"):
        assert part in words, part
    uniform = driver.execute_script("return Math.log(liveView.V)")
    assert all(3 < point < uniform for point in points)  # both learn the frequencies first
    assert [len(values) for values in reach] == [17, 17] and reach[0][0] > 1e3 * reach[1][0] > 0
    driver.execute_script("return new Promise((done) => setTimeout(done, 300))")
    assert driver.execute_script("return liveView.step") == step  # it stands still
    driver.execute_script(click, again)
    assert driver.execute_script("return liveView.arms.length") == 0
    driver.execute_script(click, button)
    until(driver, "liveView.arms[1]?.points.length >= 1")
    assert (
        driver.execute_script("return liveView.arms.map((arm) => arm.points[0])") == points
    )  # the same again
    driver.execute_script(click, again)
