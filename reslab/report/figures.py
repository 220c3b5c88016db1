"""Figures that sum up many runs. FIGURES: a record for each; no torch.

A line is one experiment: runs that agree in every setting and in their data, but for the figure's own axis
and the seed. No two lines of a figure look alike. What moves and is chosen on the page (the block, the
reach, the curves, the maps) is drawn by report/web.
"""

from collections.abc import Iterable

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from reslab.report.facts import common_baselines, data_hash, learning_layers
from reslab.report.figure import Figure
from reslab.report.groups import arm, group_names, groups, shades, styles
from reslab.run.log import Run

STATUS_SYMBOLS = {"finished": "", "diverged": "x", "unfinished": "-open"}
OVER_DEPTH = ("n_layer", "learning_rate")  # what a line over depth joins
RATES = ("learning_rate", "block_lr", "muon_lr")


def depth(runs: list[Run]) -> go.Figure | None:
    """Final validation loss over depth: a line for each experiment of several depths, a dot for each run."""
    lines = _lines(runs, OVER_DEPTH, "n_layer")
    if not lines:
        return None
    figure, style = go.Figure(), styles(list(lines))
    for name, members in lines.items():
        at = {
            n: _best_rate([r for r in members if r.config["n_layer"] == n])
            for n in _values(members, "n_layer")
        }
        at = {n: losses for n, losses in at.items() if losses}
        line = {"color": style[name]["color"], "dash": style[name]["dash"], "width": 2.5}
        if at:
            figure.add_trace(_with_spread(list(at), list(at.values()), name, line, style[name]["symbol"]))
        dots = _dots(members, "n_layer", "val/loss", style[name])
        figure.add_trace(dots.update(name=name, legendgroup=name, showlegend=not at))
    drawn = [run for members in lines.values() for run in members]
    _baseline_lines(figure, drawn)
    _depth_axis(figure, drawn)
    figure.update_yaxes(title="final validation loss, nats per token")
    return figure.update_layout(height=480)


def layers_that_learn(runs: list[Run]) -> go.Figure | None:
    """Layers that a signal reaches at the end, over depth: a dot for each run."""
    probed = [run for run in runs if learning_layers(run.rows) is not None]
    lines = _lines(probed, OVER_DEPTH, "n_layer")
    if not lines:
        return None
    figure, style = go.Figure(), styles(list(lines))
    for name, members in lines.items():
        dots = _dots(members, "n_layer", "probe/layers_that_learn", style[name])
        figure.add_trace(dots.update(name=name, showlegend=True, marker={"size": 9, "opacity": 0.7}))
    drawn = [run for members in lines.values() for run in members]
    ticks = _values(drawn, "n_layer")
    all_layers = go.Scatter(x=ticks, y=ticks, mode="lines", name="all", showlegend=False, hoverinfo="skip")
    figure.add_trace(all_layers.update(line={"color": "#888", "width": 1, "dash": "dot"}))
    _depth_axis(figure, drawn)
    figure.update_yaxes(title="layers that a signal reaches", rangemode="tozero")
    return figure.update_layout(height=420)


def learning_rates(runs: list[Run]) -> go.Figure | None:
    """Final validation loss over the learning rate: a line for each experiment with several rates."""
    lines = _lines([r for r in runs if r.status == "finished"], ("learning_rate",), "learning_rate")
    if not lines:
        return None
    figure = go.Figure()
    drawn = [run for members in lines.values() for run in members]
    families = dict(zip((run.folder for run in drawn), group_names(drawn, OVER_DEPTH), strict=True))
    style, depths = styles(list(families.values())), {}
    for run in drawn:  # deeper is darker
        depths.setdefault(families[run.folder], set()).add(run.config["n_layer"])
    order = list(style)

    def place(line: tuple[str, list[Run]]) -> tuple[int, int]:
        first = line[1][0]
        return order.index(families[first.folder]), first.config["n_layer"]

    for name, members in sorted(lines.items(), key=place):
        family, n = families[members[0].folder], members[0].config["n_layer"]
        ordered = sorted(depths[family])
        colour = shades(style[family]["color"], len(ordered))[ordered.index(n)]
        rates = _values(members, "learning_rate")
        losses = [
            [r.last("val/loss") for r in members if r.config["learning_rate"] == rate] for rate in rates
        ]
        line = {"color": colour, "dash": style[family]["dash"], "width": 2.5}
        figure.add_trace(_with_spread(rates, losses, name, line, style[family]["symbol"]))
    _baseline_lines(figure, drawn)
    figure.update_xaxes(title="learning rate", type="log", exponentformat="power")
    figure.update_yaxes(title="final validation loss, nats per token")
    return figure.update_layout(height=480)


def gain_over_silent(runs: list[Run]) -> go.Figure | None:
    """What blocks are worth over depth and their learning rate: a map for each experiment that has several
    of both; None without the control `silent` on the same data."""
    control = [r for r in runs if arm(r.config) == "silent" and r.status == "finished"]
    if len({data_hash(run) for run in control}) != 1:
        return None
    silent, same = _mean([r.last("val/loss") for r in control]), data_hash(control[0])
    others = [run for run in runs if run not in control and data_hash(run) == same]
    lines = _lines(others, ("n_layer", *RATES), "n_layer")
    maps = {name: m for name, m in lines.items() if len({block_rate(r.config) for r in m}) > 1}
    if not maps:
        return None
    figure = make_subplots(1, len(maps), shared_yaxes=True, subplot_titles=list(maps))
    for column, members in enumerate(maps.values(), 1):
        cells: dict[tuple, list[Run]] = {}
        for run in members:
            cells.setdefault((block_rate(run.config), run.config["n_layer"]), []).append(run)
        figure.add_trace(_gains(cells, silent), 1, column)
    drawn = [run for members in maps.values() for run in members]
    figure.update_xaxes(title="rate of the blocks", type="log", exponentformat="power", dtick=1)
    depths = _values(drawn, "n_layer")
    figure.update_yaxes(type="log", tickvals=depths, ticktext=[str(n) for n in depths])
    figure.update_yaxes(title="layers", col=1)
    figure.update_annotations(font={"size": 12})  # the names of the maps
    colours = {"colorscale": "RdBu", "cmid": 0, "colorbar": {"title": {"text": "nats"}}}
    return figure.update_layout(height=420, coloraxis=colours)


def block_rate(config: dict) -> float:
    """The peak learning rate of a run's blocks."""
    own = config["muon_lr"] if config["optimizer"] == "muon" else config["block_lr"]
    return own or config["learning_rate"]


def _gains(cells: dict[tuple, list[Run]], silent: float) -> go.Scatter:
    """A square for each rate and depth, coloured by the mean gain over its seeds; a cross if one diverged."""
    gains = {
        place: silent - _mean([run.last("val/loss") for run in seeds])
        for place, seeds in cells.items()
        if all(run.status == "finished" for run in seeds)
    }
    symbols = ["square" if place in gains else "x" for place in cells]
    marker = {"size": 18, "symbol": symbols, "coloraxis": "coloraxis", "line": {"color": "#888", "width": 1}}
    marker["color"] = [gains.get(place) for place in cells]
    texts = [f"{gains[place]:+.3f} nats" if place in gains else "not finished" for place in cells]
    rates, depths = zip(*cells, strict=True)
    return go.Scatter(x=rates, y=depths, text=texts, mode="markers", marker=marker, showlegend=False)


def _lines(runs: list[Run], joined: Iterable[str], axis: str) -> dict[str, list[Run]]:
    """The evaluated runs of each experiment in which `axis` has several values, by the experiment's name.

    Args:
        joined: settings that may differ inside an experiment, the axis among them.
    """
    known = [run for run in runs if all(run.config[key] is not None for key in joined)]
    evaluated = [run for run in known if run.last("val/loss") is not None]
    experiments = [same for same in groups(evaluated, joined).values() if len(_values(same, axis)) > 1]
    drawn = [run for same in experiments for run in same]
    lines: dict[str, list[Run]] = {}
    for run, name in zip(drawn, group_names(drawn, joined), strict=True):
        lines.setdefault(name, []).append(run)
    return lines


def _values(runs: list[Run], key: str) -> list:
    return sorted({run.config[key] for run in runs})


def _best_rate(runs: list[Run]) -> list[float]:
    """Final losses of the seeds that finished, at the learning rate whose mean is lowest."""
    at: dict[float, list[float]] = {}
    for run in runs:
        if run.status == "finished":
            at.setdefault(run.config["learning_rate"], []).append(run.last("val/loss"))
    return min(at.values(), key=_mean, default=[])


def _dots(runs: list[Run], x: str, y: str, style: dict) -> go.Scatter:
    """A dot for each run: a cross where it diverged, open where it is unfinished."""
    symbols = []
    for run in runs:
        mark = STATUS_SYMBOLS[run.status]
        symbols.append(mark if mark == "x" else style["symbol"] + mark)
    texts = []
    for run in runs:
        ended = "" if run.status == "finished" else f", {run.status}"
        texts.append(f"lr {run.config['learning_rate']:g}, seed {run.config['seed']}{ended}")
    return go.Scatter(
        x=[run.config[x] for run in runs],
        y=[run.last(y) for run in runs],
        text=texts,
        mode="markers",
        marker={"color": style["color"], "opacity": 0.35, "symbol": symbols},
    )


def _with_spread(places: list, values: list[list[float]], name: str, line: dict, symbol: str) -> go.Scatter:
    """Means as a line; the bars reach to the smallest and the largest of the seeds."""
    means = [_mean(seeds) for seeds in values]
    up = [max(seeds) - mean for seeds, mean in zip(values, means, strict=True)]
    down = [mean - min(seeds) for seeds, mean in zip(values, means, strict=True)]
    bars = {"array": up, "arrayminus": down, "symmetric": False, "thickness": 1, "width": 3}
    bars["visible"] = max(map(len, values)) > 1
    drawn = go.Scatter(x=places, y=means, name=name, legendgroup=name, mode="lines+markers", line=line)
    return drawn.update(error_y=bars, marker={"symbol": symbol})


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _depth_axis(figure: go.Figure, runs: list[Run]) -> None:
    ticks = _values(runs, "n_layer")
    figure.update_xaxes(title="layers", type="log", tickvals=ticks, ticktext=[str(n) for n in ticks])


def _baseline_lines(figure: go.Figure, runs: list[Run]) -> None:
    """The baselines that all runs share; where they differ none is drawn: it would be false for some runs."""
    shared = common_baselines(runs)
    for name in ("unigram", "bigram"):
        if name in shared:
            figure.add_hline(
                shared[name],
                line={"color": "#888", "width": 1, "dash": "dot"},
                annotation={"text": f"{name} {shared[name]:.2f}", "font": {"size": 11, "color": "#888"}},
                annotation_position="top right",
            )


FIGURES = {
    "Loss over depth": Figure(
        "depth",
        "Final validation loss over depth. A line is one experiment: runs that agree in all settings "
        "and data but depth, learning rate and seed. It joins the mean over the seeds that finished, at "
        "the learning rate that is best at that depth by this same loss; bars reach to the smallest and "
        "the largest seed. Each dot is a run, a cross one that diverged and an open dot an unfinished "
        "one, at its last evaluation. Experiments with a single depth are left out. Dotted lines are "
        "baselines, drawn only where all runs share them.",
        depth,
    ),
    "Layers that a signal reaches": Figure(
        "depth",
        "How many layers get a Q/K gradient and tell tokens apart, at the last probe of each run, over "
        "depth. On the dotted line all of them do. That says that they could learn, and not that they "
        "did. A cross is a run that diverged, an open dot an unfinished one. Experiments with a single "
        "depth are left out.",
        layers_that_learn,
    ),
    "Learning rates": Figure(
        "depth",
        "Final validation loss over the learning rate, of runs that finished. A line is one experiment: "
        "runs that agree in all settings and data but learning rate and seed; it joins the means over "
        "seeds, and bars reach to the smallest and the largest seed. Of one colour, darker is deeper. "
        "Experiments with a single rate are left out. Dotted lines are baselines, drawn only where all "
        "runs share them.",
        learning_rates,
    ),
    "Where blocks are worth something": Figure(
        "depth",
        "The final validation loss of the control `silent`, whose branches are frozen at 0, less that of a "
        "run, over the learning rate of its blocks and its depth. Blue squares end below embeddings "
        "and head alone, by blocks that learned or only hand tokens on, red ones above; the mean of the "
        "seeds. A cross is a run that did not finish. Each experiment with several depths and rates has "
        "a map, on the control's data.",
        gain_over_silent,
    ),
}
