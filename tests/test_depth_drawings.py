"""Pictures over depth, rate and dose from results that are written by hand: what lies where."""

import math
import re

import pytest
from test_depth_tables import arms_over_rates
from test_drawings import LIGHT, lines
from test_tables import result, run

import experiments.__main__ as door
from experiments.__main__ import pictures
from experiments.degradation.trainability import ORANGE, ROW, colour, css, on
from experiments.drawing import Picture


def draw(name: str, one: dict) -> tuple[str, str]:
    """A picture and what it says to those who can't see it."""
    _, picture = pictures()[name]
    return picture.draw(LIGHT, one), picture.alt(one)


def rects(svg: str, fill: str) -> list[tuple[float, ...]]:
    """Left, top, right and bottom of every rectangle of a colour."""
    found = re.findall(rf'<rect x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)" fill="{fill}"', svg)
    boxes = (map(float, box) for box in found)
    return [(x, y, x + width, y + height) for x, y, width, height in boxes]


def place(svg: str, words: str) -> tuple[float, float]:
    """Where words stand first."""
    x, y = re.search(rf'<text x="([^"]*)" y="([^"]*)"[^>]*>{re.escape(words)}<', svg).groups()
    return float(x), float(y)


def dots(svg: str, colour: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<circle cx="(.*?)" cy="(.*?)" r="4" fill="{colour}"', svg)
    return [(float(x), float(y)) for x, y in found]


def test_the_map_has_the_edges_of_each_seed_where_they_were_bisected():
    svg, alt = draw("trainability", arms_over_rates())
    edge = "above 0.005 to 0.0114 and below 0.015 to 0.05 (4)"  # from the lowest to the highest of the seeds
    assert f"without skips, standard (-0.75 to +3.25): {edge}" in alt
    assert "with skips (-1.50 to -1.50): at every rate (4)" in alt
    assert "MLP only (+0.25 to +0.25): at no rate (4)" in alt
    own = svg.partition(">without skips, standard<")[2]
    rates = (0.005, 0.0087, 0.0114, 0.015, 0.05)
    start, end = (place(own, f"{rate:g}")[0] for rate in (0.005, 0.05))
    x = {rate: start + (end - start) * math.log(rate / 0.005) / math.log(10) for rate in rates}
    first, lost, second, also_lost = rects(own, "#000000")[:4]
    for (left, _, right, _), low, high in (
        (first, 0.005, 0.0087),
        (second, 0.0087, 0.0114),
        (lost, 0.015, 0.05),
        (also_lost, 0.015, 0.05),
    ):
        assert (left, right) == pytest.approx((x[low], x[high]), abs=0.2)
    assert first[3] == pytest.approx(second[1]) and lost[1] == first[1]  # a seed below the other
    figures = [float(y) for y in re.findall(r'y="([^"]*)"[^>]*>(?:[−+][\d.]+|div\.)<', own)]
    assert min(figures) + 2 < first[1]  # no edge covers a figure


def test_of_the_map_no_edge_is_told_that_not_every_seed_has():
    one = arms_over_rates()
    for r in one["runs"]:
        if r["run"].startswith("plain") and r["seed"] == 2:
            r["val/loss"] = 4.0
    assert (
        "standard (+0.00 to +0.75): not with each seed at the same rates (4)" in draw("trainability", one)[1]
    )


def test_of_the_map_blue_is_below_silent_and_orange_above_and_the_figures_can_be_read():
    svg, _ = draw("trainability", arms_over_rates())
    cells = re.findall(r'fill="(#\w+)"/>\n<text[^>]*>([−+][\d.]+|div\.)<', svg.partition(">validation")[0])
    by_figure = {words: fill for fill, words in cells}
    assert (
        by_figure["+3.25"] == css(ORANGE)
        and by_figure["−1.50"] == css(colour(-1.5, 3.25))
        and by_figure["div."] == css(ORANGE)
    )
    assert by_figure["+0.25"] == css(colour(0.25, 3.25))
    assert colour(0.0, 1.5) == (255, 255, 255)
    for loss in (0.1, 0.4, 0.9, 1.5):
        (red, _, blue), (other_red, _, other_blue) = colour(-loss, 1.5), colour(loss, 1.5)
        assert red < blue and other_red > other_blue and red < colour(-loss / 2, 1.5)[0]
    for tenth in range(-15, 16):
        ground = colour(tenth / 10, 1.5)
        bright = [v / 3294.6 if v <= 10 else ((v / 255 + 0.055) / 1.055) ** 2.4 for v in ground]
        bright = 0.2126 * bright[0] + 0.7152 * bright[1] + 0.0722 * bright[2] + 0.05
        assert (bright / 0.05 if on(ground) == "#000000" else 1.05 / bright) >= 4.5


def test_a_depth_that_is_added_is_a_further_row_of_the_map():
    one = arms_over_rates()
    one["runs"] += [r | {"n_layer": 48} for r in one["runs"] if r["residual"] != "silent"]
    svg, alt = draw("trainability", one)
    assert place(svg, "48")[1] - place(svg, "4")[1] == ROW and "at every rate (4, 48)" in alt


def test_the_dose_is_a_bar_from_where_it_is_too_little_to_where_it_is_enough():
    curves = {("dose", 4, 0.005): 0.75, ("dose", 16, 0.005): 1.0, ("rates", 4, 0.001): 0.5}
    runs = [
        run(f"{grid}-scaled-a", 3.5 if weight < enough else 2.0, residual="scaled", **at)
        for (grid, layers, rate), enough in curves.items()
        for weight in (0.25, 0.5, 0.75, 1.0)
        for at in ({"n_layer": layers, "muon_lr": rate, "residual_scale": weight},)
    ]
    lower = {"n_layer": 4, "muon_lr": 0.005, "seed": 6}
    for weight, loss in ((0.0, 3.5), (0.25, 2.0)):  # another seed learns earlier
        runs.append(run("again-scaled-a", loss, residual="scaled", residual_scale=weight, **lower))
    svg, alt = draw("dose", result(*runs, run("silent-silent-a", 3.0, residual="silent")))
    low, high = place(svg, "0.2")[1], place(svg, "1")[1]

    def weight(height: float) -> float:
        return 0.2 + 0.8 * (low - 5 - height) / (low - high)

    wide, other, deep, *_ = rects(svg, LIGHT.arms["pre"])
    thin, *_ = rects(svg, LIGHT.arms["other"])
    spans = [(weight(box[3]), weight(box[1])) for box in (wide, other, deep, thin)]
    expected = ((0.5, 0.75), (0.0, 0.25), (0.75, 1.0), (0.25, 0.5))
    assert spans == [pytest.approx(span, abs=1e-3) for span in expected]
    assert wide[::2] == other[::2] and wide[0] < place(svg, "4")[0] < wide[2] and thin[2] < wide[0]
    law = lines(svg, LIGHT.soft)
    (curve,) = [line for line in law if len(line) > 2]
    for layers, predicted in (("4", 0.3162), ("16", 0.7499)):
        height = min(curve, key=lambda point: abs(point[0] - place(svg, layers)[0]))[1]
        assert weight(height) == pytest.approx(predicted, abs=0.01)
    assert "0.32 and 0 to 0.75 at 4; 0.75 and 0.75 to 1 at 16 layers" in alt
    assert "0.25 to 0.5 at 4 layers and rate 0.001" in alt


def test_a_seed_that_diverged_is_a_cross_and_not_in_the_mean():
    muon = {"optimizer": "muon", "muon_lr": 0.02}
    ends = {("none", 1): (3.0, 2.5), ("none", 9): (3.0, None), ("pre", 1): (2.25,), ("depth_mup", 9): (2.0,)}
    runs = [
        run(f"a-{arm}-b", loss, residual=arm, n_layer=n, **muon)
        for (arm, n), losses in ends.items()
        for loss in losses
    ]
    runs.append(run("silent-silent-a", 2.75, residual="silent", **muon))
    svg, alt = draw("thousand", result(*runs, run("x-pre-c", 9.0, **muon | {"optimizer": "adamw"})))
    assert "without skips: 2.75 at 1, 3.00 at 9, 1 of 2 seeds diverged at 9" in alt and "9.00" not in alt
    ((_, first), (end, last)), *_ = lines(svg, LIGHT.arms["none"])
    seeds = dots(svg, LIGHT.arms["none"])
    assert len(seeds) == 3 and first == pytest.approx((seeds[0][1] + seeds[1][1]) / 2, abs=0.1)
    assert (end, last) == seeds[2] and place(svg, "×")[0] == end and place(svg, "×")[1] < last
    control = [line for line in lines(svg, LIGHT.soft) if line[0][1] == pytest.approx(first, abs=0.1)]
    assert control and "Dotted: no blocks 2.75, letter frequencies 3.10, pairs of letters 2.40" in alt


def test_a_rate_is_chosen_on_the_training_text_by_the_seeds_that_all_rates_have():
    """One that diverged counts before any loss; a rate with further seeds shows them all."""
    losses = {  # rate -> seed -> training and validation loss
        0.02: {1: (2.5, 2.25), 2: (2.0, 2.75)},
        0.06: {1: (2.625, 2.0)},
        0.2: {1: (None, None)},
    }
    runs = [
        run("a-pre-b", val, train, residual="pre", n_layer=n, optimizer="muon", muon_lr=rate, seed=seed)
        for n in (1, 9)
        for rate, seeds in losses.items()
        for seed, (train, val) in seeds.items()
    ]
    runs.append(run("silent-silent-a", 2.75, residual="silent", optimizer="muon", muon_lr=0.02))
    _, alt = draw("thousand", result(*runs))
    assert "with skips (pre): 2.50 at 1, 2.50 at 9. " in alt


def hops() -> dict:
    """Two seeds of two layers with skips, at the better of two rates, and a stack without skips."""
    shares = [
        ("pre", 2, 0.02, 1.0, (1.0, 0.5)),
        ("pre", 2, 0.02, 1.5, (0.75, 0.25)),
        ("pre", 2, 0.2, 1.2, (0, 0)),
    ]
    shares += [
        ("pre", 1, 0.02, 1.0, (0.5, 0.25)),
        ("none", 1, 0.02, 1.0, (0.25, 0.125)),
        ("none", 2, 1, None, ()),
    ]
    runs = [
        {"residual": arm, "init": "wiring", "n_layer": n, "muon_lr": rate, "train/loss": loss}
        | {"seed": 2 if loss == 1.5 else 1}
        | ({"accuracy": dict(zip("12", share, strict=True))} if share else {})
        for arm, n, rate, loss, share in shares
    ]
    return {"runs": runs}


def test_each_number_of_hops_is_a_panel_with_the_shares_of_the_best_rate():
    svg, alt = draw("khop", hops())
    assert "1 hop: without skips, standard 0.25 at 1, with skips 0.50 at 1, 0.88 at 2 layers; 2 hops" in alt
    low, high = place(svg, "0")[1] - 5, place(svg, "1")[1] - 5
    one, two = svg.partition(">2 hops<")[::2]
    for panel, mean, seeds in ((one, 0.875, [0.5, 1.0, 0.75]), (two, 0.375, [0.25, 0.5, 0.25])):
        colour = LIGHT.arms["pre"]
        drawn = [(low - y) / (low - high) for _, y in dots(panel, colour)]
        assert drawn == pytest.approx(seeds, abs=1e-3)
        assert (low - lines(panel, colour)[0][1][1]) / (low - high) == pytest.approx(mean, abs=1e-3)
        guess = [
            line
            for line in lines(panel, LIGHT.soft)
            if line[0][1] == pytest.approx(low - (low - high) / 6, abs=0.1)
        ]
        assert len(guess) == 1


def test_of_a_result_that_is_missing_a_page_says_so_and_nothing_is_drawn(tmp_path, monkeypatch):
    entry = Picture(lambda theme, *results: "drawn", lambda *results: "seen")
    monkeypatch.setattr(door, "pictures", lambda: {"one": (tmp_path, entry)})
    page = tmp_path / "page.md"
    line = f"Not measured yet; `experiments/{tmp_path.name}/README.md` has the command of result.json.\n"
    assert door.picture("one", page) == line and door.drawn() == {}
    (tmp_path / "result.json").write_text("{}", encoding="utf-8")
    assert 'alt="seen"' in door.picture("one", page)
    assert door.drawn() == {tmp_path / f"one-{theme}.svg": "drawn" for theme in ("light", "dark")}
