"""The picture of published numbers beside ours: what lies where, and on which axis."""

import re

import pytest
from test_drawings import LIGHT, lines
from test_drawings_experiments import dots, made
from test_mark_tables import two_wirings
from test_tables import result, run

AUTOPSIES = [{"paths": norms} for norms in ([0.5, 1.0, 10.0, 2.0, 0.9], [0, 9, 8, 7, 6], [0, 0, 0, 0, 1])]


@pytest.fixture
def picture():
    """Stacks of 3 and 48 layers with two seeds, paths past up to four branches, and two wirings."""
    losses = {"plain": ("none", 2.5, 3.5), "skips": ("pre", 2.25, 2.0), "start": ("none", 2.0, 2.0)}
    depths = [
        run(f"{grid}-{arm}-L{n}", 9.0, train=loss + more, residual=arm, n_layer=n, muon_lr=rate)
        for grid, (arm, *ends) in losses.items()
        for n, loss in zip((3, 48), ends, strict=True)
        for more, rate in ((0.125, 5e-3), (-0.125, 5e-3), (1.0, 8.7e-3))
    ]
    return made("marks", result(*depths), *AUTOPSIES, result(*two_wirings()))


def axis(svg: str, low: float, high: float, unit: str = "") -> tuple[float, float]:
    """The pixel of the lower of two ticks along the bottom, and how many there are to one of their unit."""
    at = {}
    for value in (low, high):
        (at[value],) = re.findall(rf'<text x="([\d.]+)" y="[^"]*"[^>]*middle">{value}{unit}<', svg)
    return float(at[low]), (float(at[high]) - float(at[low])) / (high - low)


def test_their_errors_and_our_losses_have_axes_of_their_own(picture):
    svg, alt = picture
    plain, skips = (
        [line for line in lines(svg, LIGHT.arms[arm]) if len(line) == 2] for arm in ("none", "pre")
    )
    _, theirs, ours = plain
    _, their_skips, our_skips, *_ = skips
    (percent,) = {float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>28<', svg)}
    (next_one,) = {float(y) for y in re.findall(r'y="([\d.]+)"[^>]*>27<', svg)}
    errors = [
        [28 - (y + 5 - percent) / (next_one - percent) for _, y in line] for line in (theirs, their_skips)
    ]
    assert errors[0] == pytest.approx([27.94, 28.54], abs=0.01)
    assert errors[1] == pytest.approx([27.88, 25.03], abs=0.01)
    assert theirs[1][0] < ours[0][0] == our_skips[0][0]
    two, three = (float(re.search(rf'y="([\d.]+)"[^>]*>{loss}<', svg)[1]) - 5 for loss in ("2.0", "3.0"))
    per_nat = two - three
    assert [2 + (two - y) / per_nat for _, y in ours] == pytest.approx([2.5, 3.5], abs=0.01)
    assert our_skips[0][1] - ours[0][1] == pytest.approx(0.25 * per_nat, abs=0.2)
    seeds = [y for x, y in dots(svg, LIGHT.arms["none"]) if x == ours[0][0]]
    assert seeds[1] - seeds[0] == pytest.approx(0.25 * per_nat, abs=0.2)  # at the rate of all alone
    assert "plain 27.94 at 18, 28.54 at 34; with skips 27.88 at 18, 25.03 at 34." in alt
    assert "plain 2.50 at 3, 3.50 at 48; with skips 2.25 at 3, 2.00 at 48." in alt


def test_paths_are_shares_of_the_length_that_each_has(picture):
    svg, alt = picture
    start, per_percent = axis(svg, 0, 100, "%")
    theirs, *ours = (
        [(float(x) - start) / per_percent for x in re.findall(r"([\d.]+) [\d.]+(?:L|$)", points)]
        for points in re.findall(r'<path d="M([^"]*)"[^>]*stroke-width="6"', svg)
    )
    assert theirs == pytest.approx([100 * 10 / 110, 100 * 34 / 110], abs=0.1)
    assert ours == [pytest.approx(ends, abs=0.1) for ends in ([25, 75], [25, 100], [100, 100])]
    largest = [(x - start) / per_percent for x, _ in dots(svg, LIGHT.ink)[:3]]
    assert largest == pytest.approx([50, 25, 100], abs=0.1)
    assert "whole length: 9% to 31%." in alt and "25% to 75% with the largest at 50%, 25% to 100%" in alt


def test_their_perplexities_lie_above_our_seeds_on_one_axis(picture):
    svg, alt = picture
    start, per_unit = axis(svg[svg.index("ReZero on") :], 0, 250)
    theirs, rezero = dots(svg, LIGHT.ink)[-3:], dots(svg, LIGHT.arms["other"])[1:]  # the legend's first
    words = [(x - start) / per_unit for x, _ in theirs]
    assert words == pytest.approx([243, 228, 211], abs=0.5)
    pre = dots(svg, LIGHT.arms["pre"])[-2:]
    assert [(x - start) / per_unit for x, _ in pre] == pytest.approx([200.4, 204.4], abs=0.5)
    assert [(x - start) / per_unit for x, _ in rezero] == pytest.approx([9, 13], abs=0.5)
    assert theirs[0][1] < pre[0][1] < theirs[1][1] < theirs[2][1] < rezero[0][1]  # each below its own
    assert "pre-norm of 12 layers 243 and here 200, 204; ReZero of 128 layers 211 and here 9, 13." in alt
