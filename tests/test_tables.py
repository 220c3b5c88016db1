"""The tables of the texts from results that are written by hand, number by number."""

import runpy

import pytest
from conftest import ROOT

TABLES = runpy.run_path(str(ROOT / "results" / "tables.py"))
LINES = {"uniform": 5.0, "unigram": {"train": 3.3, "val": 3.1}, "bigram": {"train": 2.2, "val": 2.4}}
ORIGIN = {"command": "compare.py a b", "date": "2026-01-02", "machine": "a machine", "baselines_nats": LINES}


@pytest.fixture
def made(monkeypatch):
    """Name of a table, and what results/ holds -> its rows, and the lines under it."""

    def make(table: str, **results: dict) -> tuple[list[list[str]], str]:
        function = TABLES["TABLES"][table]
        monkeypatch.setitem(TABLES["load"].__globals__, "load", lambda name: results[name.replace("-", "_")])
        lines = function().splitlines()
        rows = [
            [cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")
        ]
        return rows, "\n".join(line for line in lines if line and not line.startswith("|"))

    return make


def run(name="r", **changes) -> dict:
    kept = {"run": name, "residual": "pre", "n_layer": 4, "learning_rate": 1e-3, "train/loss": 2.0}
    kept |= {"val/loss": 2.3, "val/loss_se": 0.01, "layers_that_learn": 3, "step": 7, "seed": 5}
    return kept | changes


def seen(step: int) -> dict:
    return {
        "step": step,
        "gradient_norm": [step + 1.0, step + 20.0],
        "position0_share": 0.25 + step / 100,
        "qk_gradient": [step + 0.3, step + 400.0],
        "token_diversity": step + 0.5,
        "layers_that_learn": 12 - step,
    }


def test_a_pair_is_read_by_the_lines_of_validation(made):
    runs = [run(residual="none", **{"train/loss": 3.5, "val/loss": 3.2, "layers_that_learn": 0}), run()]
    rows, said = made("deep", deep=ORIGIN | {"runs": runs})
    assert rows[2:] == [
        ["with skips (`pre`)", "2.000", "2.300", "-0.800", "-0.100", "3"],
        ["without (`none`)", "3.500", "3.200", "+0.100", "+0.800", "0"],
    ]
    assert rows[0] == [
        *("", "train loss", "val loss"),
        *("to the unigram baseline", "to the bigram baseline", "layers that learn"),
    ]
    assert "The unigram baseline is 3.100, the bigram baseline 2.400." in said
    assert "`python compare.py a b`, 2026-01-02, a machine" in said


def test_the_reach_is_what_the_probes_saw_in_their_order(made):
    runs = [run(residual="none", probed=[seen(9)]), run(probed=[seen(0), seen(2)])]
    rows, _ = made("reach", laptop=ORIGIN | {"runs": runs})
    assert rows[2:] == [
        ["`pre`", "0", "1.0e+00", "2.0e+01", "25%", "3.0e-01", "5.0e-01", "12"],
        ["`pre`", "2", "3.0e+00", "2.2e+01", "27%", "2.3e+00", "2.5e+00", "10"],
        ["`none`", "9", "1.0e+01", "2.9e+01", "34%", "9.3e+00", "9.5e+00", "3"],
    ]


def test_rates_are_whole_curves_with_the_lowest_loss_in_bold(made):
    grid = {("none", 4, 0.1): 3.0, ("none", 4, 0.01): None, ("pre", 8, 0.1): 2.5, ("pre", 8, 0.01): 2.25}
    grid |= {("pre", 4, 0.01): 2.75, ("pre", 4, 0.1): 2.5}
    runs = [
        run("lr-x", residual=arm, n_layer=n, learning_rate=lr, **{"val/loss": loss})
        for (arm, n, lr), loss in grid.items()
    ]
    other = run("seeds-x", learning_rate=9.0, **{"val/loss": 0.5})
    rows, said = made("rates", study=ORIGIN | {"runs": [other, *runs]})
    assert rows[0] == ["", "0.01", "0.1"]
    assert rows[2:] == [
        ["`pre`, 4 layers", "2.75", "**2.50**"],
        ["`pre`, 8 layers", "**2.25**", "2.50"],
        ["`none`, 4 layers", "inf", "**3.00**"],
    ]
    assert "The unigram baseline is 3.100, the bigram baseline 2.400." in said


def test_seeds_are_a_mean_and_its_range(made):
    losses = {("none", 0.1): (3.0, 3.5, 4.6), ("pre", 0.2): (2.0, 2.1, 2.5), ("pre", 0.1): (2.4, 2.2, 2.3)}
    runs = [
        run("seeds-x", residual=arm, learning_rate=lr, **{"val/loss": loss})
        for (arm, lr), three in losses.items()
        for loss in three
    ]
    rows, _ = made("seeds", study=ORIGIN | {"runs": [*runs, run("lr-x")]})
    assert rows[2:] == [
        ["`pre`", "0.1", "2.300", "2.200 to 2.400"],
        ["`pre`", "0.2", "2.200", "2.000 to 2.500"],
        ["`none`", "0.1", "3.700", "3.000 to 4.600"],
    ]


def test_a_wiring_is_listed_by_its_loss_and_a_slow_one_by_the_better_of_its_rates(made):
    short = [
        run("wirings-a", residual="rezero", **{"val/loss": 2.9}),
        run("wirings-b", residual="post", **{"val/loss": None}),
        run("lr-x", n_layer=12, learning_rate=3e-3, **{"val/loss": 2.5}),
        run("lr-x", n_layer=12, learning_rate=1e-3, **{"val/loss": 2.1}),
        run("lr-x", n_layer=24, learning_rate=3e-3, **{"val/loss": 2.0}),
    ]
    slow = [
        run(residual="rezero", learning_rate=lr, **{"val/loss": loss})
        for lr, loss in ((0.1, None), (0.01, 2.35), (0.001, 2.45))
    ]
    rows, _ = made("wirings", study=ORIGIN | {"runs": short}, wirings=ORIGIN | {"runs": slow})
    assert rows[2:] == [
        ["`pre`", "2.500", "+0.100", ""],
        ["`rezero`", "2.900", "+0.500", "-0.050 (learning rate 0.01)"],
        ["`post`", "inf", "+inf", ""],
    ]


def test_what_was_tried_is_grouped_by_what_it_was(made):
    runs = [
        run("sgd-x", learning_rate=0.5, **{"val/loss": 3.0}),
        run("lr-x"),
        run("warmup-x", layers_that_learn=1, **{"val/loss": 2.5}),
        run("sgd-y", learning_rate=0.25, **{"val/loss": None}),
    ]
    rows, _ = made("sceptic", study=ORIGIN | {"runs": runs})
    assert rows[2:] == [
        ["half of the run is warmup", "2.500", "+0.100", "1"],
        ["SGD, learning rate 0.5", "3.000", "+0.600", "3"],
        ["SGD, learning rate 0.25", "inf", "+inf", "3"],
    ]


def test_paths_and_lesions_are_those_of_the_layers_named(made):
    norms = {arm: [10.0 ** -(k + shift) for k in range(49)] for arm, shift in (("pre", 0), ("none", 7))}
    rows, _ = made("paths", **{f"autopsy_{arm}": {"paths": values} for arm, values in norms.items()})
    assert rows[0][1:] == ["0", "1", "2", "4", "8", "16", "32", "48"]
    for row, arm in zip(rows[2:], ("pre", "none"), strict=True):
        assert row[1:] == [f"{norms[arm][int(k)]:.1e}" for k in rows[0][1:]]
    layers = [{"without block": f"+{k}.5 ± 0.1"} for k in range(24)]
    rows, _ = made("lesions", autopsy_pre={"layers": layers})
    assert rows[0][1:] == ["0", "1", "2", "4", "8", "12", "16", "20", "23"]
    assert rows[2][1:] == [f"+{k}.5 ± 0.1" for k in rows[0][1:]]


def test_tiny_shakespeare_is_every_run_with_its_error(made):
    fast = [run(step=1000, seed=1, **{"val/loss": 1.5, "val/loss_se": 0.125}), run(step=1000, seed=2)]
    long = [run(step=2000, **{"val/loss": 1.25})]
    del long[0]["seed"]
    rows, _ = made(
        "char",
        shakespeare_char_cpu=ORIGIN | {"runs": fast},
        shakespeare_char_cpu_2000=ORIGIN | {"runs": long},
    )
    assert rows[2:] == [
        ["1,000", "1", "1.500 ± 0.125"],
        ["1,000", "2", "2.300 ± 0.010"],
        ["2,000", "1337", "1.250 ± 0.010"],
    ]


def bench() -> dict:
    facts = {"date": "2026-01-02T03", "cpu": "a cpu", "threads": 2, "cpu_bfloat16": ["amx"], "torch": "2"}
    sides = {"ours": 0.5, "nanogpt float32": 1.0, "nanogpt bfloat16": 0.75, "nanogpt compiled float32": 0.8}
    ratios = {f"ours against {name}": {"median": 10 * s} for name, s in sides.items() if name != "ours"}
    case = {"facts": facts, "sides": {k: {"median_s": s} for k, s in sides.items()}, "ratios": ratios}
    names = ("step-4L128", "step-6L384", "step-48L128", "sample-1", "sample-8")
    val = {"nanogpt": {"s": 90.0, "val_loss": 1.9}}
    val |= {f"ours seed {k}": {"s": s, "val_loss": 1.5 + k / 10} for k, s in enumerate((20.0, 30.0, 70.0))}
    return {
        "cases": dict.fromkeys(names, case) | {"val": {"facts": facts | {"date": "2026-02-02"}, "sides": val}}
    }


def test_ours_beside_nanogpt_is_in_ratios_to_its_plain_and_its_fastest(made):
    rows, said = made("beside", **{TABLES["BENCH"].replace("-", "_"): bench()})
    assert rows[2] == ["`step-4L128`", "500 ms", "1,000 ms", "10.00x", "8.00x", "7.50x (bfloat16)"]
    assert len(rows) == 8 and rows[-1] == ["`val`, all training", "40.0 s", "90.0 s", "2.25x", "", ""]
    assert "nanoGPT ends at 1.900, ours, three seeds, at 1.500, 1.600, 1.700." in said
    assert "2026-01-02, 2026-02-02, a cpu, 2 threads, amx, torch 2" in said


def test_scaling_is_what_the_cases_say(made):
    cases = bench()["cases"]
    plain = {"bytes": {"per_layer": 3e6}, "seconds": {"per_layer": 0.002}}
    cases |= {
        "none-pre": {"none_over_pre": {"fresh": 0.75, "after 300 steps": 1.5}},
        "first-step": {
            "compiled_by_depth": {"12": {"median_s": 4.0}, "96": {"median_s": 9.0}},
            "sides": {"ours": {"median_s": 2.0}, "nanogpt": {"median_s": 3.0}},
        },
        "depth": {
            "plain": plain,
            "state_bytes_per_layer": 1e6,
            "memory_slope_ratio": 0.5,
            "without_the_state": 0.25,
        },
        "data": {
            name: {"bare_MB_per_s": b, "written_MB_per_s_1_core": b / 2, "written_MB_per_s_2_cores": b / 4}
            for name, b in (("bpe:1024", 8.0), ("char", 16.0), ("byte", 32.0))
        },
        "checkpoint": {"MB": 120.4, "save_s": 0.25},
        "probe": {"share_of_run": 0.035},
    }
    for case in cases.values():
        case.setdefault("facts", cases["val"]["facts"])
    rows, _ = made("scaling", **{TABLES["BENCH"].replace("-", "_"): {"cases": cases}})
    assert [row[1] for row in rows[2:]] == [
        *("0.75", "1.50", "2.0 s (nanoGPT 3.0 s)", "4.0 s, 9.0 s"),
        *("3.00 MB, of them 1.00 weights, gradients and AdamW", "50% of that; of the activations 25%"),
        *("2.0 ms", "8.0, 4.0, 2.0 MB/s", "16.0, 8.0, 4.0 MB/s", "32.0, 16.0, 8.0 MB/s"),
        *("120 MB in 0.25 s", "3.5%"),
    ]


def test_the_torture_is_every_fault_with_what_was_counted(made):
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
    rows, said = made("torture", torture={"kill -9": facts | counts, "command lines": later})
    assert len(rows) == 2 + len(TABLES["FAULTS"])
    assert rows[2][2] == "runs: 12,345; ways: a 1; seen: 3, b"
    cells = {row[0]: row[2] for row in rows[2:]}
    assert cells[TABLES["FAULTS"]["command lines"][0]] == "commands: 7"
    assert (
        cells[TABLES["FAULTS"]["signals"][0]] == 'not measured yet: `python -m tests.torture --row "signals"`'
    )
    assert "2026-01-02, 2026-01-09, m" in said
