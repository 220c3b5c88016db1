"""The tables over depth, rate and dose, from results that are written by hand, number by number."""

import json

from test_tables import made, probed, result, run

from experiments.tables import read_result
from experiments.warned.table import RESULTS, TABLES


def test_a_thousand_layers_are_rows_by_wiring_optimizer_and_rate():
    muon = {"optimizer": "muon", "muon_lr": 0.02}
    runs = [run("skips-pre-a", 2.5, **muon), run("skips-pre-b", None, n_layer=9, **muon | {"muon_lr": 0.002})]
    runs += [run("skips-adamw-pre-a", 2.75, **muon | {"optimizer": "adamw"})]
    for k, val in enumerate((2.125, 2.0, 2.25, None)):
        for n in (4, 9)[k % 2 :]:
            runs += [run(f"depth-{k}", val, residual="depth_mup", n_layer=n, **muon)]
    silent = [run(f"{k}-silent-L1", val, residual="silent", **muon) for k, val in enumerate((3.25, 3.75))]
    rows, note = made("thousand", result(*runs, *silent))
    assert rows == [
        ["layers", "4", "9"],
        [
            "with skips (`depth_mup`), rate 0.02",
            "2.188 (2.125 to 2.250)",
            "2.125 (2.000 to 2.250), 1 of 4 diverged",
        ],
        ["with skips (`pre`), rate 0.002", "", "diverged"],
        ["with skips (`pre`), rate 0.02", "2.500", ""],
        ["with skips (`pre`), AdamW", "2.750", ""],
    ]
    assert "ends on 3.500 (3.250 to 3.750); the bigram baseline is 2.400, the unigram baseline 3.100" in note


def test_a_run_that_diverged_ended_on_no_loss_though_its_record_has_an_earlier_one(tmp_path):
    words = {"val/word_perplexity": 221.0}
    kept = [run("a", 5.4, 5.3, status="diverged", **words), run("b", 2.5, status="finished", **words)]
    (tmp_path / "result.json").write_text(json.dumps(result(*kept)), encoding="utf-8")
    read = read_result(tmp_path / "result.json")
    assert [(r["train/loss"], r["val/loss"]) for r in read["runs"]] == [(None, None), (2.0, 2.5)]
    assert [r["val/word_perplexity"] for r in read["runs"]] == [None, 221.0]
    assert read | {"runs": kept} == result(*kept)


def test_a_grown_stack_is_a_row_by_its_depth_and_a_column_by_its_rate():
    cells = {(9, 0.02): None, (9, 0.002): 2.25, (4, 0.02): 2.5, (4, 0.002): 2.75}
    runs = [run("a", val, n_layer=n, muon_lr=rate) for (n, rate), val in cells.items()]
    runs += [run("b", 2.5, n_layer=9, muon_lr=0.002)]  # of another seed
    expected = [["layers", "rate 0.002", "rate 0.02"], ["4", "2.750", "2.500"]]
    expected += [["9", "2.375 (2.250 to 2.500)", "diverged"]]
    silent = [
        run("silent-silent-L1", 3.0, residual="silent"),
        run("silent-seeds-silent-s1", 3.5, residual="silent"),
    ]
    rows, note = made("thousand_grown", result(*runs), result(*silent))
    assert rows == expected and "has 3.250 (3.000 to 3.500)" in note


def test_over_depth_each_cell_is_a_mean_of_seeds_and_its_range():
    runs = [run(residual="depth_mup", n_layer=n, val=n + s) for n in (2, 6) for s in (0.0, 0.5)]
    rows, note = made("depth_mup", result(*runs, run(residual="silent", n_layer=1, val=4.0)))
    assert rows[0] == ["layers", "2", "6"]
    assert rows[1] == ["with skips (`depth_mup`)", "2.250 (2.000 to 2.500)", "6.250 (6.000 to 6.500)"]
    assert rows[2] == ["with skips (`pre`)", "", ""] and "`silent`, the same at every depth: 4.000" in note
    runs = [
        run(f"{grid}-none-a", residual="none", train=train, muon_lr=rate)
        for grid, train, rate in (("start", 1.5, 0.005), ("plain", 3.0, 0.005), ("start", 0.5, 0.0087))
    ]
    rows, _ = made("degradation", result(*runs))
    assert rows[2] == ["without skips, init `self`", "1.500 (1.500 to 1.500)"]
    assert rows[3] == ["without skips, standard start", "3.000 (3.000 to 3.000)"]


def arms_over_rates() -> dict:
    """Five arms at 4 layers with two seeds; the plain one begins to learn between 0.005 and a rate that was
    bisected, with the other seed above that, and diverges at the largest."""
    rows = [("plain", 0.005, 1, 3.5), ("plain", 0.005, 2, 9.0), ("plain-rates", 0.015, 1, 2.0)]
    rows += [("plain-rates", 0.015, 2, 2.5), ("plain", 0.0087, 1, 2.25), ("plain", 0.0087, 2, 3.25)]
    rows += [("plain-rates", 0.0114, 2, 2.75), ("plain-rates", 0.05, 1, None), ("plain-rates", 0.05, 2, 4.0)]
    rows += [(grid, 0.005, s, 1.5) for grid in ("start", "skips", "attention-skip-only") for s in (1, 2)]
    rows += [("mlp-skip-only", 0.005, seed, 3.25) for seed in (1, 2)]
    residual = {"plain": "none", "plain-rates": "none", "start": "none"}
    runs = []
    for grid, rate, seed, val in rows:
        arm = residual.get(grid, "pre")
        train = None if val is None else val + 0.125
        runs.append(run(f"{grid}-{arm}-a", val, train, residual=arm, muon_lr=rate, seed=seed))
    return result(
        *runs, *(run("silent-silent-a", v, v, residual="silent", muon_lr=0.005) for v in (2.5, 3.5))
    )


def test_each_depth_is_at_the_rate_that_is_best_in_the_mean_of_the_seeds():
    def seeds(grid, arm, losses, **at):
        return [run(f"{grid}-{arm}-a", 9.0, t, residual=arm, seed=s, **at) for s, t in enumerate(losses, 1)]

    runs = seeds("plain-rates", "none", (2.5, 2.0, 2.25), muon_lr=0.015)
    runs += seeds("plain", "none", (1.5, 3.5, 3.0), muon_lr=0.005)  # the lowest is of the first seed
    runs += seeds("plain", "none", (1.0,), muon_lr=0.0087)  # bisected with that one alone
    runs += seeds("plain-slower", "none", (3.0, 3.25, 3.5), muon_lr=0.0005, n_layer=9)
    runs += seeds("plain-rates", "none", (1.0, None, 1.0), muon_lr=0.015, n_layer=9)
    for grid, arm in (("start", "none"), ("skips", "pre"), ("attention-skip-only", "pre")):
        runs += [one for n in (4, 9) for one in seeds(grid, arm, (1.5, 1.5), muon_lr=0.005, n_layer=n)]
    runs += [one for n in (4, 9) for one in seeds("mlp-skip-only", "pre", (1.0,), muon_lr=0.005, n_layer=n)]
    runs += [run("silent-silent-a", v, v, residual="silent") for v in (2.5, 3.5)]
    rows, note = made("best_rates", result(*runs))
    cells = {row[0]: row[1:] for row in rows}
    assert cells["layers"] == ["4", "9"]
    plain = ["2.250 (2.000 to 2.500), 0.015", "3.250 (3.000 to 3.500), 0.0005"]
    assert cells["without skips, standard start"] == plain
    assert cells["with skips (`pre`)"] == ["1.500 (1.500 to 1.500), 0.005"] * 2
    assert cells["skips around the MLP only"] == ["1.000, 0.005"] * 2
    assert "`silent`, the same at every depth: 3.000" in note


def test_trainability_is_the_distance_to_the_control_and_the_bisected_edges():
    rows, _ = made("trainability", arms_over_rates())
    rates = ["5e-05", "0.00015", "0.0005", "0.0015", "0.005", "0.015", "0.05", "0.15"]
    assert rows[0][2:10] == rates  # what was bisected has no column
    plain = next(row for row in rows if row[0] == "without skips, standard start")
    losses = ["+3.250 (+0.500 to +6.000)", "-0.750 (-1.000 to -0.500)", "+1.000, 1 of 2 diverged"]
    found = "0.005 to 0.0087, 0.015 to 0.05; 0.0087 to 0.0114, 0.015 to 0.05"
    assert plain[1:] == ["4", "", "", "", "", *losses, "", found, "not excluded"]
    edges = {row[0]: row[-2] for row in rows}
    assert edges["with skips (`pre`)"] == "always" and edges["skips around the MLP only"] == "never"


def test_two_runs_that_differ_in_their_machine_are_compared_and_two_that_differ_in_their_seed():
    facts = {"init": "self", "attn_residual": "", "mlp_residual": "", "muon_lr": 0.5}
    here = [
        run(val=v, seed=s, n_layer=n, **facts) for n in (4, 9) for s, v in ((1, 9.0), (2, 2.0), (3, 2.25))
    ]
    here += [run(val=5.0, seed=2, n_layer=4, **facts | {"init": "wiring"})]  # was not run again
    there = [run(val=v, seed=s, n_layer=4, **facts) for s, v in ((2, 2.5), (3, 2.0))]
    there += [run(val=v, seed=s, n_layer=9, **facts) for s, v in ((2, 1.0), (3, 2.5))]
    rows, _ = made("machines", result(*here), result(*there))
    assert rows[1:] == [
        ["4", "2", "0.375 (up to 0.500)", "0.250 (up to 0.250)"],
        ["9", "2", "0.625 (up to 1.000)", "0.250 (up to 0.250)"],
    ]


def test_the_dose_stands_beside_its_prediction_seed_by_seed():
    curve = {0.5: 3.5, 0.75: 3.25, 1.0: 2.0}
    dose = {"residual": "scaled", "muon_lr": 0.005}
    runs = [run("dose-scaled-a", val, residual_scale=weight, **dose) for weight, val in curve.items()]
    for weight, val in {0.25: None, 0.625: 2.75}.items():
        runs.append(run("again-4-scaled-a", val, residual_scale=weight, **dose | {"seed": 6}))
    slow = dose | {"muon_lr": 0.001}
    runs += [run("rates-scaled-a", 1.0, residual_scale=weight, **slow) for weight in (0.5, 1.0)]
    runs.append(run("deep-scaled-a", 1.0, residual_scale=0.5, n_layer=9, **dose))
    one = result(*runs, run("silent-silent-a", 3.0, residual="silent"))
    between, deep = "0.75 to 1; 0.25 to 0.625", ["9", "0.60", "always", "0.5: -2.00"]
    losses = "0.5: +0.50, 0.75: +0.25, 1: -1.00"
    assert made("dose", one)[0][1:] == [["4", "0.32", between, losses], deep]
    assert made("dose_rates", one)[0][1:] == [["4", "0.001", "always"], ["4", "0.005", between]]


def test_the_causes_are_diversity_over_training_and_the_loss_of_the_seeds():
    slow = run(val=2.5, init="self", block_lr=3e-4, probed=[probed(0), probed(9)])
    other = slow | {"val/loss": 2.75, "probed": [probed(0), probed(19)]}
    ladder = [
        run(f"skips-adamw{more}-pre-x", val, learning_rate=rate, block_lr=own)
        for more, rate, own, val in (
            *(("", 1e-2, 0.0, 2.125), ("", 1e-3, 0.0, 2.25)),
            *(("-slow", 1e-2, 3e-4, 2.375), ("-slow", 1e-2, 0.1, 2.0), ("-slow", 1e-2, 0.3, 1.75)),
        )
    ]
    ladder += [
        run("silent-silent-x", val, residual="silent", learning_rate=rate)
        for rate, val in ((1e-2, 2.75), (1e-3, 3.0))
    ]
    ladder = result(*ladder)
    rows, note = made("causes", result(slow, other, slow | {"init": "wiring", "block_lr": 0.0}), ladder)
    assert "(`pre`) 2.125, with slow blocks 2.375; without blocks (`silent`) 2.750." in note
    assert rows[0][1:3] == ["diversity, step 0", "diversity, step 9"]
    both = ["5e-01", "1e+01 to 2e+01", "2.625 (2.500 to 2.750)", "-0.475"]
    assert rows[1] == ["init `self`, slow blocks (0.0003)", *both]
    assert rows[2] == ["standard start, one rate", "5e-01", "1e+01", "2.500", "-0.600"]
    ends = {"self": 2.0, "wiring": 2.5, "orthogonal": None}
    runs = [run(val=v, init=i) for i, v in ends.items()]
    own = [run(val=v, init=i, block_lr=rate) for i in ends for rate in (0.3, 0.1) for v in (3.0, 3.5)]
    rows, note = made("causes_rates", result(*runs), result(*own), ladder)
    assert rows[0] == ["", "one rate 0.001", "blocks 0.1", "blocks 0.3"]
    assert [row[1] for row in rows[1:4]] == ["2.500", "diverged", "2.000"] and "3.100" in note
    assert rows[1][2:] == ["3.250 (3.000 to 3.500)"] * 2
    assert rows[4] == ["with skips (`pre`), in `ladder`", "2.250", "2.000", "1.750"]
    assert rows[5] == ["no blocks (`silent`), in `ladder`", "3.000", "2.750", "2.750"]


def test_of_the_warned_runs_those_are_told_that_ended_below_the_control_of_their_width():
    none, warned = {"early_warning": None}, {"early_warning": "unlikely to train"}
    silent = [
        run(residual="silent", val=val, n_embd=width, learning_rate=rate, **none)
        for width, rate, val in ((32, 0.1, 3.0), (32, 0.01, 2.0), (32, 0.01, 2.5), (64, 0.1, 1.75))
    ]
    runs = [run(val=val, n_embd=32, **warned) for val in (2.5, 2.125, 2.0, None)]
    runs += [run(val=val, n_embd=width, **told) for val, width, told in ((2.0, 64, warned), (1.5, 64, none))]
    first, other = (
        result(*silent, *runs),
        result(run(residual="silent", val=3.0, **none), run(val=3.5, **warned)),
    )
    of = [folder for folder, _ in RESULTS]
    made = TABLES["warned"].make(*(first if folder == "dose" else other for folder in of))
    assert f"Of {5 + len(of) - 1} stored runs" in made and f"in {len(set(of))} experiments" in made
    assert "2 ended below it: 2 of `dose` (by 0.125 to 0.250). Of the " in made


def test_what_layers_are_worth_is_beside_a_stack_of_the_same_seed_in_which_none_learns():
    runs = [
        {
            "arm": arm,
            "muon_lr": 0.5,
            "learns": learns,
            "n_layer": 8,
            "seed": seed,
            "val/loss": loss + seed * more,
        }
        for arm in ("pre", "depth_mup", "none, self", "none")
        for learns, loss, more in (("all", 1.5, 0), ("no block", 3.0, 1), (0, 2.75, 1), (7, 3.0, 1.25))
        for seed in (1, 2)
    ]
    for one in runs:
        if one["learns"] == "all":
            more = one["seed"] / 4
            one |= {"block": [0.5, 0.125 + more, -0.25], "random": [k / 10 + more for k in range(8)]}
            one |= {"needed": [0, 2, 3][: 1 + one["seed"]]}
    for one in [one for one in runs if one["learns"] == 0]:  # another between the first and the last
        runs.append(one | {"learns": 5, "val/loss": one["val/loss"] - 0.25})
    silent = {"arm": "silent", "muon_lr": 0.5, "learns": "all", "n_layer": 8, "val/loss": 2.5}
    silent |= {"block": [0.0], "random": [0.0] * 8, "needed": []}
    runs += [silent | {"seed": seed} for seed in (1, 2)]
    tried = [{"arm": arm, "muon_lr": rate} for arm, rate in (("pre", 0.25), ("keel", 0.75), ("none", 0.25))]
    tried.append({"arm": "none", "muon_lr": 0.75})
    rows, note = made("worth_alone", result(*runs) | {"tried": tried})
    assert [row[1] for row in rows[1:]] == ["0.5*", "0.5", "0.5", "0.5"]
    assert rows[0][2:4] == ["all blocks learn", "none learns"]
    assert rows[0][4:] == ["block 0 alone", "block 7 alone", "each alone, its mean"]
    whole, none = "1.500 (1.500 to 1.500)", "4.500 (4.000 to 5.000)"
    gains = ["-0.250 (-0.250 to -0.250)", "+0.375 (+0.250 to +0.500)", "-0.500 to +0.375"]
    assert rows[1] == ["with skips (`pre`)", "0.5*", whole, none, *gains]
    assert "`silent`, the same without blocks, ends on 2.500 (2.500 to 2.500). The rate is" in note
    rows, _ = made("worth_taken_out", result(*runs))
    sets = [f"{k / 10 + 0.375:+.2f} ({k / 10 + 0.25:+.2f} to {k / 10 + 0.5:+.2f})" for k in (1, 3, 5, 7)]
    assert rows[1] == ["with skips (`pre`)", "-0.250 to +0.625", *sets, "2, 3 of 8"]


def test_theory_stands_over_the_mean_of_the_seeds():
    def fresh(residual, layers, seed):
        one = {"residual": residual, "n_layer": layers}
        return one | {
            "token_diversity": [k + seed for k in range(25)],
            "token_cosine": [k / 100 + seed / 10 for k in range(25)],
            "qk_gradient": [k + seed for k in range(layers)],
            "v_gradient": [k * layers for k in range(layers)],
            "resid_rms": [seed / 8 + k for k in range(25)],
            "position0_share": [k / 100 for k in range(25)],
            "resid_gradient": [seed, 9.0, layers + seed],
        }

    predicted = {"token_diversity": [k / 2 for k in range(25)], "position0_share": [0.5] * 25}
    predicted["resid_rms"] = [k / 4 for k in range(25)]
    runs = [fresh(arm, n, seed) for arm in ("pre", "none", "rezero") for n in (6, 24) for seed in (1, 3)]
    one = result(*runs) | {"predicted": predicted}
    rows, _ = made("theory_tokens", one)
    assert rows[1][1:4] == ["0.5", "1", "2"] and rows[2][1:4] == ["3", "4", "6"]
    assert rows[4][1:4] == ["23%", "22%", "20%"]  # counted from the head
    rows, _ = made("theory_stream", one)
    assert rows[1][1:4] == ["0.000", "0.250", "0.500"] and rows[2][1:4] == ["0.250", "1.250", "2.250"]
    rows, _ = made("theory_gradient", one)
    assert rows[1] == ["with skips (`pre`)", "2 / 8", "2 / 26"]
    rows, _ = made("theory_collapse", one, result(*(fresh("pre", n, 6) for n in (6, 24))))
    assert rows[0][:-2] == ["24 layers, behind blocks", "0", "1", "2", "6", "12", "24"]
    assert rows[2][1:] == ["0.20", "0.21", "0.22", "0.26", "0.32", "0.44", "1.4e+01", "2.9e+02"]
    assert rows[3][0] == "with skips (`pre`), branches / sqrt(2L)"
    assert rows[3][1:] == ["0.60", "0.61", "0.62", "0.66", "0.72", "0.84", "1.8e+01", "2.9e+02"]
