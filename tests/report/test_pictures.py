"""Which pictures are taken of a page, and what is said where that is not possible: with a browser made up."""

import base64
import shutil
import sys
from contextlib import contextmanager

import pytest

from reslab.report import pictures


class Driver:
    """A page that has some places; a picture of one is its name."""

    def __init__(self, places):
        self.places, self.done = places, []

    def execute_script(self, script, *args):
        if not args:
            return self.done.append("tools hidden")
        if "click()" in script:
            return self.done.append(("click", *args))
        if script == pictures.HEADING:
            self.place, self.words = args
            return ["head", "foot"] if self.place in self.places else None
        assert args[:2] == ("head", "foot")
        return {"x": 3, "y": 5000, "width": 700, "height": 90}

    def execute_cdp_cmd(self, command, options):
        assert command == "Page.captureScreenshot" and options["captureBeyondViewport"] is True
        assert options["clip"] == {"x": 3, "y": 5000, "width": 700, "height": 90, "scale": 1}
        self.done.append(("taken", self.place))
        assert self.words
        return {"data": base64.b64encode(self.place.encode())}


def test_a_picture_is_taken_of_each_place_that_the_page_has(tmp_path, monkeypatch):
    shown = [place for name, (place, *_) in pictures.PICTURES.items() if name != "depth"]
    driver, opened = Driver(shown), []

    @contextmanager
    def browser(*size, **options):
        yield driver

    monkeypatch.setattr(pictures, "browser", browser)
    monkeypatch.setattr(pictures, "open_page", lambda driver, url: opened.append(url))
    page = tmp_path / "my page.html"
    written = pictures.write_pictures(page, tmp_path / "made" / "here")
    assert opened == [page.as_uri()] and driver.done[0] == "tools hidden"
    assert written == [
        tmp_path / "made" / "here" / f"{name}.png" for name in pictures.PICTURES if name != "depth"
    ]
    for path in written:
        assert path.read_bytes().decode() == pictures.PICTURES[path.stem][0]
    done = driver.done[1:]
    for place, click, _ in pictures.PICTURES.values():
        if click:  # right before its picture
            assert done[done.index(("click", click)) + 1] == ("taken", place)
    assert sum(step[0] == "click" for step in done) == sum(bool(c) for _, c, _ in pictures.PICTURES.values())


@pytest.mark.parametrize(
    ("here", "message"),
    [
        ({"chromedriver"}, "neither Chromium nor Chrome is here"),
        ({"google-chrome"}, "need chromedriver"),
        ({"chromium", "chromedriver"}, "need selenium"),
        ({"google-chrome-stable", "chromedriver", "selenium"}, None),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(monkeypatch, here, message):
    monkeypatch.setattr(shutil, "which", lambda name: name if name in here else None)
    monkeypatch.setitem(sys.modules, "selenium", object() if "selenium" in here else None)
    told = pictures.missing()
    assert told is None if message is None else message in told and "pip install selenium" in told
    if message:
        with pytest.raises(ValueError, match=message), pictures.browser(10, 10):
            raise AssertionError("there is no browser")
