"""The data of a page into one HTML file that needs nothing else: no server, no network.

The page's own files are report/web: a skeleton, a style sheet, and one script per section. They go in as
they are, beside plotly, which is there once. A content security policy forbids the page to load anything.
"""

import re
from html import escape
from pathlib import Path

from plotly.offline import get_plotlyjs

from reslab.report.pagedata import autopsy_data, page_data, to_json
from reslab.run.files import write_atomically
from reslab.run.log import Run

WEB = Path(__file__).parent / "web"
CARTESIAN = WEB.parents[2] / "node_modules" / "plotly.js-cartesian-dist-min" / "plotly-cartesian.min.js"
SCRIPTS = [
    "base.js",
    "state.js",
    "maths.js",
    "charts.js",
    "pictures.js",
    "wires.js",
    "steps.js",
    "block.js",
    "columns.js",
    "reach.js",
    "first.js",
    "curves.js",
    "maps.js",
    "dial.js",
    "live.js",
    "record.js",
    "stops.js",
    "tour.js",
    "runs.js",
    "lazy.js",
    "page.js",
]  # in this order
WORKER = ["gpt.js", "train.js", "worker.js"]  # of the workers that train in the browser
STYLES = ["page.css", "dial.css", "runs.css"]
POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; worker-src blob:; style-src 'unsafe-inline'; "
    "img-src data: blob:"
)


def write_page(path: str | Path, runs: list[Run], title: str, heading: str = "") -> None:
    """Write the page of some runs; see page_data."""
    write_atomically(Path(path), html(page_data(runs, title, heading=heading)))


def write_autopsy(path: str | Path, report: dict, title: str) -> None:
    """Write the page of one model's autopsy: AUTOPSY_FIGURES, and the logit lens as text."""
    write_atomically(Path(path), html(autopsy_data(report, title) | {"runs": []}))


def plotly_script() -> str:
    """Plotly as one script: its bundle of cartesian charts where `npm ci` has brought it (1.5 MB), or the
    whole of it as plotly.py ships it (4.8 MB)."""
    return CARTESIAN.read_text(encoding="utf-8") if CARTESIAN.is_file() else get_plotlyjs()


def html(data: dict, live: bool = False, project: str = "") -> str:
    """The page of some data.

    Args:
        live: it asks the server that it came from for newer data.
        project: an address that it links to.
    """
    parts = {
        "policy": POLICY + ("; connect-src 'self'" if live else ""),
        "title": escape(data["title"]),
        "style": "\n".join(map(_read, STYLES)),
        "live": " data-live" if live else "",
        "data": to_json(data),
        "plotly": plotly_script(),
        "project": f'<a href="{escape(project)}">The project</a>' if project else "",
        "worker": "\n".join(map(_read, WORKER)),
        "scripts": "\n".join(map(_read, SCRIPTS)),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _read("page.html"))


def _read(name: str) -> str:
    return (WEB / name).read_text(encoding="utf-8")
