"""The main pictures of a page as PNG files, taken in a headless Chromium of the page itself.

So a picture in a document is what the page shows, and needs no second drawing library. The browser is
asked for nothing but the file; it may be Chromium or Chrome, with its driver, from the system's packages.
"""

import base64
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = [
    "--headless",
    "--no-sandbox",  # as root, which containers are, it refuses to start otherwise
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]
CHART = "[data-chart='{}'] .plot"
BLOCK_DONE = "#block [data-step='7']"
# File name -> what is shown of the page, what is clicked before, and what a picture says that it shows.
PICTURES = {
    "first": ("#first .first", None, "Losses, and the gradient at every layer"),
    "block": ("#block .arms", BLOCK_DONE, "One block, forward and backward"),
    "reach": ("#reach .picture", None, "How far the gradient reaches"),
    "loss": ("#curves " + CHART.format("loss"), None, "Loss over training"),
    "layer-by-step": ("#maps " + CHART.format("layer-by-step"), None, "Every layer at every step"),
    "depth": ("#depth " + CHART.format("loss-over-depth"), None, "Loss over depth"),
    "layers-that-a-signal-reaches": (
        "#depth " + CHART.format("layers-that-a-signal-reaches"),
        None,
        "Layers that a signal reaches, over depth",
    ),
    "learning-rates": ("#depth " + CHART.format("learning-rates"), None, "Loss over the learning rate"),
}
MARGIN = 20  # at the sides of a picture, in CSS pixels
# On the page a heading is put above what is taken, with the page's own and what the picture shows, and room
# below it; what this returns is taken with what is between.
HEADING = """
const place = document.querySelector(arguments[0]);
if (!place) return null;
const [head, shows, foot] = [1, 2, 3].map(() => document.createElement("div"));
head.style.cssText = "padding:1.3rem 0 1rem;line-height:1.3;font-weight:650;font-size:1.5rem";
shows.style.cssText = "font-weight:400;font-size:1.05rem";
foot.style.height = "1.3rem";
shows.textContent = arguments[1];
head.append(document.getElementById("title").textContent, shows);
place.before(head);
place.after(foot);
return [head, foot];
"""
# What is folded is opened, and what only a screen can use is taken away.
PREPARE = """
for (const fold of document.querySelectorAll("details.fold")) fold.open = true;
const style = document.createElement("style");
style.textContent = ".tools, .link, #first button, #block details { display: none !important; }";
document.head.append(style);
drawAll();
"""


def missing() -> str | None:
    """What a machine lacks to take pictures, in one line; None when it has everything."""
    how = "on Debian or Ubuntu: apt-get install chromium chromium-driver; then: pip install selenium"
    if not any(map(shutil.which, BROWSERS)):
        return f"pictures need a browser, and neither Chromium nor Chrome is here ({how})"
    if not shutil.which("chromedriver"):
        return f"pictures need chromedriver, and it is not here ({how})"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return f"pictures need selenium, and it is not installed ({how})"
    return None


@contextmanager
def browser(width: int, height: int, scale: float = 1.0, dark: bool = False):
    """A headless browser of its own, with an empty profile.

    Args:
        width, height: of the page, in CSS pixels.
        scale: pixels of a picture per CSS pixel.
        dark: whether the system prefers dark colours.

    Raises:
        ValueError: there is none.
    """
    if reason := missing():
        raise ValueError(reason)
    from selenium import webdriver
    from selenium.common.exceptions import WebDriverException

    options = webdriver.ChromeOptions()
    options.binary_location = next(filter(None, map(shutil.which, BROWSERS)))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for option in [*OPTIONS, f"--user-data-dir={profile}"]:
            options.add_argument(option)
        try:
            driver = webdriver.Chrome(options=options, service=service)
        except WebDriverException as error:
            raise ValueError(f"the browser does not start: {error.msg.splitlines()[0]}") from None
        try:
            # A window can't be narrower than some 500 pixels; what the page sees can.
            size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": False}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
            scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
            motion = {"name": "prefers-reduced-motion", "value": "reduce"}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme, motion]})
            yield driver
        finally:
            driver.quit()


def open_page(driver, url: str) -> None:
    """Load a page and wait until its charts are drawn."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    driver.get(url)
    drawn = (By.CSS_SELECTOR, "html[data-ready]")
    WebDriverWait(driver, 60, poll_frequency=0.05).until(lambda d: d.find_elements(*drawn))


def write_pictures(page: Path, folder: Path) -> list[Path]:
    """Take PICTURES of a page, those that it has; returns the files.

    Raises:
        ValueError: there is no browser.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with browser(1200, 1000, scale=1.5) as driver:
        open_page(driver, page.resolve().as_uri())
        driver.execute_script(PREPARE)
        for name, (place, click, shows) in PICTURES.items():
            if click:
                driver.execute_script("document.querySelector(arguments[0])?.click()", click)
            ends = driver.execute_script(HEADING, place, shows)
            if ends and (picture := _picture(driver, *ends)):
                (folder / f"{name}.png").write_bytes(picture)
                written.append(folder / f"{name}.png")
    return written


def _picture(driver, head, foot) -> bytes | None:
    """The page from one element to another as PNG, whole: selenium's own picture would end where the window
    does."""
    box = driver.execute_script(
        """const [top, bottom] = [arguments[0], arguments[1]].map((part) => part.getBoundingClientRect());
        if (!top.width) return null;
        const [x, y, width] = [top.x + scrollX - arguments[2], top.y + scrollY, top.width + 2 * arguments[2]];
        return { x, y, width, height: bottom.bottom - top.y };""",
        head,
        foot,
        MARGIN,
    )
    if box is None:
        return None
    options = {"format": "png", "captureBeyondViewport": True, "clip": box | {"scale": 1}}
    return base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", options)["data"])
