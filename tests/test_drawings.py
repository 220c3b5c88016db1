"""The pictures of the texts, drawn from numbers that are written by hand: what is where, and how high."""

import re

import pytest
from runs_by_hand import write_run

from experiments.__main__ import pictures
from experiments.depth import apart
from experiments.drawing import THEMES, Axis, power, text
from experiments.laptop.first import colour_of
from reslab.report.facts import load

LIGHT = THEMES["light"]
BASELINES = {"uniform": 5.0, "unigram": {"train": 3.2, "val": 3.1}, "bigram": {"train": 2.4, "val": 2.5}}


def lines(svg: str, colour: str) -> list[list[tuple[float, ...]]]:
    """The points of every line of a colour."""
    drawn = re.findall(r'<path d="M([^"]*)"[^>]*stroke="([^"]*)"', svg)
    paths = (points.split("L") for points, its_colour in drawn if its_colour == colour)
    return [[tuple(map(float, point.split())) for point in points] for points in paths]


def test_an_axis_puts_its_ends_and_the_middle_where_they_belong():
    axis = Axis(1e-4, 1, 300, 100, log=True)
    assert [axis(v) for v in (1e-4, 1e-2, 1)] == [300, 200, 100]
    assert axis(1e-9) == 300 and axis(50) == 100  # what lies beyond stays at the edge
    assert Axis(0, 10, 50, 150)(2.5) == 75


def test_numbers_are_written_as_people_write_them():
    assert [power(v) for v in (99.6, 151.0, 999.0, 2500.0)] == ["100", "150", "1000", "2.5×10³"]
    written = [power(v) for v in (0.318, 15.1, 1.35e-17, 0.0, 0.012, 2e-3)]
    assert written == ["0.32", "15", "1.4×10⁻¹⁷", "0", "0.012", "2.0×10⁻³"]


def test_words_of_a_run_can_not_become_markup():
    assert "&lt;b&gt; &amp;" in text(0, 0, "<b> &", "red")


def test_labels_that_would_lie_on_each_other_are_moved_apart():
    moved = apart({"low": (100, "a"), "alike": (103, "b"), "far": (200, "c")})
    assert {name: height for name, (height, _) in moved.items()} == {"low": 100, "alike": 121, "far": 200}


def over_two_depths() -> dict:
    """Stacks of 1 and 24 layers with two seeds. With skips 0.05 is best at 24 layers, and a rate that only
    one seed has is lower still."""
    at_005 = {"skips": ("pre", 2.25, 2.5), "plain": ("none", 2.5, 3.25), "start": ("none", 2.375, 3.0)}
    rows = [
        (f"{grid}-{arm}-a", arm, n, 0.005, seed, loss)
        for grid, (arm, *ends) in at_005.items()
        for n, loss in zip((1, 24), ends, strict=True)
        for seed in (1, 2)
    ]
    rows += [("skips-rates-pre-a", "pre", 24, 0.05, 1, 1.75), ("skips-rates-pre-a", "pre", 24, 0.05, 2, 2.25)]
    rows += [("skips-rates-pre-a", "pre", 1, 0.05, seed, 3.0) for seed in (1, 2)]
    rows += [("skips-pre-a", "pre", 24, 0.0087, 1, 1.0)]
    rows += [("silent-silent-a", "silent", 1, 0.005, 1, 3.0)]
    names = ("run", "residual", "n_layer", "muon_lr", "seed", "train/loss")
    runs = [{"step": 9} | dict(zip(names, row, strict=True)) for row in rows]
    return {"runs": runs, "baselines_nats": BASELINES}


def test_over_depth_the_best_rates_stand_beside_one_rate_and_each_seed_is_a_dot():
    result, (_, picture) = over_two_depths(), pictures()["degradation"]
    svg = picture.draw(LIGHT, result)
    _, best, one = (line for line in lines(svg, LIGHT.arms["pre"]) if len(line) == 2)  # first the legend's
    found = re.findall(rf'cx="([\d.]+)" cy="([\d.]+)" r="4" fill="{LIGHT.arms["pre"]}"', svg)
    seeds = [(float(x), float(y)) for x, y in found]
    assert best[0][0] < best[1][0] < one[0][0] < one[1][0]
    per_nat = (one[0][1] - one[1][1]) / (2.25 - 2.5)  # downward, as pixels go
    low, high = best[1][1] - 0.25 * per_nat, best[1][1] + 0.25 * per_nat
    assert seeds[2:4] == [(best[1][0], pytest.approx(at, abs=0.2)) for at in (low, high)]
    assert best[0][1] == one[0][1] and best[1][1] == pytest.approx(one[1][1] - 0.5 * per_nat, abs=0.2)
    flat = [line for line in lines(svg, LIGHT.soft) if line[0][1] == line[-1][1] and len(line) == 2]
    for known in (3.0, 3.2):
        at = one[1][1] + (known - 2.5) * per_nat
        ends = [(line[0][0], line[1][0]) for line in flat if line[0][1] == pytest.approx(at, abs=0.2)]
        assert ends == [(best[0][0], best[1][0]), (one[0][0], one[1][0])]
    alt = picture.alt(result)
    assert "with skips 2.25 at 1, 2.00 at 24, best rate 0.005 to 0.05." in alt
    assert "all at the rate 0.005: without skips, standard from 2.50 to 3.25;" in alt
    assert "no blocks 3.00, letter frequencies 3.20." in alt


def two_widths(loss: float) -> dict:
    """Stacks of 3 and 12 layers, 8 and 32 wide; what has more layers ends higher, what is wide lower."""
    runs = [
        {"run": f"{grid}-{arm}-a", "residual": arm, "n_layer": n, "n_embd": width, "dtype": dtype}
        | {"train/loss": loss + more + n / 48 - width / 128 + noise}
        for grid, arm, more in (("skips", "pre", 0.0), ("start", "none", 0.5), ("plain", "none", 1.0))
        for n in (12, 3)
        for width, dtype in ((32, "bfloat16"), (8, "float32"))
        for noise in (-0.125, 0.125)
    ]
    silent = {"run": "silent-silent-a", "residual": "silent", "n_layer": 1}
    for width, dtype in ((32, "bfloat16"), (8, "float32")):
        runs.append(silent | {"n_embd": width, "dtype": dtype, "train/loss": 3.0 - width / 128})
    return {"runs": runs, "baselines_nats": BASELINES}


def test_over_the_width_two_depths_are_told_apart_in_a_panel_for_each_corpus():
    results, (_, picture) = (two_widths(2.0), two_widths(2.25)), pictures()["widths"]
    svg = picture.draw(LIGHT, *results)
    _, *stdlib_and_other = (line for line in lines(svg, LIGHT.arms["pre"]) if len(line) == 2)
    shallow, deep, other, _ = stdlib_and_other
    unigram, control = (
        [line for line in lines(svg, LIGHT.soft) if line[0][1] == pytest.approx(y, abs=0.5)]
        for y in heights_of(svg, shallow)
    )
    assert len(unigram) == 2 and len(control) == 2  # in both panels
    per_nat = (shallow[1][1] - shallow[0][1]) / (8 - 32) * 128
    assert deep[0][1] - shallow[0][1] == pytest.approx(9 / 48 * per_nat, abs=0.2)
    assert other[0][1] - shallow[0][1] == pytest.approx(0.25 * per_nat, abs=0.2)
    assert deep[0][0] - shallow[0][0] == 9 and other[0][0] - shallow[0][0] == 440
    dashed = re.findall(rf'd="M([\d.]+) [^>]*{LIGHT.arms["pre"]}"[^>]*dasharray="7 7"', svg)
    assert [float(x) for x in dashed] == [shallow[0][0], other[0][0]]
    first, second, *_ = re.findall(rf'cy="([\d.]+)" r="4" fill="{LIGHT.arms["pre"]}"', svg)
    assert float(second) - float(first) == pytest.approx(0.25 * per_nat, abs=0.2)
    alt = picture.alt(*results)
    assert "at the widths 8, 32 (32 in bfloat16)" in alt and ">width (32 in bfloat16)<" in svg
    assert "Python's standard library: 3 layers with skips 2.00, 1.81;" in alt
    assert "tiny Shakespeare: 3 layers with skips 2.25, 2.06;" in alt
    assert "no blocks 2.94, 2.75; letter frequencies 3.20." in alt


def heights_of(svg: str, line: list[tuple[float, ...]]) -> tuple[float, float]:
    """Where the unigram baseline, 3.2, and the narrow control, 2.9375, have to lie beside a line from 2.0 to
    1.8125."""
    per_nat = (line[0][1] - line[1][1]) / (2.0 - 1.8125)
    return line[0][1] + 1.2 * per_nat, line[0][1] + 0.9375 * per_nat


def test_of_the_study_the_best_rate_is_drawn():
    losses = {("pre", 1, 0.1): 2.5, ("pre", 1, 0.01): 2.25, ("pre", 4, 0.1): 2.25, ("none", 1, 0.1): 3.0}
    runs = [
        {"run": f"lr-{arm}-x", "residual": arm, "n_layer": n, "learning_rate": lr, "train/loss": loss}
        for (arm, n, lr), loss in losses.items()
    ]
    runs += [
        runs[0] | {"run": "silent-silent-x", "residual": "silent", "train/loss": loss} for loss in (2.5, 3)
    ]
    result, (_, picture) = {"runs": runs, "baselines_nats": BASELINES}, pictures()["study_depth"]
    svg = picture.draw(LIGHT, result)
    ((one, four),) = lines(svg, LIGHT.arms["pre"])
    assert one[1] == four[1] and "with skips it is 2.25 at 1, 2.25 at 4" in picture.alt(result)
    assert "no blocks 2.75," in picture.alt(result) and ">no blocks 2.75<" in svg


def test_the_paths_of_a_plain_stack_are_one_dot_at_the_right_end():
    _, picture = pictures()["paths"]
    pre, none = {"paths": [0.5, 2.0, 1e-9]}, {"paths": [0.0, 0.0, 1e-12]}
    svg = picture.draw(LIGHT, pre, none)
    assert len(re.findall(rf"<circle[^>]*{LIGHT.arms['none']}", svg)) == 1 and not lines(
        svg, LIGHT.arms["none"]
    )
    ((_, first), (_, highest), (_, lowest)) = lines(svg, LIGHT.arms["pre"])[0]
    assert highest < first < lowest
    assert "the largest, 2, has passed 1" in picture.alt(pre, none) and "all 2, 1.0×10⁻¹²" in picture.alt(
        pre, none
    )


@pytest.fixture
def both(tmp_path):
    """Two runs of two layers: the gradient of one stays, that of the other fades by 1e-3 at each sublayer."""
    runs = []
    for arm, factor, loss in (("pre", 1.0, 1.5), ("none", 1e-3, 3.1)):
        rows = []
        for step in (0, 10, 20):
            probes = {"resid_gradient": [0.5 * factor**k for k in range(4, -1, -1)]}
            probes |= {"token_diversity": [factor**k for k in range(3)]}
            probes |= {"skip_gradient": [0.25 * (arm == "pre")] * 4, "branch_gradient": [0.125] * 4}
            rows.append({"step": step} | {f"probe/{name}": values for name, values in probes.items()})
            rows.append({"step": step, "batch/loss": 5 - step / 10})
        end = {"step": 20, "train/loss": loss, "val/loss": loss, "val/loss_se": 0.01, "status": "finished"}
        written = "    if x < 1:\n ?\n" + "def main(argv):" * 9
        rows.append(end | {"sample/prompt": "", "sample/text": written})
        facts = {"baselines_nats": BASELINES}
        runs.append(load(write_run(tmp_path, arm, rows=rows, facts=facts, residual=arm, n_layer=2)))
    return runs


def test_a_gradient_that_fades_falls_by_the_same_at_each_layer(both):
    svg = pictures()["reach"][1].draw(LIGHT, both)
    ours, theirs = (lines(svg, LIGHT.arms[arm])[0] for arm in ("pre", "none"))
    assert len({y for _, y in ours}) == 1 and len(ours) == 3  # before each layer and after the last
    assert theirs[0][1] - theirs[1][1] == pytest.approx(theirs[1][1] - theirs[2][1], abs=0.2)
    assert theirs[0][1] > theirs[2][1] == ours[2][1]


def test_tokens_that_become_alike_are_drawn_layer_by_layer(both):
    picture = pictures()["diversity"][1]
    theirs = lines(picture.draw(LIGHT, both), LIGHT.arms["none"])[0]
    assert theirs[0][1] < theirs[1][1] < theirs[2][1]
    assert "1.0×10⁻⁶ and 1.0×10⁻⁶ after the last layer" in picture.alt(both)


def test_the_first_picture_has_a_frame_for_each_step_and_ends_on_the_last(both):
    picture = pictures()["first"][1]
    silent = {"runs": [{"train/loss": loss, "val/loss": 9.0} for loss in (2.5, 3.0)]}
    svg = picture.draw(LIGHT, both, silent)
    frames = re.findall(r'<g class="f(\d)"[^>]*>(.*?)</g>', svg, re.DOTALL)
    assert [number for number, _ in frames] == ["0", "1", "2"]
    assert "step 0<" in frames[0][1] and "layer 0: 5.0×10⁻¹³" in frames[2][1]
    colours = re.findall(r'<rect[^>]*fill="([^"]*)"', frames[2][1])
    assert colours[:2] == [colours[2]] * 2 and colours[3] != colours[5]  # alike with skips, and not without
    assert colour_of(1e-16, Axis(1e-16, 1, 0, 1, log=True)) == "#440154"
    assert ".f2{visibility:visible}" in svg and "prefers-reduced-motion:no-preference" in svg
    assert "with skips: 1.50" in svg and "letter frequencies alone: 3.20" in svg
    (_, top), (_, bottom) = (ends[0] for ends in lines(svg, LIGHT.ink)[:2])
    assert top < bottom and "without blocks: 2.75" in svg  # the lower loss has the lower line
    assert "    if x &lt; 1:" in svg and "> ?<" not in svg  # a line of one letter says nothing
    assert picture.alt(both, silent).startswith(
        "2 layers with skips learn. The same 2 layers without them do not."
    )


def test_a_block_shows_what_comes_through_its_skip_and_through_its_branch(both):
    svg = pictures()["block"][1].draw(LIGHT, both)
    left, right = svg.split(">Without skips<")
    assert ">0.25<" in left and ">0.12<" in left and "no skip" not in left
    assert "no skip" in right and ">0.25<" not in right
