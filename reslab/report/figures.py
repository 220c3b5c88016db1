"""Pictures that sum up many runs, or one autopsy. FIGURES: a function to a plotly figure, each; no torch.

What moves and is chosen on the page (the block, the reach, the curves, the maps) is drawn by report/web.
"""

import math

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reslab.report.summary import arm, lines
from reslab.run.fields import with_role
from reslab.run.log import Run
from reslab.run.settings import TrainConfig

# Colours that are told apart by eyes of all kinds (Okabe & Ito 2008), on white and on black.
COLOURS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999"]
DASHES = ["solid", "dash", "dot", "dashdot", "longdash"]
PERTURBATION_CELLS = 128  # longest side of the drawn map
# What the runs of a curve may differ in: what is drawn, and what is no part of the experiment.
AXES = frozenset({"residual", "n_layer", "learning_rate", "seed"})
VARIED = AXES | with_role(TrainConfig, "place", "machine", "measuring")


def depth(runs: list[Run]) -> go.Figure | None:
    """Final validation loss over depth. The line joins the best learning rate of each depth, its seeds' mean
    with their spread; each dot is a run, none is left out.

    Only runs that differ in wiring, depth, learning rate and seed are drawn.
    """
    group = _varied(runs, "n_layer")
    if not group:
        return None
    figure = go.Figure()
    for name, own in _by_arm(group).items():
        depths = sorted({run.config["n_layer"] for run in own})
        best = [_best_rate([run for run in own if run.config["n_layer"] == n]) for n in depths]
        line = _line(name, group)
        figure.add_trace(_with_spread(depths, best, name, line))
        dots = go.Scatter(
            x=[run.config["n_layer"] for run in own],
            y=[run.last("val/loss") for run in own],
            text=[f"lr {run.config['learning_rate']:g}, seed {run.config['seed']}" for run in own],
        )
        dots.update(mode="markers", marker={"color": line["color"], "opacity": 0.35}, showlegend=False)
        figure.add_trace(dots.update(name=name, legendgroup=name))
    _baseline_lines(figure, group[0])
    ticks = sorted({run.config["n_layer"] for run in group})
    figure.update_xaxes(title="layers", type="log", tickvals=ticks, ticktext=[str(n) for n in ticks])
    figure.update_yaxes(title="final validation loss, nats per token")
    return figure.update_layout(height=480)


def layers_that_learn(runs: list[Run]) -> go.Figure | None:
    """How many layers get a Q/K gradient and tell tokens apart, at the end of each run, over depth.

    On the dotted line all of them do. That says that they could learn, and not that they did.
    """
    group = [run for run in _varied(runs, "n_layer") if run.last("probe/layers_that_learn") is not None]
    if len({run.config["n_layer"] for run in group}) < 2:
        return None
    figure = go.Figure()
    for name, own in _by_arm(group).items():
        own = sorted(own, key=lambda run: run.config["n_layer"])
        dots = go.Scatter(
            x=[run.config["n_layer"] for run in own],
            y=[run.last("probe/layers_that_learn") for run in own],
            text=[f"lr {run.config['learning_rate']:g}, seed {run.config['seed']}" for run in own],
        )
        figure.add_trace(dots.update(name=name, mode="markers", marker=_marker(name, group)))
    ticks = sorted({run.config["n_layer"] for run in group})
    whole = go.Scatter(x=ticks, y=ticks, mode="lines", name="all", showlegend=False, hoverinfo="skip")
    figure.add_trace(whole.update(line={"color": "#888", "width": 1, "dash": "dot"}))
    figure.update_xaxes(title="layers", type="log", tickvals=ticks, ticktext=[str(n) for n in ticks])
    figure.update_yaxes(title="layers that a signal reaches", rangemode="tozero")
    return figure.update_layout(height=420)


def learning_rates(runs: list[Run]) -> go.Figure | None:
    """Final validation loss over the learning rate: the whole curve of each wiring and depth, with the seeds'
    spread.

    Only runs that differ in wiring, depth, learning rate and seed are drawn.
    """
    group = _varied(runs, "learning_rate")
    if not group:
        return None
    figure = go.Figure()
    depths = sorted({run.config["n_layer"] for run in group})
    for name, own in _by_arm(group).items():
        for dash, n in zip(DASHES * len(depths), depths, strict=False):
            at = {}
            for run in own:
                if run.config["n_layer"] == n:
                    at.setdefault(run.config["learning_rate"], []).append(run.last("val/loss"))
            if len(at) > 1:
                line = _line(name, group) | {"dash": dash}
                rates = sorted(at)
                label = f"{name}, {n} layers"
                figure.add_trace(_with_spread(rates, [at[rate] for rate in rates], label, line))
    _baseline_lines(figure, group[0])
    figure.update_xaxes(title="learning rate", type="log", exponentformat="power")
    figure.update_yaxes(title="final validation loss, nats per token")
    return figure.update_layout(height=480)


def _varied(runs: list[Run], key: str) -> list[Run]:
    """The largest set of evaluated runs that differ in VARIED alone, when `key` has several values in it."""
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        if run.last("val/loss") is not None:
            rest = tuple(sorted((k, str(v)) for k, v in run.config.items() if k not in VARIED))
            groups.setdefault(rest, []).append(run)
    group = max(groups.values(), key=lambda g: len({run.config[key] for run in g}), default=[])
    return group if len({run.config[key] for run in group}) > 1 else []


def _by_arm(runs: list[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        found.setdefault(arm(run.config), []).append(run)
    return found


def _best_rate(runs: list[Run]) -> list[float]:
    """Final losses of the seeds at the learning rate whose mean is lowest."""
    at: dict[float, list[float]] = {}
    for run in runs:
        at.setdefault(run.config["learning_rate"], []).append(run.last("val/loss"))
    return min(at.values(), key=_mean)


def _with_spread(places: list, values: list[list[float]], name: str, line: dict) -> go.Scatter:
    """Means as a line; the bars reach to the smallest and the largest of the seeds."""
    means = [_mean(seeds) for seeds in values]
    up = [max(seeds) - mean for seeds, mean in zip(values, means, strict=True)]
    down = [mean - min(seeds) for seeds, mean in zip(values, means, strict=True)]
    bars = {"array": up, "arrayminus": down, "symmetric": False, "thickness": 1, "width": 3}
    bars["visible"] = max(map(len, values)) > 1
    drawn = go.Scatter(x=places, y=means, name=name, legendgroup=name, mode="lines+markers", line=line)
    return drawn.update(error_y=bars)


def _line(name: str, runs: list[Run]) -> dict:
    arms = list(dict.fromkeys(["pre", "none", *_by_arm(runs)]))  # these two look the same on every page
    return {"color": COLOURS[arms.index(name) % len(COLOURS)], "width": 2.5}


def _marker(name: str, runs: list[Run]) -> dict:
    return {"color": _line(name, runs)["color"], "size": 9, "opacity": 0.7}


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _baseline_lines(figure, run: Run) -> None:
    for name in ("unigram", "bigram"):
        loss = lines(run, "val")[name]
        figure.add_hline(
            loss,
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
    return figure.update_layout(height=420)


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
    wide = -(-len(values) // PERTURBATION_CELLS)  # of a long sequence, the largest of wide x wide changes
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
    return figure.update_layout(height=420)


FIGURES = {
    "Loss over depth": depth,
    "Layers that a signal reaches": layers_that_learn,
    "Learning rates": learning_rates,
}

AUTOPSY_FIGURES = {
    "Lesions": lesion_costs,
    "Random lesions": random_lesions,
    "Logit lens": lens,
    "Perturbation": moved_outputs,
    "Path lengths": paths,
    "Jacobians": spectra,
}
