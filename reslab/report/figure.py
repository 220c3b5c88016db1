"""A figure as a record: where it stands on the page, what it shows, and the function that draws it."""

from collections.abc import Callable
from dataclasses import dataclass

import plotly.graph_objects as go


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
