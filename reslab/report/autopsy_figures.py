"""Figures of one autopsy. AUTOPSY_FIGURES: a record for each; no torch."""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reslab.report.figure import Figure
from reslab.report.groups import COLOURS

PERTURBATION_CELLS = 128  # longest side of the drawn map


def lesion_costs(report: dict) -> go.Figure | None:
    """Bars: the rise of the loss without one block, or one sublayer."""
    if "lesions" not in report:
        return None
    figure = go.Figure()
    for colour, kind in zip(COLOURS, ("block", "attn", "mlp"), strict=False):
        costs = report["lesions"][kind]
        deltas, errors = [c["delta"] for c in costs], [c["se"] for c in costs]
        error = {"array": errors, "thickness": 1}
        figure.add_trace(go.Bar(y=deltas, error_y=error, name=f"without {kind}", marker={"color": colour}))
    figure.update_xaxes(title="layer")
    figure.update_yaxes(title="rise of the loss, nats per token")
    return figure.update_layout(height=420)


def random_lesions(report: dict) -> go.Figure | None:
    """A line: the rise of the loss over the number of random blocks removed."""
    if "lesions" not in report:
        return None
    costs = report["lesions"]["random"]
    figure = go.Figure(
        go.Scatter(
            x=[0, *(c["removed"] for c in costs)],
            y=[0.0, *(c["delta"] for c in costs)],
            error_y={"array": [0.0, *(c["se"] for c in costs)], "thickness": 1},
            line={"color": COLOURS[0], "width": 2.5},
        )
    )
    figure.update_xaxes(title="blocks removed")
    figure.update_yaxes(title="rise of the loss, nats per token")
    return figure.update_layout(height=380)


def lens(report: dict) -> go.Figure:
    """A line: the loss of the logit lens over depth."""
    figure = go.Figure(
        go.Scatter(y=report["lens"], mode="lines+markers", line={"color": COLOURS[0], "width": 2.5})
    )
    figure.update_xaxes(title="stream before block")
    figure.update_yaxes(title="loss of the guess, nats per token")
    return figure.update_layout(height=380)


def moved_outputs(report: dict) -> go.Figure:
    """A heat map of changed token by moved output; of a long sequence the largest change in each square."""
    values = report["perturbation"]
    wide = -(-len(values) // PERTURBATION_CELLS)  # tokens in a drawn cell
    places = range(0, len(values), wide)
    values = [[max(max(row[t : t + wide]) for row in values[p : p + wide]) for t in places] for p in places]
    figure = go.Figure(
        go.Heatmap(
            x=list(places),
            y=list(places),
            z=[[round(math.log10(v), 2) if v > 1e-12 else -12 for v in row] for row in values],
            colorscale="Viridis",
            zmin=-8,
            zmax=0,
            colorbar={"title": "log10"},
        )
    )
    figure.update_xaxes(title="output at token")
    figure.update_yaxes(title="changed token", autorange="reversed")
    return figure.update_layout(height=520)


def paths(report: dict) -> go.Figure | None:
    """Bars: the norm of the gradient's part for each number of branches passed."""
    if "paths" not in report:
        return None
    norms = [norm or None for norm in report["paths"]["norms"]]
    figure = go.Figure(go.Bar(y=norms, marker={"color": COLOURS[0]}))
    figure.update_xaxes(title="branches passed")
    figure.update_yaxes(title="norm of that part of the gradient", type="log", exponentformat="power")
    return figure.update_layout(height=380)


def spectra(report: dict) -> go.Figure | None:
    """Two panels of singular values over layers, of blocks and of their product."""
    if "jacobians" not in report:
        return None
    titles = ["of each block", "of the product up to it"]
    figure = make_subplots(cols=2, rows=1, shared_yaxes=True, subplot_titles=titles)
    for column, pick in enumerate((lambda j: j, lambda j: j["product"]), 1):
        for colour, name in zip(COLOURS, ("largest", "median", "smallest"), strict=False):
            values = [pick(j)[name] or None for j in report["jacobians"]]
            curve = go.Scatter(y=values, name=name, line={"color": colour, "width": 2.5}, legendgroup=name)
            figure.add_trace(curve.update(showlegend=column == 1), row=1, col=column)
    figure.update_xaxes(title="layer")
    figure.update_yaxes(type="log", exponentformat="power")
    return figure.update_layout(height=420)


AUTOPSY_FIGURES = {
    "Lesions": Figure(
        "autopsy",
        "How much the loss rises when one block, or one sublayer, is removed; bars are standard "
        "errors over sequences.",
        lesion_costs,
    ),
    "Random lesions": Figure(
        "autopsy",
        "The loss with k random blocks removed, minus the loss of the whole model, as a mean over random "
        "sets; bars are standard errors over these sets, and over sequences where there is one set.",
        random_lesions,
    ),
    "Logit lens": Figure(
        "autopsy",
        "The loss of the head applied to the stream before each block, and after the last.",
        lens,
    ),
    "Perturbation": Figure(
        "autopsy",
        "Change the token at one place (row): which outputs (column) move, and by what share of their "
        "size? In a stack whose tokens have become alike only the first row moves anything. The "
        "colour is log10 of the share, and stops at -8.",
        moved_outputs,
    ),
    "Path lengths": Figure(
        "autopsy",
        "The gradient dL/dx_0 by the number of branches that its paths have passed, in fp64; the "
        "parts sum to the whole.",
        paths,
    ),
    "Jacobians": Figure(
        "autopsy",
        "Singular values of dy/dx in fp64: of each block, and of the product of all blocks up to it.",
        spectra,
    ),
}
