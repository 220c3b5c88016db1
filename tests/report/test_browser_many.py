"""A page of many runs in a real browser: groups with one box, a search, and sections that wait until seen."""

import pytest
from page_driver import move, text
from runs_by_hand import write_run

from reslab.report.pictures import missing

pytestmark = [pytest.mark.slow, pytest.mark.skipif(missing() is not None, reason=missing() or "")]

RATES = (0.001, 0.003, 0.01)


@pytest.fixture
def many(page, tmp_path):
    """18 runs: two arms, three rates, three seeds; the group of a box is told by its rate."""
    cells = [(arm, rate, seed) for arm in ("pre", "none") for rate in RATES for seed in (1, 2, 3)]
    return page(
        *(
            write_run(tmp_path, f"{arm}-{rate}-{seed}", residual=arm, learning_rate=rate, seed=seed)
            for arm, rate, seed in cells
        )
    )


def off(driver) -> list[str]:
    """Names of the runs that are switched off."""
    return driver.execute_script(
        "return page.data.runs.filter((run) => page.off.has(run.folder)).map((run) => run.name)"
    )


def click(driver, place: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).click()", place)


def test_a_group_of_seeds_has_one_box_and_unfolds_into_one_for_each(many):
    boxes = (
        "return [...document.querySelectorAll('#runs .runs > li > label')].map((label) => label.textContent)"
    )
    assert many.execute_script(boxes) == [
        f"{arm}, 4 layers, lr {rate}" for arm in ("pre", "none") for rate in RATES
    ]
    click(many, "#runs li:nth-child(2) input")
    assert off(many) == [f"pre-0.003-{seed}" for seed in (1, 2, 3)]
    assert text(many, "#runs > details > summary") == "The runs (15 of 18)"
    many.execute_script("document.querySelector('#runs li:nth-child(1) details').open = true")
    many.execute_async_script("setTimeout(arguments[0])")  # the event of the opening
    click(many, "#runs [data-run='pre-0.001-2']")
    assert off(many) == ["pre-0.001-2", *(f"pre-0.003-{seed}" for seed in (1, 2, 3))]
    box = "const box = document.querySelector('#runs li input'); return [box.checked, box.indeterminate]"
    assert many.execute_script(box) == [True, True]
    click(many, "#runs li:nth-child(1) input")  # from a part of a group to none of it
    assert {f"pre-0.001-{seed}" for seed in (1, 2, 3)} <= set(off(many))
    assert many.execute_script(box) == [False, False]


def test_a_search_finds_boxes_by_words_and_all_and_none_go_by_what_it_finds(many, page, tmp_path):
    assert many.execute_script("return document.querySelector('#runs input[type=search]').hidden")
    runs = [
        write_run(tmp_path, f"r{k}", learning_rate=(k + 1) / 1000, residual="none" if k % 2 else "pre")
        for k in range(14)
    ]
    driver = page(*runs)
    shown = "return [...document.querySelectorAll('#runs li:not([hidden]) input')].map((e) => e.dataset.run)"
    assert len(driver.execute_script(shown)) == 14
    move(driver, "#runs input[type=search]", "0.01 NONE")
    found = [f"r{k}" for k in range(14) if k % 2 and "0.01" in str((k + 1) / 1000)]
    assert driver.execute_script(shown) == found and len(found) == 3
    click(driver, "#runs .buttons button:nth-of-type(2)")
    assert off(driver) == found
    move(driver, "#runs input[type=search]", "no such run")
    click(driver, "#runs .buttons button:nth-of-type(1)")
    assert driver.execute_script(shown) == [] and off(driver) == found


def test_sections_of_many_runs_are_drawn_when_they_are_seen(many):
    chart = "const plot = document.querySelector('#curves .plot'); return plot.data?.length ?? 0"
    many.execute_script("document.querySelector('#curves details').open = true")
    scroll = "const done = arguments[0]; %s; setTimeout(() => setTimeout(done, 300), 300)"
    many.execute_async_script(scroll % "document.getElementById('curves').scrollIntoView()")
    drawn = many.execute_script(chart)
    assert drawn > 0
    many.execute_async_script(scroll % "scrollTo(0, 0)")
    click(many, "#runs li:nth-child(2) input")
    many.execute_async_script(scroll % "")
    assert many.execute_script(chart) == drawn  # out of sight, so not drawn again yet
    many.execute_async_script(scroll % "document.getElementById('curves').scrollIntoView()")
    assert many.execute_script(chart) < drawn


def test_on_paper_everything_is_drawn(many):
    many.execute_script("scrollTo(0, 0); dispatchEvent(new Event('beforeprint'))")
    assert many.execute_script("return lazy.stale.size") == 0
    assert many.execute_script("return document.querySelector('#curves .plot').data.length") > 0
    many.execute_script("dispatchEvent(new Event('afterprint'))")
