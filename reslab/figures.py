"""Pictures of runs. FIGURES: a function from runs to a plotly figure, each; no torch, no model."""

import math

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
    for column, split in enumerate(titles, 1):
        for run, label, line in _styled(runs):
            steps, losses = run.series(f"{split}/loss")
            _, errors = run.series(f"{split}/loss_se")
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
        _yardstick_lines(figure, runs[0], split, row=1, col=column)
    figure.update_xaxes(title="updates")
    figure.update_yaxes(title="loss, nats per token", col=1)
    figure.update_layout(height=520, legend={"orientation": "h", "y": -0.18})
    return figure


def reach(runs: list[Run]) -> go.Figure | None:
    """How far the gradient reaches: norm of dL/dh before each block, first and last time it was measured.

    The last column of a panel is the head; follow a curve to the left, back towards layer 0.
    """
    return _by_layer(runs, "probe/gradient_norm", "norm of dL/dh", {"type": "log", "exponentformat": "power"})


def diversity(runs: list[Run]) -> go.Figure | None:
    """How different the tokens still are before each block, first and last time it was measured.

    A stack whose tokens have become alike can't use any of them: its loss is that of letter frequencies.
    """
    return _by_layer(
        runs,
        "probe/token_diversity",
        "norm(X - mean) / norm(X)",
        {"type": "log", "exponentformat": "power"},
    )


def _by_layer(runs, key, title, axis) -> go.Figure | None:
    """Two panels, at the first and the last step: a probe's list over the layers, a curve per run."""
    runs = [run for run in runs if run.series(key)[0]]
    if not runs:
        return None
    figure = make_subplots(
        cols=2, rows=1, shared_yaxes=True, subplot_titles=["before training", "at the end"]
    )
    for column, which in enumerate((0, -1), 1):
        for run, label, line in _styled(runs):
            values = run.series(key)[1][which]
            values = [value or None for value in values]  # a logarithm has no place for 0
            place = list(range(len(values)))
            curve = go.Scatter(x=place, y=values, name=label, legendgroup=label, line=line, connectgaps=False)
            figure.add_trace(curve.update(mode="lines+markers", showlegend=column == 1), row=1, col=column)
    figure.update_xaxes(title="stream before block")
    figure.update_yaxes(axis)
    figure.update_yaxes(title=title, col=1)
    return figure.update_layout(height=460, legend={"orientation": "h", "y": -0.2})


def learning_rates(runs: list[Run]) -> go.Figure | None:
    """Final validation loss over the learning rate: the whole curve of each wiring and depth.

    Only runs that differ in wiring, depth, learning rate and seed are drawn.
    """
    varied = {"residual", "n_layer", "learning_rate", "seed", "out_dir", "resume"}
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.last("val/loss") is not None:
            rest = tuple(sorted((k, str(v)) for k, v in run.config.items() if k not in varied))
            groups.setdefault(rest, []).append(run)
    group = max(groups.values(), key=lambda g: len({run.config["learning_rate"] for run in g}), default=[])
    if len({run.config["learning_rate"] for run in group}) < 2:
        return None
    curves: dict[str, tuple[dict, dict[float, list[float]]]] = {}
    for run, _, line in _styled(group):
        label = f"{arm(run.config)}, {run.config['n_layer']} layers"
        points = curves.setdefault(label, (line, {}))[1]
        points.setdefault(run.config["learning_rate"], []).append(run.last("val/loss"))
    figure = go.Figure()
    for label, (line, points) in curves.items():
        rates = sorted(points)
        means = [sum(points[rate]) / len(points[rate]) for rate in rates]
        if len(rates) > 1:
            figure.add_trace(go.Scatter(x=rates, y=means, name=label, mode="lines+markers", line=line))
    _yardstick_lines(figure, group[0], "val")
    figure.update_xaxes(title="learning rate", type="log")
    figure.update_yaxes(title="final validation loss, nats per token")
    return figure.update_layout(height=520, legend={"orientation": "h", "y": -0.18})


def gradient_norms(runs: list[Run]) -> go.Figure:
    """Norm of the whole gradient before clipping, over the updates."""
    figure = go.Figure()
    for run, label, line in _styled(runs):
        steps, norms = run.series("batch/grad_norm")
        figure.add_trace(go.Scatter(x=steps, y=norms, mode="lines", name=label, line=line))
    figure.update_xaxes(title="updates")
    figure.update_yaxes(title="gradient norm before clipping", type="log", exponentformat="power", dtick=1)
    return figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})


def _styled(runs: list[Run]):
    """Each run with its label and line: the colour tells the wiring, the dash the depth."""
    arms = list(dict.fromkeys(arm(run.config) for run in runs))
    depths = sorted({run.config["n_layer"] for run in runs})
    for run, label in zip(runs, labels(runs), strict=True):
        colour = COLOURS[arms.index(arm(run.config)) % len(COLOURS)]
        dash = DASHES[depths.index(run.config["n_layer"]) % len(DASHES)]
        yield run, label, {"color": colour, "dash": dash, "width": 2.5}


def _yardstick_lines(figure, run: Run, split: str, **where) -> None:
    for name, loss in lines(run, split).items():
        figure.add_hline(
            loss,
            **where,
            line={"color": "#888", "width": 1, "dash": "dot"},
            annotation={"text": f"{name} {loss:.2f}", "font": {"size": 11, "color": "#888"}},
            annotation_position="top right",
        )


def lesion_costs(report: dict) -> go.Figure | None:
    """What the loss rises by when one block, or one sublayer, is taken out; bars are standard errors."""
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
    return figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})


def random_lesions(report: dict) -> go.Figure | None:
    """The loss with k random blocks taken out: gentle where many short paths remain, else a cliff."""
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
    figure.update_xaxes(title="blocks taken out")
    figure.update_yaxes(title="rise of the loss, nats per token")
    return figure.update_layout(height=380)


def lens(report: dict) -> go.Figure:
    """The head applied before each block: how good the guess is already."""
    figure = go.Figure(
        go.Scatter(y=report["lens"], mode="lines+markers", line={"color": COLOURS[0], "width": 2.5})
    )
    figure.update_xaxes(title="stream before block")
    figure.update_yaxes(title="loss of the guess, nats per token")
    return figure.update_layout(height=380)


def moved_outputs(report: dict) -> go.Figure:
    """Change the token at one place (row): which outputs (column) move, and by what share of their size?

    In a stack whose tokens have become alike only the first row moves anything.
    """
    values = report["perturbation"]
    figure = go.Figure(
        go.Heatmap(
            z=[[math.log10(v) if v > 1e-12 else -12 for v in row] for row in values],
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
    """dL/dx_0 by the number of branches its paths have passed, in fp64; the parts sum to the whole."""
    if "paths" not in report:
        return None
    norms = [norm or None for norm in report["paths"]["norms"]]
    figure = go.Figure(go.Bar(y=norms, marker={"color": COLOURS[0]}))
    figure.update_xaxes(title="branches passed")
    figure.update_yaxes(title="norm of that part of the gradient", type="log", exponentformat="power")
    return figure.update_layout(height=380)


def spectra(report: dict) -> go.Figure | None:
    """Singular values of dy/dx in fp64: of each block, and of all blocks up to it."""
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
    return figure.update_layout(height=420, legend={"orientation": "h", "y": -0.2})


FIGURES = {
    "Loss": loss_curves,
    "Learning rates": learning_rates,
    "How far the gradient reaches": reach,
    "What is left of the tokens": diversity,
    "Gradient norm": gradient_norms,
}

AUTOPSY_FIGURES = {
    "Lesions": lesion_costs,
    "Random lesions": random_lesions,
    "Logit lens": lens,
    "Perturbation": moved_outputs,
    "Path lengths": paths,
    "Jacobians": spectra,
}
