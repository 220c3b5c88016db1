"""What a person does to a page in a real browser."""


def resize(driver, width):
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def move(driver, place: str, value) -> None:
    """Set a control as a person would: its value, then its event."""
    driver.execute_script(
        """const e = document.querySelector(arguments[0]); e.value = arguments[1];
        e.dispatchEvent(new Event("input", {bubbles: true}));
        e.dispatchEvent(new Event("change", {bubbles: true}));""",
        place,
        str(value),
    )


def press(driver, place: str, key: str) -> None:
    driver.execute_script("document.querySelector(arguments[0]).focus()", place)
    codes = {"ArrowRight": 39, "ArrowLeft": 37, "ArrowUp": 38, " ": 32, "Home": 36, "End": 35, "Escape": 27}
    for kind in ("keyDown", "keyUp"):
        event = {"type": kind, "key": key, "windowsVirtualKeyCode": codes[key]}
        driver.execute_cdp_cmd("Input.dispatchKeyEvent", event)


def text(driver, place: str) -> str:
    return driver.execute_script("return document.querySelector(arguments[0]).textContent", place)


def unfold(driver) -> None:
    """Open the sections that are folded at first, and wait until they are drawn."""
    driver.execute_script("for (const fold of document.querySelectorAll('details.fold')) fold.open = true")
    driver.execute_script("drawAll()")


def saved(driver, chart: str, kind: str):
    """What a button under a figure saves: text, or the bytes of a picture."""
    script = """
        const [root, kind, done] = arguments;
        const real = save;
        save = async (name, content) => {
          save = real;
          if (!(content instanceof Blob)) return done(content);
          const bytes = new Uint8Array(await content.arrayBuffer());
          done(btoa(String.fromCharCode(...bytes.slice(0, 24))));
        };
        document.querySelector(root).querySelector(`[aria-label$="as ${kind}"]`).click();"""
    return driver.execute_async_script(script, chart, kind)
