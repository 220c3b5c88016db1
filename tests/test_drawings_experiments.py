"""The pictures of theory, causes, lesions and wirings, from numbers written by hand: what is where."""

import math
import re

import pytest
from runs_by_hand import write_run
from test_drawings import LIGHT, lines
from test_tables import BASELINES, league

from experiments.__main__ import pictures
from reslab.report.facts import load


def dots(svg: str, colour: str, radius: int = 4) -> list[tuple[float, float]]:
    found = re.findall(rf'<circle cx="([\d.]+)" cy="([\d.]+)" r="{radius}" fill="{colour}"', svg)
    return [(float(x), float(y)) for x, y in found]


def made(name: str, *results) -> tuple[str, str]:
    """A picture in light colours, and its alternative text."""
    _, picture = pictures()[name]
    return picture.draw(LIGHT, *results), picture.alt(*results)


@pytest.fixture
def fresh():
    """Two seeds of fresh stacks: the first is as predicted, the second has a tenth, a half or twice of it."""
    shares = [k / 24 for k in range(25)]
    predicted = {"token_diversity": [10 ** (-k / 8) for k in range(25)], "position0_share": shares}
    predicted["resid_rms"] = [0.1 + k / 100 for k in range(25)]
    runs = []
    for arm, norm in (("pre", 0.25), ("none", 0.5), ("rezero", 0.2)):
        for layers in (6, 24):
            for seed, (tokens, stream) in enumerate(((1, 1), (0.1, 2))):
                run = {"residual": arm, "n_layer": layers, "resid_gradient": [norm * (1 + seed), 9.0, 0.125]}
                run["token_diversity"] = [tokens * value for value in predicted["token_diversity"]]
                run["position0_share"] = [value / (1 + seed) for value in shares[::-1]]
                run["resid_rms"] = [stream * value for value in predicted["resid_rms"]]
                runs.append(run)
    return {"predicted": predicted, "runs": runs}


def test_tokens_lie_on_the_prediction_where_they_are_as_predicted(fresh):
    svg, alt = made("theory_tokens", fresh)
    diversity, share = [line for line in lines(svg, LIGHT.ink) if len(line) == 25]
    seeds = dots(svg, LIGHT.arms["none"], 3)
    left, right = ([seeds[k : k + 25] for k in (start, start + 25)] for start in (0, 50))
    assert left[0] == diversity and right[0] == share
    decade = diversity[0][1] - diversity[8][1]
    assert all(
        dot[1] - at[1] == pytest.approx(-decade, abs=0.2) for dot, at in zip(left[1], diversity, strict=True)
    )
    assert share[0][1] > share[-1][1] and right[1][-1][1] == pytest.approx(
        (share[0][1] + share[-1][1]) / 2, abs=0.1
    )
    assert (
        "0.75 and 0.41 behind 1" in alt and "25% and 19% behind 6" in alt and "100% and 75% behind 24" in alt
    )


def test_a_stream_that_is_twice_the_prediction_is_drawn_twice_as_high(fresh):
    svg, alt = made("theory_stream", fresh)
    (predicted,) = [line for line in lines(svg, LIGHT.ink) if len(line) == 25]
    seeds = dots(svg, LIGHT.arms["pre"], 3)
    assert seeds[:25] == predicted
    assert all(
        330 - seeds[25 + k][1] == pytest.approx(2 * (330 - y), abs=0.2) for k, (_, y) in enumerate(predicted)
    )
    assert "0.160 and 0.240 behind 6" in alt


def test_the_gradient_of_a_silent_block_is_beside_that_behind_the_last_layer(fresh):
    svg, alt = made("theory_gradient", fresh)
    places = {arm: [y for _, y in dots(svg, LIGHT.arms[arm])] for arm in ("pre", "none", "other")}
    (quarter, half, *_), (a_half, one, *_) = places["pre"], places["none"]
    assert half == a_half and quarter - half == pytest.approx(half - one, abs=0.2)  # twice is one step
    predicted = lines(svg, LIGHT.ink)[0]
    assert predicted[0][1] == predicted[1][1] == pytest.approx(quarter + (quarter - half), abs=0.2)  # 0.125
    assert "with skips 0.38 at 6, 0.38 at 24" in alt and "behind the last layer, 0.12." in alt


def test_the_causes_are_four_lines_from_the_first_update_on_for_each_seed(tmp_path):
    runs = []
    for init in ("wiring", "self"):
        for slow in (0.0, 3e-4):
            looks = {0: 1.0 if init == "self" else 0.01, 10: 1e-4, 50: 1.0 if slow else 1e-6, 200: 1e-8}
            for seed in (1, 2):
                rows = [{"step": n, "probe/token_diversity": [1.0, v / seed**2]} for n, v in looks.items()]
                settings = {"init": init, "block_lr": slow, "residual": "none", "n_layer": 2, "seed": seed}
                runs.append(load(write_run(tmp_path, f"{init}-{slow}-{seed}", rows=rows, **settings)))
    svg, alt = made("causes", runs)
    top, bottom = 64, 330
    for start, init in ((bottom - (bottom - top) * 6 / 8, "none"), (top, "other")):
        one_rate, second, slow, _ = [line for line in lines(svg, LIGHT.arms[init]) if len(line) == 3]
        assert one_rate[0] == slow[0] == (66, pytest.approx(start, abs=0.1))  # update 0 is in it
        assert [y for _, y in (one_rate[1], one_rate[2], slow[2])] == pytest.approx(
            [(top + bottom) / 2, bottom - (bottom - top) / 4, top], abs=0.1
        )
        assert one_rate[1][0] - 66 == pytest.approx((one_rate[2][0] - 66) / 5, abs=0.1)
        assert second[1][1] - one_rate[1][1] == pytest.approx((bottom - top) * math.log10(4) / 8, abs=0.2)
    assert svg.count('stroke-dasharray="9 6"') == 6  # two lines of two seeds, and a piece of each at its name
    assert "Standard start, one rate: 2.5×10⁻³ to 0.01 at 0, 2.5×10⁻⁵ to 1.0×10⁻⁴ at 10," in alt
    assert "over the updates, 2 seeds each." in alt


def test_lesions_begin_at_no_block_and_no_rise():
    runs = [
        {"arm": arm, "learns": learns, "n_layer": 4, "random": rises}
        for arm, learns, rises in (
            ("pre", "all", [0.25, 0.5, 1.0, 1.5]),
            ("pre", 0, [9.0] * 4),
            ("none", "all", [2.0, 1.0, 3.0, 0.5]),
        )
    ]
    svg, alt = made("worth_lesions", {"runs": runs})
    for arm, rises in (("pre", [0, 0.25, 0.5, 1, 1.5]), ("none", [0, 2, 1, 3, 0.5])):
        (line,) = [line for line in lines(svg, LIGHT.arms[arm]) if len(line) == 5]  # not of one block alone
        assert line[0] == (60, 330) and [330 - y for _, y in line] == pytest.approx(
            [rise * 266 / 3 for rise in rises], abs=0.1
        )
    assert "with 1, 2 and all 4 blocks taken out at random: with skips (pre) 0.25, 0.50, 1.50" in alt


def test_a_block_alone_is_worth_what_it_lowers_the_loss_by_beside_its_own_seed():
    losses = {"no block": 3.0, 0: 2.5, 1: 2.75, 2: 3.25}
    runs = [
        {"arm": arm, "learns": learns, "seed": seed, "val/loss": loss + seed}
        for arm in ("pre", "none")
        for learns, loss in losses.items()
        for seed in (1, 2)
    ]
    svg, alt = made("worth_alone", {"runs": [*runs, {"arm": "silent", "learns": "all", "seed": 1}]})
    (line,) = [line for line in lines(svg, LIGHT.arms["pre"]) if len(line) == 3]
    unit = 266 / 0.8  # from -0.3 to 0.5
    assert [330 - y for _, y in line] == pytest.approx(
        [unit * (worth + 0.3) for worth in (0.5, 0.25, -0.25)], abs=0.1
    )
    assert "in nats: with skips (pre) -0.25 to 0.50; without skips, standard -0.25 to 0.50." in alt


@pytest.fixture
def wirings():
    """Four wirings whose seeds have a standard deviation of 0.1, and one of which a seed diverged."""
    runs = league("pre", 0.1, [2.4, 2.5, 2.6]) + league("none", 0.1, [2.9, 3.0, 3.1])
    runs += league("post", 0.1, [2.5, 2.6, 2.7]) + league("silent", 0.0, [2.7, 2.8, 2.9])
    runs += league("keel", 0.1, [None, 2.6, 2.7])
    svg, alt = made("wirings", {"runs": runs, "baselines_nats": BASELINES})
    ((pre, _),), ((none, _),) = (dots(svg, LIGHT.arms[arm], 5) for arm in ("pre", "none"))
    return svg, alt, lambda x: 2.5 + (x - pre) * 0.5 / (none - pre)  # from pixels to a loss


def test_a_wiring_is_its_seeds_and_the_mean_in_the_middle_of_its_interval(wirings):
    svg, _, loss = wirings
    names = re.findall(r'<text x="172" y="([\d.]+)"[^>]*>(\w+)<', svg)
    assert [name for _, name in names] == ["pre", "post", "silent", "none", "keel"]
    rows = {name: float(y) - 5 for y, name in names}
    assert list(rows.values()) == sorted(rows.values())
    assert [(loss(x), y) for x, y in dots(svg, LIGHT.arms["other"], 5)[:-1]] == [
        (pytest.approx(mean, abs=1e-3), rows[name]) for name, mean in (("post", 2.6), ("silent", 2.8))
    ]  # the last one is the legend's
    seeds = [[loss(x) for x, at in dots(svg, LIGHT.soft, 3) if at == y] for y in rows.values()]
    assert seeds[0] == pytest.approx([2.4, 2.5, 2.6], abs=1e-3)
    assert seeds[4] == pytest.approx([2.6, 2.7], abs=1e-3) and svg.count("1 of 3 seeds diverged") == 1
    for arm, mean in (("pre", 2.5), ("none", 3.0)):
        (((left, y), (right, _)),) = lines(svg, LIGHT.arms[arm])
        reach = 2 * 0.1 / 3**0.5
        assert y == rows[arm] and [loss(left), loss(right)] == pytest.approx(
            [mean - reach, mean + reach], abs=1e-3
        )


def test_the_band_around_pre_holds_what_is_called_equal_and_three_lines_are_dotted(wirings):
    svg, alt, loss = wirings
    left, width = map(
        float, re.search(rf'<rect x="([\d.]+)" [^>]*width="([\d.]+)"[^>]*{LIGHT.rule}', svg).groups()
    )
    noise = 8**0.5 * 0.1 / 3**0.5
    assert [loss(left), loss(left + width)] == pytest.approx([2.5 - noise, 2.5 + noise], abs=1e-3)
    dotted = re.findall(r'd="M([\d.]+) [^>]*stroke-dasharray="2 5"', svg)
    assert [loss(float(x)) for x in dotted] == pytest.approx([2.5, 2.8, 3.1], abs=1e-3)
    assert f"± {0.2 / 3**0.5:.3f}: pre 2.50, post 2.60, silent 2.80, none 3.00, keel diverged." in alt
    assert "Equal to pre: post." in alt and "unigram baseline, 3.10" in alt
