"""The page in a real browser: what it says of a wiring and shows of a probe follows from their own facts."""

import pytest
from page_driver import move, press, text
from runs_by_hand import write_run

from reslab.report.pictures import missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]


def test_what_is_said_of_a_block_follows_from_its_wiring(page, tmp_path):
    driver = page(*(write_run(tmp_path, name, residual=name) for name in ("pre", "scaled", "none", "post")))

    def says(name, step, side):
        move(driver, f"#block label:nth-of-type({side}) select", str(tmp_path / name))
        driver.execute_script("document.querySelector(arguments[0]).click()", f"#block [data-step='{step}']")
        return text(driver, f"#block [data-run={name}] .says")

    idle = {"pre": "If F is 0, y is x: the block can be idle.", "scaled": "If F is 0, y is 0.5 x."}
    idle |= {"none": "if F is 0, so is y", "post": "If F is 0, y need not be x."}
    past = {"pre": "unchanged", "scaled": "times 0.5", "none": "nothing goes past the branch"}
    past |= {"post": "The weight of x in y is no constant"}
    for name in ("pre", "scaled", "none", "post"):
        assert idle[name] in says(name, 3, 4) and past[name] in says(name, 5, 4)
        assert ("unchanged" in says(name, 5, 4)) == (name == "pre")
        side = "Without skips" if name == "none" else f"With skips ({name}"
        assert text(driver, f"#block [data-run={name}] h3").startswith(side)
        assert text(driver, f"#block [data-run={name}] .equation") == f"the equation of {name}"


PROBES = {
    "peak": {"label": "largest entry", "scale": "linear", "sites": ["resid_pre"]},
    "heads": {"label": "of each head", "scale": "log", "sites": ["block"]},
    "pairs": {"label": "of pairs", "scale": "log", "sites": ["resid_pre", "resid_mid"]},
    "count": {"label": "one count", "scale": "linear", "sites": []},
}
MAP = "document.querySelector('[data-chart=layer-by-step] .plot')"


def test_a_new_probe_is_shown_with_its_label_scale_and_places(page, tmp_path):
    """A number, a list, a list of lists: with no word of them in the page's scripts."""
    values = {"probe/peak": [1.0, 2.0, 3.0], "probe/heads": [[1.0, 10.0], [100.0, None]]}
    values |= {"probe/pairs": [1.0, 2.0, 3.0, 4.0, 5.0], "probe/count": 7}
    rows = [{"step": step} | values for step in (1, 4)]
    driver = page(write_run(tmp_path, rows=rows, n_layer=2, facts={"probes": PROBES}))
    options = "return [...document.querySelectorAll(arguments[0])].map((o) => [o.value, o.textContent])"
    labels = [[name, facts["label"]] for name, facts in PROBES.items()]
    assert driver.execute_script(options, "#maps option") == labels
    assert driver.execute_script(options, "#reach option") == labels[:3]

    def drawn(name, key):
        move(driver, "#maps select", name)
        return driver.execute_script(f"return {MAP}.data[0][arguments[0]]", key)

    assert drawn("peak", "z") == [[1, 1], [2, 2], [3, 3]]  # linear: as it is
    assert drawn("heads", "z") == [[0, 0], [1, 1], [2, 2], [None, None]]  # powers of ten
    assert [row[0] for row in drawn("peak", "text")] == [
        "layer 0, resid_pre",
        "layer 1, resid_pre",
        "layer 1, resid_post",
    ]
    places = ["layer 0, 1 of 2", "layer 0, 2 of 2", "layer 1, 1 of 2", "layer 1, 2 of 2"]
    assert [row[0] for row in drawn("heads", "text")] == places and drawn("heads", "y") == [0, 0.5, 1, 1.5]
    places = ["layer 0, resid_pre", "layer 0, resid_mid", "layer 1, resid_pre", "layer 1, resid_mid"]
    assert [row[0] for row in drawn("pairs", "text")] == [*places, "layer 1, resid_post"]
    assert drawn("count", "x") == [1, 4] and drawn("count", "y") == [7, 7]
    move(driver, "#reach select", "heads")
    press(driver, "#reach canvas[tabindex]", "ArrowUp")
    assert text(driver, "#reach output[data-layer]") == "layer 0, 2 of 2: 10"
    assert driver.execute_script(
        "return document.querySelector('[data-chart=reach] .plot').layout.xaxis.title.text"
    ) == ("of each head")
