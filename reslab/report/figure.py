"""A figure as a record: where it stands on the page, what it shows, and the function that draws it."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go

from reslab.report.groups import WITH, WITHOUT

SPOKEN = {"pre": WITH, "none": WITHOUT}


@dataclass(frozen=True)
class Figure:
    """One figure of a page.

    Args:
        section: of the page: depth, or autopsy.
        caption: what is drawn; it must be true for every line of the figure.
        draw: from a list of runs, or from an autopsy's report, to a plotly figure; None where there is
            nothing to draw.
    """

    section: str
    caption: str
    draw: Callable[..., go.Figure | None]

    def __call__(self, about) -> go.Figure | None:
        return self.draw(about)


def picture(figure) -> dict | None:
    """A plotly figure as plain JSON values; None where there is none."""
    if figure is None:
        return None
    if not hasattr(figure, "to_plotly_json"):
        raise TypeError(f"it returned a {type(figure).__name__}, must return a plotly figure or None")
    drawing = json.loads(figure.update_layout(template="none").to_json())
    del drawing["layout"]["template"]
    for trace in drawing["data"]:
        if trace.get("name") in SPOKEN:
            trace["name"] = SPOKEN[trace["name"]]
    return drawing
