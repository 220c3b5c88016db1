"""The pictures of dots in rows, from results that are written by hand: what lies where, and beside what."""

import re

import pytest
from test_drawings import LIGHT, lines
from test_drawings_experiments import dots, made
from test_tables import result, run


def heights(svg: str, words: str) -> list[float]:
    """Where words stand, in the order in which they are drawn: the middle of their rows."""
    return [float(y) - 5 for y in re.findall(rf'<text x="[^"]*" y="([^"]*)"[^>]*>{re.escape(words)}<', svg)]


def scale(svg: str):
    """From pixels to a loss, by the two dotted lines: `silent` and the unigram baseline, 3.1."""
    silent, unigram = (float(x) for x in re.findall(r'd="M([\d.]+) [^>]*stroke-dasharray="2 5"', svg))
    control = float(re.search(r">silent ([\d.]+)<", svg)[1])
    return lambda x: control + (x - silent) * (3.1 - control) / (unigram - silent)


def choices() -> dict:
    """Ten choices of skips with two seeds; the last but one has another best rate, and the last diverged."""
    plain = {"attn_residual": "", "mlp_residual": "", "skip_blocks": "every:3", "muon_lr": 0.1}
    arms = [{"residual": "pre"}, {"residual": "block_skip"}, {"attn_residual": "none"}]
    arms += [{"mlp_residual": "none"}, {"residual": "none"}]
    blocks = ("every:2", "every:3", "every:4", "first:6", "last:6")
    arms += [{"residual": "partial_skips", "skip_blocks": which} for which in blocks]
    runs = [run("x", 2.0 + k / 8 + n, 2.5, **plain | a) for k, a in enumerate(arms) for n in (0, 0.125)]
    runs += [run("x", 2.5, train, **plain | arms[3] | {"muon_lr": 0.2}) for train in (1.0, 2.0)]
    runs = [r | {"train/loss": None, "val/loss": None} if r["skip_blocks"] == "last:6" else r for r in runs]
    return result(*runs, run("silent-silent-a", 2.75, **plain | {"residual": "silent"}))


def test_each_choice_of_skips_is_a_row_of_its_seeds_at_its_best_rate():
    svg, alt = made("which_skip", choices())
    loss = scale(svg)
    (every, attention, none) = (heights(svg, name)[0] for name in ("all", "attention", "none"))
    assert [(loss(x), y) for x, y in dots(svg, LIGHT.arms["pre"])] == [
        (pytest.approx(2.0, abs=1e-2), every),
        (pytest.approx(2.125, abs=1e-2), every),
    ]
    assert {y for _, y in dots(svg, LIGHT.arms["none"])} == {none}
    assert [loss(x) for x, y in dots(svg, LIGHT.arms["other"]) if y == attention] == pytest.approx(
        [2.5, 2.5], abs=1e-2
    )  # at 0.2, where training text chooses, and not at 0.1
    assert ">2.50 (0.2*)<" in svg and ">2.06 (0.1)<" in svg and heights(svg, "2 of 2 diverged (0.1)")
    assert "Dotted: silent 2.75, unigram 3.10." in alt and "attention, 12 skips, 2.50" in alt
    below = "all; attention; MLP; one around attention and MLP together (block_skip)"
    assert f"Below silent: {below}; every second block; none." in alt


def starts() -> dict:
    """Each start and recipe at two rates; the loss tells which it is."""
    rates = {"learning_rate": 1e-2, "block_lr": 0.0, "muon_lr": 5e-3}
    silent = {"residual": "silent"}
    runs = [run("silent-silent-a", 2.75, 2.7, **rates | silent)]
    runs += [run("silent-silent-a", 2.0, 2.8, **rates | silent | {"learning_rate": 0.1})]
    recipes = ("adamw", "learning_rate"), ("adamw-slow", "block_lr"), ("muon", "learning_rate")
    for k, (recipe, setting) in enumerate((*recipes, ("muon-slow", "muon_lr"))):
        for j, init in enumerate(("wiring", "orthogonal", "shared_qk", "self")):
            for rate, train in ((0.1, 2.0), (0.2, 2.5)):
                own = rates | {"init": init, setting: rate, "residual": "none"}
                runs += [run(f"plain-{recipe}-none-x", 3 - j / 8 - k / 32 + rate - 0.1, train, **own)]
        own = rates | {"init": "wiring", setting: 0.1}
        runs += [run(f"skips-{recipe}-pre-x", val - k / 32, 2.0, **own) for val in (2.25, 2.5)]
    return result(*runs)


def test_of_the_ladder_each_start_has_a_row_for_each_recipe():
    svg, alt = made("ladder", starts())
    loss = scale(svg)
    recipes = ["AdamW, one rate", "AdamW, slow blocks", "Muon, one rate", "Muon, slow blocks"]
    rows = [heights(svg, recipe) for recipe in recipes]
    assert all(len(of_recipe) == 5 for of_recipe in rows)
    repaired = [(pytest.approx(2.625 - k / 32, abs=1e-2), of[3]) for k, of in enumerate(rows)]
    assert [(loss(x), y) for x, y in dots(svg, LIGHT.arms["other"])] == repaired
    skips = dots(svg, LIGHT.arms["pre"])
    assert [y for _, y in skips] == [of[4] for of in rows for _ in range(2)]
    assert [loss(x) for x, _ in skips[:2]] == pytest.approx([2.25, 2.5], abs=1e-2)
    ranges = [line for line in lines(svg, LIGHT.arms["pre"]) if len(line) == 2]
    assert [line[0] for line in ranges] == skips[::2] and [line[1] for line in ranges] == skips[1::2]
    plain = [loss(x) for x, y in dots(svg, LIGHT.arms["none"]) if y == rows[1][2]]
    assert plain == pytest.approx([3 - 2 / 8 - 1 / 32], abs=1e-2)
    assert ">silent 2.75<" in svg and "silent at the best of its rates (0.01*), 2.75," in alt
    assert "with skips (pre): AdamW, one rate 2.38 (0.1)," in alt
