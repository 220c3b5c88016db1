"""The page as a lesson in a browser: heading, tour, links, saved pictures, and whether all can use it."""

import base64
import json
from xml.etree import ElementTree

import pytest
from page_driver import press, resize, saved, text, unfold
from runs_by_hand import AUTOPSY, LINES, write_run

from reslab.report.claim import claim
from reslab.report.facts import load
from reslab.report.html import write_page
from reslab.report.pictures import missing, open_page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]
PATHS = {"norms": [0.29, 0.86, 0.125, 3e-9], "total": 0.75, "error": 0.0}
LESIONS = [{"delta": 0.474, "se": 0.01}, *({"delta": 0.002, "se": 0.001},) * 3]

# The sections that are seen, from the top.
SECTIONS = """return [...document.querySelectorAll("main > section")].filter((s) => s.checkVisibility())
    .map((s) => s.id)"""


@pytest.fixture
def pair(tmp_path):
    """Two runs that a page's heading is about, both taken apart."""
    runs = [
        write_run(tmp_path, "pre"),
        write_run(tmp_path, "none", residual="none", losses=(4.0, 3.2, LINES["unigram"]["val"])),
    ]
    for folder, paths in zip(
        runs, (PATHS, PATHS | {"norms": [0.0, 0.0, 0.0, 5e-11], "total": 5e-11}), strict=True
    ):
        kinds = dict.fromkeys(("block", "attn", "mlp"), LESIONS) | {"random": []}
        report = AUTOPSY | {"paths": paths, "lesions": kinds}
        (folder / "autopsy.json").write_text(json.dumps(report), encoding="utf-8")
    return runs


def click(driver, words: str) -> None:
    driver.execute_script(
        "[...document.querySelectorAll('button')].find((b) => b.checkVisibility() && "
        "b.textContent.includes(arguments[0])).click()",
        words,
    )


def seen(driver, place: str) -> bool:
    return driver.execute_script("return document.querySelector(arguments[0]).checkVisibility()", place)


def test_the_first_screen_is_the_claim_and_its_numbers(page, pair):
    driver = page(*pair)
    said = claim([load(folder) for folder in pair])
    assert (
        text(driver, "h1")
        == said["heading"]
        == "4 layers with skips learn. The same 4 layers without them do not."
    )
    numbers = "return [...document.querySelectorAll('#first dd b')].map((b) => b.textContent)"
    assert driver.execute_script(numbers) == ["2.20", "3.10", "3.10"]
    expected = ["first", "runs", "block", "reach", "samples"]
    expected += ["dial", "live", "curves", "maps", "autopsies", "record"]
    assert driver.execute_script(SECTIONS) == expected
    # What plays there plays everywhere; at layer 0 the fake gradients are 1.2 and 1.2e-4.
    assert "10,000 times as large with skips as without" in text(driver, "#first figure")
    press(driver, "#first", "Home")
    assert text(driver, "#first .when") == "Training step 0"
    assert text(driver, "#reach figcaption") == "Training step 0"


def test_a_heading_of_ones_own_stands_above_the_claim(chrome, tmp_path, pair):
    write_page(tmp_path / "page.html", [load(folder) for folder in pair], "A title", "Depth & skips")
    open_page(chrome, (tmp_path / "page.html").as_uri())
    assert text(chrome, "h1") == chrome.title == "Depth & skips"
    assert "4 layers with skips learn." in text(chrome, "#first .told")


def test_a_single_run_has_its_title_and_no_tour(page, tmp_path):
    driver = page(write_run(tmp_path), query="?tour=3")
    assert text(driver, "h1") == "A title" and not seen(driver, "#first") and not seen(driver, "#tour")


ANSWERS = [
    "attention adds 0.3 to it",
    "1.2 comes in and 1.2 goes past F",
    "has passed no branch, and the largest part, 0.86, has passed 1 of 3",
    "With skips: there it is 1 at step 0, and 1.0×10⁻⁴ without skips",
    "3 cost less than 0.01 nats each; the median is 0.002 and the largest 0.47, for block 0",
    "Behind 1 of its 4 blocks; after the last they differ by 0.9",
    "Yes.",
]


def test_the_tour_asks_before_it_answers_with_the_numbers_of_the_runs(page, pair):
    driver = page(*pair)
    click(driver, "Take the tour")
    for number, answer in enumerate(ANSWERS, 1):
        assert f"tour={number}" in driver.current_url and "answer" not in driver.current_url
        assert text(driver, "#tour .soft") == f"stop {number} of 7"
        assert driver.execute_script("return document.querySelectorAll('#tour math *').length") > 3
        assert seen(driver, "#tour .question") and not seen(driver, "#tour .answer")
        click(driver, "Show the answer")
        if number != 6:
            assert answer in text(driver, "#tour .answer"), number
        assert "answer=1" in driver.current_url
        assert not any(word in text(driver, "#tour") for word in ("NaN", "undefined", "null"))
        press(driver, "#tour h2", "ArrowRight")
    assert "tour=7" in driver.current_url  # the last stop is the last
    press(driver, "#tour h2", "Home")
    assert text(driver, "#tour .soft") == "stop 1 of 7"
    press(driver, "#tour h2", "Escape")
    assert not seen(driver, "#tour") and "tour=" not in driver.current_url
    assert driver.execute_script("return document.activeElement.textContent") == "Take the tour: 7 stops"


def test_runs_whose_probes_are_not_kept_show_their_losses_and_no_empty_views(page, pair):
    for folder in pair:
        path = folder / "metrics.jsonl"
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        rows = [{key: value for key, value in row.items() if "probe/" not in key} for row in rows]
        rows[-1]["probe/layers_that_learn"] = 3
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    driver = page(*pair, query="?tour=2")
    assert "2.20" in text(driver, "#first dl") and seen(driver, "#first dl")
    assert not any(seen(driver, place) for place in ("#tour", "#first figure", "#first .told button"))
    assert "probes are not kept" in text(driver, "#block .stage")
    for place in ("#block figure", "#block .buttons", "#block input", "#reach"):
        assert not seen(driver, place), place


def test_a_link_restores_what_was_seen(page, tmp_path, pair):
    deeper = write_run(tmp_path, "deep", n_layer=8)
    driver = page(*pair, deeper, query="?show=reach&step=10&depth=4", folded=True)
    assert driver.execute_script(SECTIONS) == ["reach"]
    assert text(driver, "#reach figcaption") == "Training step 10"
    columns = "return [...document.querySelectorAll('#reach .column')].map((c) => c.dataset.run)"
    assert driver.execute_script(columns) == ["pre", "none"]
    driver = page(*pair, query="?part=5&layer=2&mlp=1&step=10")
    assert text(driver, "#block [data-run=pre] .place") == "layer 2, MLP, step 10"
    assert "dy/dx = 1 + dF/dx" in text(driver, "#block [data-run=pre] .says")
    press(driver, "#block", "Home")  # and the address follows
    assert "part=0" in driver.current_url and "layer=2" in driver.current_url
    assert driver.execute_script("return linkTo('block')").endswith(
        "?part=0&layer=2&mlp=1&step=10&show=block"
    )
    driver = page(*pair, query="?part=99&layer=7&step=-1&show=nothing")  # what is not there is left out
    assert text(driver, "#block [data-run=pre] .place").startswith("layer 3, attention, step 20")


def test_two_sizes_and_the_size_of_their_sum_are_explained(page, pair):
    driver = page(*pair, query="?part=7&layer=1&step=10")
    ours, theirs, whole = (1.1, 0.55, 1.1)  # skip, branch and dx of the fake run
    cosine = (whole**2 - ours**2 - theirs**2) / (2 * ours * theirs)
    said = text(driver, "#block [data-run=pre] .says")
    assert f"a cosine of {cosine:.2f}, so their sum has size 1.1, not 1.65" in said
    assert "cosine" not in text(driver, "#block [data-run=none] .says")


@pytest.mark.parametrize(
    "figure",
    ["#first figure", "#block figure", "#reach .columns-figure", "[data-chart=reach]", "[data-chart=loss]"],
)
def test_every_figure_is_saved_with_its_title_step_and_runs(page, pair, figure):
    driver = page(*pair, query="?step=10")
    picture = saved(driver, figure, "SVG")
    words = " ".join(ElementTree.fromstring(picture).itertext())
    for run in ("pre", "none"):
        assert f"{'with' if run == 'pre' else 'without'} skips: {run}, 4 layers, {run}" in words
    assert "step 10" in words or figure == "[data-chart=loss]"
    head = base64.b64decode(saved(driver, figure, "PNG"))
    assert head.startswith(b"\x89PNG") and int.from_bytes(head[16:20]) > 900


def test_on_a_phone_next_and_both_arms_are_seen_together(page, pair):
    driver = page(*pair, width=390, query="?part=5")
    driver.execute_script("document.querySelector('#block .steps').scrollIntoView()")
    boxes = """return ["#block .steps button:last-child", "#block .arm svg", "#block .arm + .arm svg"]
        .map((place) => document.querySelector(place).getBoundingClientRect())
        .map((box) => [box.left, box.top, box.right, box.bottom])"""
    for left, top, right, bottom in driver.execute_script(boxes):
        assert left >= 0 and top >= -1 and right <= 390 and bottom <= 700
    arms = driver.execute_script(boxes)[1:]
    assert arms[0][2] <= arms[1][0]  # side by side


def test_the_keyboard_keeps_its_place_and_one_voice_tells_the_steps(page, pair):
    driver = page(*pair)
    voices = "[role=status], [aria-live=polite], output:not([aria-live=off])"
    regions = f"return document.querySelectorAll('{voices}').length"
    assert driver.execute_script(regions) == 1
    press(driver, "#block", "End")
    assert "Together they are dL/dx" in text(driver, "#announced")
    driver.execute_script("blockView.next.focus(); blockView.next.click()")
    focused = "return document.activeElement === blockView.next && blockView.next.ariaDisabled === 'true'"
    assert driver.execute_script(focused)
    press(driver, "#reach", "Home")
    assert text(driver, "#announced") == "step 0"
    press(driver, "#reach", " ")
    driver.execute_script("stepReach(1)")
    assert text(driver, "#announced") == "step 0"  # while it plays nothing is said
    press(driver, "#reach", " ")
    assert text(driver, "#announced") == "step 10"


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_nothing(page, pair, width, dark):
    axe = pytest.importorskip("axe_core_python.base", reason="needs axe-core-python, a dev requirement")
    driver = page(*pair, width=width, query="?tour=4&answer=1")
    if dark:
        driver.execute_script("document.getElementById('theme').click()")
    driver.execute_script(axe.AXE_SCRIPT)
    found = driver.execute_async_script(
        "const done = arguments[0]; axe.run().then((r) => done(r.violations.map((v) => "
        "[v.id, v.nodes.map((n) => n.html.slice(0, 120)).slice(0, 3)])))"
    )
    assert found == []


def test_an_old_browser_is_told(chrome, tmp_path, pair):
    write_page(tmp_path / "old.html", [load(folder) for folder in pair], "A title")
    script = {"source": "delete Map.groupBy"}
    number = chrome.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", script)["identifier"]
    try:
        chrome.get((tmp_path / "old.html").as_uri())
        assert seen(chrome, "#old") and "too old for this page" in text(chrome, "#old")
    finally:
        chrome.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", {"identifier": number})
        chrome.get_log("browser")


def test_paper_has_all_of_it_and_the_screen_is_as_before(chrome, tmp_path, pair):
    write_page(tmp_path / "page.html", [load(folder) for folder in pair], "A title")
    resize(chrome, 1280)
    open_page(chrome, (tmp_path / "page.html").as_uri())
    open_ = "return [...document.querySelectorAll('details.fold')].map((fold) => fold.open)"
    assert not any(chrome.execute_script(open_))
    chrome.execute_script("dispatchEvent(new Event('beforeprint'))")
    assert all(chrome.execute_script(open_))
    assert chrome.execute_script("return document.querySelector('[data-chart=loss] .main-svg') !== null")
    chrome.execute_script("dispatchEvent(new Event('afterprint'))")
    assert not any(chrome.execute_script(open_))
    unfold(chrome)
