"""The tables of the texts from results that are written by hand, number by number."""

import json
import re

import pytest

from experiments.__main__ import tables
from experiments.reliability.table import FAULTS
from experiments.tables import read_result

BASELINES = {"uniform": 5.0, "unigram": {"train": 3.3, "val": 3.1}, "bigram": {"train": 2.2, "val": 2.4}}


def made(name: str, *results: dict) -> tuple[list[list[str]], str]:
    """A table made from some results: its rows, and the lines under it."""
    lines = tables()[name][1].make(*results).splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return rows[:1] + rows[2:], "\n".join(line for line in lines if line and not line.startswith("|"))


def result(*runs: dict, command: str = "compare.py a b") -> dict:
    origin = {"command": command, "date": "2026-01-02", "machine": "a machine"}
    return origin | {"baselines_nats": BASELINES, "runs": list(runs)}


def run(name="r", val: float | None = 2.3, train: float | None = 2.0, **changes) -> dict:
    row = {"run": name, "residual": "pre", "n_layer": 4, "learning_rate": 1e-3, "step": 7, "seed": 5}
    return row | {"train/loss": train, "val/loss": val, "val/loss_se": 0.01} | changes


def probed(step: int) -> dict:
    return {
        "step": step,
        "gradient_norm": [step + 1.0, step + 20.0],
        "position0_share": 0.25 + step / 100,
        "qk_gradient": [step + 0.3, step + 400.0],
        "token_diversity": step + 0.5,
    }


def test_a_pair_is_compared_with_the_validation_baselines_and_the_control():
    control = run(val=2.8, train=2.7)
    del control["residual"]
    one = result(
        run(val=3.2, train=3.5, residual="none"), run(), command="compare.py a --json x/y.json --page p.html"
    )
    rows, note = made("deep", one, result(control))
    assert rows == [
        ["", "train loss", "val loss", "minus unigram", "minus bigram", "minus `silent`"],
        ["with skips (`pre`)", "2.000", "2.300", "-0.800", "-0.100", "-0.500"],
        ["without skips (`none`)", "3.500", "3.200", "+0.100", "+0.800", "+0.400"],
        ["no blocks (`silent`)", "2.700", "2.800", "-0.300", "+0.400", "+0.000"],
    ]
    assert "The unigram baseline is 3.300 (train) and 3.100 (val), the bigram baseline 2.400 (val)." in note
    assert "`python compare.py a`, 2026-01-02, a machine" in note


def test_a_pair_of_several_seeds_is_their_mean_and_range():
    control = {key: value for key, value in run(val=2.8, train=2.7).items() if key != "residual"}
    none = [run(val=val, train=3.5, residual="none") for val in (3.2, 3.4)]
    one = result(*none, run(val=2.3), run(val=2.5))
    rows, _ = made("deep", one, result(control, control | {"val/loss": 3.0}))
    assert [row[2:] for row in rows[1:]] == [
        ["2.400 (2.300 to 2.500)", "-0.700", "+0.000", "-0.500"],
        ["3.300 (3.200 to 3.400)", "+0.200", "+0.900", "+0.400"],
        ["2.900 (2.800 to 3.000)", "-0.200", "+0.500", "+0.000"],
    ]


def test_the_pair_with_one_start_is_both_arms():
    both = result(run(val=3.2, train=3.5, residual="none"), run(), run(val=2.5))
    expected = [
        ["with skips (`pre`)", "2.000 (2.000 to 2.000)", "2.400 (2.300 to 2.500)"],
        ["without skips (`none`)", "3.500", "3.200"],
    ]
    silent = run(val=2.75, train=2.5)
    del silent["residual"]
    expected.append(["no blocks (`silent`)", "2.500", "2.750"])
    assert made("unscaled", both, result(silent))[0][1:] == expected


def test_the_reach_is_what_the_probes_measured_in_their_order():
    """Each cell is the range of the seeds, or what they share."""
    one = result(
        run(residual="none", probed=[probed(9)]),
        run(probed=[probed(0), probed(2)]),
        run(probed=[probed(0)] * 2),
    )
    assert made("reach", one)[0][1:] == [
        ["`pre`", "0", "1.0e+00", "2.0e+01", "25%", "3.0e-01", "5.0e-01"],
        [
            "`pre`",
            "2",
            "1.0e+00 to 3.0e+00",
            "2.0e+01 to 2.2e+01",
            "25% to 27%",
            "3.0e-01 to 2.3e+00",
            "5.0e-01 to 2.5e+00",
        ],
        ["`none`", "9", "1.0e+01", "2.9e+01", "34%", "9.3e+00", "9.5e+00"],
    ]


def league(name: str, rate: float, losses: list, train: float = 2.0) -> list[dict]:
    """A wiring at one rate of its blocks, a run for each seed."""
    return [run(val=val, train=train, residual=name, block_lr=rate) for val in losses]


def test_a_wiring_has_the_rate_of_its_lowest_training_loss_and_what_is_in_the_noise_is_called_equal():
    runs = league("pre", 0.1, [2.4, 2.5, 2.6]) + league("pre", 0.2, [1.0, 1.0, 1.0], train=2.5)
    runs += league("post", 0.3, [2.6, 2.7, 2.8]) + league("post", 0.1, [2.0, 2.0, 2.0], train=2.1)
    runs += league("post", 0.2, [2.65, 2.65, 2.65], train=1.9) + league("silent", 0.0, [2.9, 3.0, 3.1])
    runs += league("none", 0.1, [None, 3.0, 3.0])
    rows, note = made("wirings", result(*runs))
    assert rows == [
        ["wiring", "block rate", "val loss", "minus `pre`", "minus `none`", "minus `silent`"],
        ["`pre`", "0.1*", "2.500", "", "-inf", "-0.500"],
        ["`post`", "0.2", "2.650", "+0.150", "-inf", "-0.350"],
        ["`silent`", "", "3.000", "+0.500", "-inf", ""],
        ["`none`", "0.1", "inf", "+inf", "", "+inf"],
    ]
    # Three groups that did not diverge: (0.02 + 0 + 0.02) / 6 is the variance.
    error = (0.04 / 6 / 3) ** 0.5
    assert f"± {2 * error:.3f}" in note and f"of {8**0.5 * error:.3f} or less is called equal" in note
    close = league("pre", 0.1, [2.4, 2.5, 2.6]) + league("post", 0.1, [2.5, 2.6, 2.7])
    rows, _ = made(
        "wirings", result(*close, *league("none", 0.1, [3.0] * 3), *league("silent", 0.0, [3.0] * 3))
    )
    assert [row[3] for row in rows[1:]] == ["", "+0.100, equal", "+0.500", "+0.500"]


def test_at_one_rate_for_all_weights_a_wiring_is_beside_pre_and_silent_at_its_best():
    losses = {"pre": (2.5, 2.75), "post": (3.0, None), "silent": (2.75, 3.25)}
    runs = [
        run(val=val, residual=name, learning_rate=rate)
        for name, of_rates in losses.items()
        for val, rate in zip(of_rates, (0.001, 0.003), strict=True)
    ]
    rows, _ = made("wirings_one_rate", result(*runs), result(), result())
    assert rows == [
        ["wiring", "rate 0.001", "rate 0.003", "best minus `pre`", "best minus `silent`"],
        ["`pre`", "2.500", "2.750", "+0.000", "-0.250"],
        ["`silent`", "2.750", "3.250", "+0.250", "+0.000"],
        ["`post`", "3.000", "diverged", "+0.500", "+0.250"],
    ]
    runs += [
        run(val=run_["val/loss"] + 0.5, residual=run_["residual"], learning_rate=0.001) for run_ in runs[::2]
    ]
    more = [run(val=2.25, residual="pre")], [run(val=2.5, residual="post")]
    for one, *_ in more:
        del one["learning_rate"]  # as in a file whose runs have one rate
    rows, _ = made("wirings_one_rate", result(*runs), *(result(*of_rate) for of_rate in more))
    assert rows[0][1:5] == ["rate 0.0003", "rate 0.001", "rate 0.003", "rate 0.01"]
    assert rows[1] == ["`pre`", "", "2.750 (2.500 to 3.000)", "2.750", "2.250", "+0.000", "-0.750"]
    assert rows[2][:2] == ["`post`", "2.500"]


def test_paths_and_lesions_are_those_of_the_layers_named_over_the_seeds():
    norms = {
        arm: [[10.0 ** -(abs(k - peak) + shift) for k in range(49)] for peak in (9, 8)]
        for arm, shift in (("pre", 0), ("none", 7))
    }
    rows, _ = made("paths", *({"paths": values} for seeds in norms.values() for values in seeds))
    assert rows[0][1:] == ["0", "1", "2", "4", "8", "9", "16", "32", "48"]  # the largest with skips are in it
    for row, (one, other) in zip(rows[1:], norms.values(), strict=True):
        ends = [sorted((one[int(k)], other[int(k)])) for k in rows[0][1:]]
        assert row[1:] == [f"{least:.1e} to {most:.1e}" for least, most in ends]
    layers = [{"layers": [{"without block": f"+{k + seed}.5 ± 0.1"} for k in range(24)]} for seed in (0, 1)]
    rows, _ = made("lesions", *layers)
    assert rows[0][1:] == ["0", "1", "2", "4", "8", "12", "16", "20", "23"]
    assert rows[1][1:] == [f"+{k + 1}.000 (+{k}.500 to +{k + 1}.500)" for k in map(int, rows[0][1:])]


def test_tiny_shakespeare_is_every_run_with_its_error():
    fast = result(run(val=1.5, step=1000, seed=1, **{"val/loss_se": 0.125}), run(step=1000, seed=2))
    longer = run(val=1.25, step=2000)
    del longer["seed"]
    assert made("char", fast, result(longer))[0][1:] == [
        ["1,000", "1", "1.500 ± 0.125"],
        ["1,000", "2", "2.300 ± 0.010"],
        ["2,000", "1337", "1.250 ± 0.010"],
    ]


def test_a_rank_is_what_was_worked_out_beside_what_was_measured():
    row = {
        "run": "FSDP",
        "state_MB": 300,
        "activations_MB": 50,
        "expected_MB": 350,
        "measured_MB": [500, 400],
    }
    one = result() | {"rows": [row | {"copy_of_rank_0_MB": 100}, row | {"measured_MB": [700]}]}
    expected = "300 state + 50 activations = 350 MB"
    assert made("scale", one)[0][1:] == [
        ["FSDP", expected, "500 MB, of which 100 MB are its copy of the weights", "400 MB"],
        ["FSDP", expected, "700 MB", ""],
    ]


def test_the_faults_are_all_there_with_what_was_counted():
    facts = {
        "date": "2026-01-02",
        "machine": "m",
        "seconds": 9,
        "command": "c",
        "torch": "2",
        "git_commit": "x",
    }
    counts = {"runs": 12345, "ways": {"a": 1}, "seen": [3, "b"]}
    later = facts | {"date": "2026-01-09", "commands": 7}
    rows, note = made("torture", {"kill -9": facts | counts, "command lines": later})
    assert len(rows) == 1 + len(FAULTS)
    assert rows[1][2] == "runs: 12,345; ways: a 1; seen: 3, b"
    cells = {row[0]: row[2] for row in rows[1:]}
    assert cells[FAULTS["command lines"][0]] == "commands: 7"
    assert cells[FAULTS["signals"][0]] == 'not measured yet: `python -m tests.torture --row "signals"`'
    assert "2026-01-02, 2026-01-09, m" in note


def test_each_part_of_the_demos_recipe_has_its_cell():
    cells = {
        ("adamw", "learned"): 2.5,
        ("adamw", "rope"): 2.4,
        ("muon", "learned"): 1.9,
        ("muon", "rope"): 1.7,
    }
    runs = [run(val=v, optimizer=o, pos=p) for (o, p), v in cells.items()]
    silent = [run(val=v, pos=p) for p, v in (("rope", 2.75), ("learned", 3.0), ("learned", 3.5))]
    rows, _ = made("parts", result(*runs, run(val=1.5, optimizer="muon", pos="rope")), result(*silent))
    assert rows[1:] == [
        ["with skips, AdamW", "2.500", "2.400"],
        ["with skips, Muon", "1.900", "1.600 (1.500 to 1.700)"],
        ["no blocks (`silent`)", "3.250 (3.000 to 3.500)", "2.750"],
    ]


def test_of_a_talk_each_cell_is_the_layers_that_a_signal_reaches_and_the_loss():
    runs = [
        run(val=2.5 + n + k / 4, residual=arm, n_layer=n, layers_that_learn=k)
        for arm, counts in (("none", {1: (1, 1), 8: (4, 2)}), ("pre", {8: (8,), 1: (1,)}))
        for n, seeds in counts.items()
        for k in seeds
    ]
    rows, note = made("slide", result(*runs), result(run(val=2.75), run(val=3.25)))
    assert rows[1:] == [
        ["with skips (`pre`)", "1; 3.75", "8; 12.50"],
        ["without skips (`none`)", "1; 3.75 (3.75 to 3.75)", "2 to 4; 11.25 (11.00 to 11.50)"],
    ]
    assert "`silent`, without blocks, has 3.000 (2.750 to 3.250); the unigram baseline is 3.100." in note


def test_what_is_read_of_a_result_is_what_its_runs_ended_on(tmp_path):
    path = tmp_path / "result.json"
    runs = [run("a", 2.5, status="unfinished"), run("b", 2.5, status="diverged")]
    path.write_text(json.dumps(result(*runs)), encoding="utf-8")
    assert [one["val/loss"] for one in read_result(path)["runs"]] == [2.5, None]


@pytest.mark.parametrize("text", ["{", "[]", '{"runs": 5}', '{"runs": [5]}', "\\xff"])
def test_a_damaged_result_is_named(tmp_path, text):
    path = tmp_path / "result.json"
    path.write_bytes(text.encode().replace(b"\\xff", b"\xff"))
    with pytest.raises(ValueError, match=re.escape(f"{path}: ")):
        read_result(path)
