"""Every figure as data: x, y, bars, names, lines and their order, from runs whose numbers are known."""

from itertools import pairwise

import pytest
from runs_by_hand import LINES

from reslab.report.autopsy_figures import AUTOPSY_FIGURES
from reslab.report.figures import FIGURES
from reslab.report.groups import shades, styles

DEPTH, LEARN, RATES = "Loss over depth", "Layers that a signal reaches", "Learning rates"


@pytest.fixture
def grid(make_run):
    """Two wirings, three depths, two rates and up to three seeds; `none` has no run at 3 layers.

    At 12 layers the luckiest seed is at the rate whose mean is worse. The runs come in no order.
    """
    cells = [  # wiring, layers, rate, seed, loss
        ("none", 12, 3e-3, 21, 3.3),
        ("pre", 12, 1e-2, 11, 2.0),
        ("pre", 12, 1e-2, 12, 3.0),
        ("pre", 3, 1e-2, 11, 2.6),
        ("pre", 12, 3e-3, 11, 2.1),
        ("pre", 12, 3e-3, 12, 2.2),
        ("pre", 12, 3e-3, 13, 2.6),
        ("none", 5, 3e-3, 21, 3.2),
        ("none", 5, 1e-2, 21, 2.8),
        ("pre", 5, 3e-3, 11, 2.4),
        ("pre", 3, 3e-3, 11, 2.5),
    ]
    return [
        make_run(f"r{k}", losses=(4.0, loss), residual=arm, n_layer=n, learning_rate=rate, seed=seed)
        for k, (arm, n, rate, seed, loss) in enumerate(cells)
    ]


def points(trace) -> list[tuple]:
    return list(zip(trace.x, trace.y, strict=True))


def bars(trace) -> tuple[list, list]:
    up, down = trace.error_y.array, trace.error_y.arrayminus
    return [round(v, 6) for v in up], [round(v, 6) for v in down]


def split_baselines(figure) -> dict[str, float]:
    """Text of each horizontal line -> its height; it goes across the whole figure."""
    shapes = figure.layout.shapes
    assert all(shape.y0 == shape.y1 and (shape.x0, shape.x1) == (0, 1) for shape in shapes)
    return {note.text: shape.y0 for note, shape in zip(figure.layout.annotations, shapes, strict=True)}


VAL_LINES = {"unigram 3.10": LINES["unigram"]["val"], "bigram 2.40": LINES["bigram"]["val"]}


def test_the_loss_over_depth_joins_the_rates_of_the_best_mean_and_shows_every_run(grid):
    figure = FIGURES[DEPTH](grid)
    none, none_dots, pre, pre_dots = figure.data
    assert [trace.name for trace in figure.data] == ["none", "none", "pre", "pre"]
    assert points(none) == [(5, 2.8), (12, 3.3)]
    assert points(pre) == [(3, 2.5), (5, 2.4), (12, pytest.approx(2.3))]
    assert bars(pre) == ([0, 0, 0.3], [0, 0, 0.2])  # up to the worst seed, down to the best
    assert pre.error_y.visible and not none.error_y.visible and pre.error_y.symmetric is False
    assert sorted(points(none_dots)) == [(5, 2.8), (5, 3.2), (12, 3.3)]
    expected = [(3, 2.5), (3, 2.6), (5, 2.4), (12, 2.0), (12, 2.1), (12, 2.2), (12, 2.6), (12, 3.0)]
    assert sorted(points(pre_dots)) == expected
    texts = dict(zip(pre_dots.y, pre_dots.text, strict=True))
    assert texts[3.0] == "lr 0.01, seed 12" and texts[2.4] == "lr 0.003, seed 11"
    assert split_baselines(figure) == VAL_LINES
    assert list(figure.layout.xaxis.tickvals) == [3, 5, 12]
    assert none.line.color == none_dots.marker.color != pre.line.color == pre_dots.marker.color
    assert not none_dots.showlegend and not pre_dots.showlegend


def test_the_layers_that_learn_are_those_of_the_end(grid):
    figure = FIGURES[LEARN](grid)
    none, pre, all_layers = figure.data
    assert [trace.name for trace in figure.data] == ["none", "pre", "all"]
    assert sorted(points(none)) == [(5, 4), (5, 4), (12, 11)]  # the hand-written probes lose one by step 10
    assert sorted(points(pre)) == [(3, 2), (3, 2), (5, 4), *[(12, 11)] * 5]
    assert {text for x, text in zip(none.x, none.text, strict=True) if x == 12} == {"lr 0.003, seed 21"}
    assert points(all_layers) == [(3, 3), (5, 5), (12, 12)]


def test_the_curve_over_the_learning_rate_is_whole_one_line_per_wiring_and_depth(grid):
    figure = FIGURES[RATES](grid)
    traces = {trace.name: trace for trace in figure.data}
    # a depth with a single rate has no curve
    assert list(traces) == ["pre, 3 layers", "pre, 12 layers", "none, 5 layers"]
    assert points(traces["none, 5 layers"]) == [(3e-3, 3.2), (1e-2, 2.8)]
    assert points(traces["pre, 3 layers"]) == [(3e-3, 2.5), (1e-2, 2.6)]
    deep = traces["pre, 12 layers"]
    assert points(deep) == [(3e-3, pytest.approx(2.3)), (1e-2, 2.5)]
    assert bars(deep) == ([0.3, 0.5], [0.2, 0.5])
    assert split_baselines(figure) == VAL_LINES
    assert len({trace.line.color for trace in figure.data}) == 3  # depths are shades of their arm's colour
    shades = [int(traces[name].line.color[1:], 16) for name in ("pre, 3 layers", "pre, 12 layers")]
    assert shades[0] > shades[1]  # deeper is darker


def test_shades_run_from_light_to_dark_through_the_colour():
    colour = 0x1F77B4
    assert shades("#1F77B4", 1) == ["#1F77B4"]
    for count in (2, 3, 12):
        ramp = [bytes.fromhex(shade[1:]) for shade in shades("#1F77B4", count)]
        assert all(all(a > b for a, b in zip(light, dark, strict=True)) for light, dark in pairwise(ramp))
        own = colour.to_bytes(3, "big")
        assert all(a > b > c for a, b, c in zip(ramp[0], own, ramp[-1], strict=True))


def test_a_wiring_looks_the_same_on_every_page(make_run):
    def colours(*arms):
        runs = []
        for arm in arms:
            for n in (2, 3):
                runs.append(make_run(f"{'-'.join(arms)} {arm}{n}", residual=arm, n_layer=n))
        return {trace.name: trace.line.color for trace in FIGURES[DEPTH](runs).data if trace.line.color}

    both, turned, alone = colours("pre", "none"), colours("none", "post", "pre"), colours("none")
    assert both["pre"] == turned["pre"] and both["none"] == turned["none"] == alone["none"]
    assert len(set(turned.values())) == 3


def test_a_line_joins_only_runs_of_one_experiment(make_run):
    runs = [make_run(f"n{n}", losses=(4.0, loss), n_layer=n) for n, loss in ((2, 3.0), (4, 2.5), (8, 2.0))]
    others = [make_run(f"o{n}", losses=(9.0,), dropout=0.1, n_layer=n) for n in (2, 4)]
    other = {"source": "another text", "source_sha256": "9", "vocab_size": 50}
    baselines = LINES | {"bigram": {"train": 1.0, "val": 1.5}}
    facts = {"dataset": other, "baselines_nats": baselines}
    elsewhere = [make_run(f"e{n}", losses=(1.0,), n_layer=n, facts=facts) for n in (2, 4)]
    single = make_run("single", losses=(5.0,), optimizer="sgd", n_layer=2)
    figure = FIGURES[DEPTH]([*runs, *others, single])
    drawn = {trace.name: points(trace) for trace in figure.data if trace.mode == "lines+markers"}
    assert drawn == {
        "pre": [(2, 3.0), (4, 2.5), (8, 2.0)],
        "pre, dropout 0.1": [(2, 9.0), (4, 9.0)],
    }
    assert split_baselines(figure) == VAL_LINES
    mixed = FIGURES[DEPTH]([*runs, *elsewhere])
    drawn = {trace.name: points(trace) for trace in mixed.data if trace.mode == "lines+markers"}
    assert drawn == {"pre, data 0": [(2, 3.0), (4, 2.5), (8, 2.0)], "pre, data 9": [(2, 1.0), (4, 1.0)]}
    assert not mixed.layout.shapes  # the baselines differ: none is drawn as one line
    unprobed = [make_run(f"u{n}", n_layer=n, rows=[{"step": 0, "val/loss": 3.0}]) for n in (3, 6)]
    assert FIGURES[LEARN](unprobed) is None
    assert FIGURES[LEARN](others) is None  # probed at step 0 alone, where every layer of any stack passes
    learned = FIGURES[LEARN]([*runs, *others, *unprobed]).data[0]
    assert points(learned) == [(2, 1), (4, 3), (8, 7)]


def test_a_run_that_did_not_finish_is_a_marked_dot_and_in_no_mean(make_run):
    runs = [make_run(f"n{n}", losses=(2.0,), n_layer=n) for n in (2, 4)]
    runs += [make_run("d", losses=(1.0,), status="diverged", n_layer=4, seed=2)]
    runs += [make_run("u", losses=(1.5,), status="", n_layer=4, seed=3)]
    line, dots = FIGURES[DEPTH](runs).data
    assert points(line) == [(2, 2.0), (4, 2.0)]
    assert list(dots.marker.symbol) == ["circle", "circle", "x", "circle-open"]
    assert [text.rpartition(", ")[2] for text in dots.text] == ["seed 1", "seed 1", "diverged", "unfinished"]
    assert all(trace.mode == "lines+markers" for trace in FIGURES[RATES](many_lines(make_run)).data)


def many_lines(make_run) -> list:
    """Forty experiments over two rates: wirings, optimizers and depths."""
    return [
        make_run(
            f"{arm}-{optimizer}-{n}-{rate}",
            losses=(2.0,),
            residual=arm,
            optimizer=optimizer,
            n_layer=n,
            learning_rate=rate,
        )
        for arm in ("pre", "none", "post", "deepnorm", "highway", "scaled", "rezero", "silent")
        for optimizer in ("adamw", "muon")
        for n in (2, 4)
        for rate in (0.001, 0.01)
    ]


def test_no_two_lines_of_a_figure_look_alike(make_run):
    runs = many_lines(make_run)
    for name, count in ((DEPTH, 16), (RATES, 32)):
        lines = [trace for trace in FIGURES[name](runs).data if trace.mode == "lines+markers"]
        looks = {(trace.line.color, trace.line.dash, trace.marker.symbol) for trace in lines}
        assert len(lines) == len(looks) == count
    names = [f"arm {k}" for k in range(200)]
    assert len({str(style) for style in styles(names).values()}) == 200


def test_every_figure_has_a_section_and_a_caption_of_whole_sentences():
    for figure in [*FIGURES.values(), *AUTOPSY_FIGURES.values()]:
        assert figure.section in ("depth", "autopsy") and figure.caption.endswith((".", "?"))
        assert "  " not in figure.caption


@pytest.mark.parametrize("name", [DEPTH, LEARN, RATES, "Where blocks are worth something"])
def test_a_figure_of_one_run_or_none_is_left_out(make_run, name):
    assert FIGURES[name]([]) is None and FIGURES[name]([make_run()]) is None


def lesion(delta: float) -> dict:
    return {"delta": delta, "se": delta / 7}


REPORT = {
    "lesions": {
        "block": [lesion(0.5), lesion(0.25), lesion(0.125)],
        "attn": [lesion(0.3), lesion(0.2), lesion(0.1)],
        "mlp": [lesion(0.9), lesion(0.8), lesion(0.7)],
        "random": [{"removed": 2, **lesion(1.5)}, {"removed": 7, **lesion(2.5)}],
    },
    "lens": [5.0, 4.0, 3.0, 2.0],
    "perturbation": [[1.0, 0.1, 0.01], [0.0, 0.5, 1e-5], [0.0, 0.0, 1e-15]],
    "paths": {"norms": [3.0, 0.0, 0.5, 0.25]},
    "jacobians": [
        {"largest": 9.0, "median": 1.0, "smallest": 0.0}
        | {"product": {"largest": 90.0, "median": 2.0, "smallest": 0.5}},
        {"largest": 8.0, "median": 1.5, "smallest": 0.25}
        | {"product": {"largest": 70.0, "median": 3.0, "smallest": 0.125}},
    ],
}
# Figure -> (name, x, y) of each of its traces.
EXPECTED = {
    "Lesions": [
        ("without block", None, [0.5, 0.25, 0.125]),
        ("without attn", None, [0.3, 0.2, 0.1]),
        ("without mlp", None, [0.9, 0.8, 0.7]),
    ],
    "Random lesions": [(None, [0, 2, 7], [0.0, 1.5, 2.5])],
    "Logit lens": [(None, None, [5.0, 4.0, 3.0, 2.0])],
    "Perturbation": [(None, [0, 1, 2], [0, 1, 2])],
    "Path lengths": [(None, None, [3.0, None, 0.5, 0.25])],
    "Jacobians": [
        ("largest", None, [9.0, 8.0]),
        ("median", None, [1.0, 1.5]),
        ("smallest", None, [None, 0.25]),
        ("largest", None, [90.0, 70.0]),
        ("median", None, [2.0, 3.0]),
        ("smallest", None, [0.5, 0.125]),
    ],
}


@pytest.mark.parametrize("name", AUTOPSY_FIGURES)
def test_a_figure_of_an_autopsy_is_its_report(name):
    figure = AUTOPSY_FIGURES[name](REPORT)
    drawn = [(t.name, None if t.x is None else list(t.x), list(t.y)) for t in figure.data]
    assert drawn == EXPECTED[name]


def test_the_bars_of_lesions_are_standard_errors():
    for trace in AUTOPSY_FIGURES["Lesions"](REPORT).data:
        assert list(trace.error_y.array) == pytest.approx([y / 7 for y in trace.y])
    (curve,) = AUTOPSY_FIGURES["Random lesions"](REPORT).data
    assert list(curve.error_y.array) == pytest.approx([0, 1.5 / 7, 2.5 / 7])


def test_the_jacobians_of_blocks_and_of_their_product_stand_side_by_side():
    figure = AUTOPSY_FIGURES["Jacobians"](REPORT)
    assert [trace.xaxis for trace in figure.data] == ["x"] * 3 + ["x2"] * 3
    assert [note.text for note in figure.layout.annotations] == ["of each block", "of the product up to it"]


def test_the_map_of_a_perturbation_is_logarithmic_and_a_row_is_a_changed_token():
    figure = AUTOPSY_FIGURES["Perturbation"](REPORT)
    (drawn,) = figure.data
    assert [list(row) for row in drawn.z] == [[0, -1, -2], [-12, -0.3, -5], [-12, -12, -12]]
    assert figure.layout.yaxis.title.text == "changed token" and figure.layout.yaxis.autorange == "reversed"
    values = [[0.0] * 300 for _ in range(300)]
    values[7][299] = 1.0
    (drawn,) = AUTOPSY_FIGURES["Perturbation"]({"perturbation": values}).data
    assert len(drawn.z) == len(drawn.x) == 100  # a long sequence keeps its largest changes
    assert max(map(max, drawn.z)) == 0 == drawn.z[2][99] and list(drawn.x)[:2] == [0, 3]


def test_what_an_autopsy_did_not_measure_is_not_drawn():
    for name in ("Lesions", "Random lesions", "Path lengths", "Jacobians"):
        assert AUTOPSY_FIGURES[name]({"lens": [1.0], "perturbation": [[1.0]]}) is None, name
