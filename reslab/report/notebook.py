"""A notebook as an HTML page without scripts: its text, its code folded, and what its cells printed and drew.

Needs markdown-it-py, which the extra `site` installs.
"""

import base64
import re
from html import escape
from pathlib import Path

from reslab.run.files import parse_json


def notebook_html(path: Path, link) -> str:
    """The cells of a notebook in HTML.

    Args:
        link: from the address of a link in the text to the one that the page has.

    Raises:
        ValueError: it can't be read.
    """
    cells = parse_json(path.read_bytes(), f"{path}")["cells"]
    return "\n".join(_cell(cell, link) for cell in cells)


def _cell(cell: dict, link) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return markdown_html(source, link)
    if cell["cell_type"] != "code":
        return ""
    code = f"<details><summary>Code</summary><pre>{escape(source)}</pre></details>"
    return code + "".join(map(_output, cell.get("outputs", [])))


def markdown_html(text: str, link) -> str:
    """Markdown in HTML, with tables; raw HTML in it stays text, but for what folds: details and summary."""
    from markdown_it import MarkdownIt

    html = MarkdownIt("commonmark", {"html": False}).enable("table").render(text)
    html = re.sub(r"&lt;(/?(?:details|summary))&gt;", r"<\1>", html)
    html = re.sub(r"<p>(</?details>.*?)</p>", r"\1", html)
    return re.sub(r'href="([^"]*)"', lambda match: f'href="{escape(link(match[1]))}"', html)


def _output(output: dict) -> str:
    """One output of a cell: a picture where there is one, else its text."""
    data = output.get("data", {})
    alt = escape("".join(data.get("text/plain", ["a picture"])))
    if "image/svg+xml" in data:
        content = base64.b64encode("".join(data["image/svg+xml"]).encode()).decode()
        return f'<img alt="{alt}" src="data:image/svg+xml;base64,{content}">'
    if "image/png" in data:
        content = "".join(data["image/png"]).replace("\n", "")
        return f'<img alt="{alt}" src="data:image/png;base64,{content}">'
    text = "".join(output.get("text", data.get("text/plain", [])))
    return f"<pre>{escape(text)}</pre>" if text.strip() else ""
