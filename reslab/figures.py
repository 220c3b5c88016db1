"""Pictures of runs. FIGURES: a function from runs to a plotly figure, each; no torch, no model."""

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reslab.runlog import Run
from reslab.summary import arm, labels, lines

# Colours that are told apart by eyes of all kinds (Okabe & Ito 2008).
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999", "#000000"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash"]


def loss_curves(runs: list[Run]) -> go.Figure:
    """Loss on training and on validation data over the updates, against the yardsticks.

    Both panels: the plain stack is as bad on the data that it was trained on.
    """
    titles = {"train": "on its training data", "val": "on text it has not seen"}
    figure = make_subplots(cols=2, rows=1, shared_yaxes=True, subplot_titles=list(titles.values()))
    arms = list(dict.fromkeys(arm(run.config) for run in runs))
    depths = sorted({run.config["n_layer"] for run in runs})
    for column, split in enumerate(titles, 1):
        for run, label in zip(runs, labels(runs), strict=True):
            steps, losses = run.series(f"{split}/loss")
            _, errors = run.series(f"{split}/loss_se")
            line = {
                "color": COLOURS[arms.index(arm(run.config)) % len(COLOURS)],
                "dash": DASHES[depths.index(run.config["n_layer"]) % len(DASHES)],
                "width": 2.5,
            }
            curve = go.Scatter(
                x=steps,
                y=losses,
                error_y={"array": errors, "thickness": 1, "width": 2},
                mode="lines+markers",
                name=label,
                legendgroup=label,
                showlegend=column == 1,
                line=line,
                marker={"size": 5},
                hovertemplate=f"{label}<br>step %{{x}}: %{{y:.3f}} nats<extra></extra>",
            )
            figure.add_trace(curve, row=1, col=column)
        for name, loss in lines(runs[0], split).items():
            figure.add_hline(
                loss,
                row=1,
                col=column,
                line={"color": "#888", "width": 1, "dash": "dot"},
                annotation={"text": f"{name} {loss:.2f}", "font": {"size": 11, "color": "#888"}},
                annotation_position="top right",
            )
    figure.update_xaxes(title="updates")
    figure.update_yaxes(title="loss, nats per token", col=1)
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.18})
    return figure


def gradient_norms(runs: list[Run]) -> go.Figure:
    """Norm of the whole gradient before clipping, over the updates."""
    figure = go.Figure()
    arms = list(dict.fromkeys(arm(run.config) for run in runs))
    depths = sorted({run.config["n_layer"] for run in runs})
    for run, label in zip(runs, labels(runs), strict=True):
        steps, norms = run.series("batch/grad_norm")
        line = {
            "color": COLOURS[arms.index(arm(run.config)) % len(COLOURS)],
            "dash": DASHES[depths.index(run.config["n_layer"]) % len(DASHES)],
        }
        figure.add_trace(go.Scatter(x=steps, y=norms, mode="lines", name=label, line=line))
    figure.update_xaxes(title="updates")
    figure.update_yaxes(title="gradient norm before clipping", type="log", exponentformat="power", dtick=1)
    figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})
    return figure


FIGURES = {
    "Loss": loss_curves,
    "Gradient": gradient_norms,
}
