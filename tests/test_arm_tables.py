"""The tables of starts, of skips and of widths, from results that are written by hand, number by number."""

from test_tables import made, result, run


def test_a_start_stands_at_the_best_rate_of_each_recipe():
    rates = {"learning_rate": 1e-2, "block_lr": 0.0, "muon_lr": 5e-3}
    runs = [run("silent-silent-a", 2.75, 2.7, residual="silent", **rates)]
    for recipe, setting in (("adamw", "learning_rate"), ("adamw-slow", "block_lr"), ("muon", "learning_rate"),
                            ("muon-slow", "muon_lr")):  # fmt: skip
        for init in ("wiring", "orthogonal", "shared_qk", "self"):
            for rate, train in ((0.1, 3.0), (0.2, 2.5), (0.3, None)):
                own = rates | {"init": init, setting: rate, "residual": "none"}
                runs.append(run(f"plain-{recipe}-none-x", rate + 2 + len(init) / 8, train, **own))
        own = rates | {"init": "wiring", setting: 0.1}
        runs += [run(f"skips-{recipe}-pre-x", val, 2.0, seed=val, **own) for val in (1.5, 2.0)]
    rows, note = made("ladder", result(*runs))
    assert rows[0] == [
        "12 layers",
        "AdamW, one rate",
        "AdamW, slow blocks",
        "Muon, one rate",
        "Muon, slow blocks",
    ]
    assert rows[1] == ["without skips, standard start", *["2.950 (0.2)"] * 4]
    assert rows[3] == ["without skips, W_Q = W_K = c times an orthogonal matrix, alone", *["3.325 (0.2)"] * 4]
    assert rows[5] == ["with skips (`pre`)", *["1.750 (0.1)"] * 4]
    assert "`silent`, without blocks: 2.750 (0.01)" in note and "3.100" in note


def test_skips_around_some_sublayers_or_blocks_are_counted_and_compared_with_the_control():
    plain = {"attn_residual": "", "mlp_residual": "", "skip_blocks": "every:3", "muon_lr": 0.1}
    arms = [{"residual": name} for name in ("pre", "block_skip", "none")]
    arms += [{"attn_residual": "none"}, {"mlp_residual": "none"}]
    blocks = ("every:2", "every:3", "every:4", "first:6", "last:6")
    arms += [{"residual": "partial_skips", "skip_blocks": which} for which in blocks]
    runs = [run("x", 2.0 + k / 8, 2.0, **plain | arm) for k, arm in enumerate(arms)]
    runs += [run("x", 9.0, 1.0, **plain | arms[-1] | {"muon_lr": 0.2})]
    runs += [run("x", 8.0, 1.0, **plain | arms[-1] | {"muon_lr": 0.2})]
    rows, _ = made("which_skip", result(*runs, run("silent-silent-a", 3.0, **plain | {"residual": "silent"})))
    cells = {row[0]: row[1:] for row in rows[1:]}
    assert cells["all"] == ["24", "0.1", "2.000", "2.000 to 2.000", "-1.100", "-1.000"]
    assert cells["attention"][:3] == ["12", "0.1", "2.500"] and cells["MLP"][:3] == ["12", "0.1", "2.375"]
    assert cells["every fourth block"][:3] == ["6", "0.1", "2.875"]
    assert cells["the last six blocks"][:4] == ["12", "0.2*", "8.500", "8.000 to 9.000"]
    assert len(rows) == 11


def test_the_control_and_the_stacks_stand_beside_each_other_at_each_rate_of_the_embeddings():
    """The training loss chooses a block rate in each cell anew; the lowest of each may be of any row."""
    runs = [run("s", val, residual="silent", learning_rate=rate, muon_lr=0.1)
            for rate, val in ((0.1, 3.0), (0.1, 2.5), (0.2, 2.5))]  # fmt: skip
    for arm, vals in (("pre", (2.0, 2.25)), ("none", (2.625, 2.375))):
        for rate, val in zip((0.1, 0.2), vals, strict=True):
            runs.append(run("x", val, 2.0, residual=arm, learning_rate=rate, muon_lr=0.5))
            runs.append(run("x", val - 1, 2.5, residual=arm, learning_rate=rate, muon_lr=0.7))
            runs.append(run("x", None, None, residual=arm, learning_rate=rate, muon_lr=0.9))
    rows, _ = made("control", result(*runs))
    assert rows[1] == ["0.1", "2.750 (2.500 to 3.000)", "2.625, 0.5", "-0.125", "2.000, 0.5", "-0.750"]
    assert rows[2] == ["0.2", "2.500", "2.375, 0.5", "-0.125", "2.250, 0.5", "-0.250"]
    assert rows[3] == ["each at its lowest", "2.500", "2.375", "-0.125", "2.000", "-0.500"]
    blocks = [entry | {"block_lr": entry["muon_lr"]} for entry in runs if entry["residual"] == "pre"]
    rows, _ = made("control_adamw", result(*runs[:3]), result(*blocks[:3]))
    assert rows[2] == ["0.2", "2.500", "", ""] and rows[3][2:] == ["2.000", "-0.500"]


def test_widths_are_columns():
    runs = [run("silent-silent-a", 3.0, w / 8, residual="silent", n_embd=w, muon_lr=0.1) for w in (8, 16)]
    for grid, arm in (("skips", "pre"), ("start", "none"), ("plain", "none")):
        for width in (8, 16):
            for train in (2.5 - width / 64, 3.0 - width / 64):
                runs.append(run(f"{grid}-{arm}-x", 2.0, train, residual=arm, n_embd=width, muon_lr=width))
    weights = ((0.3, 3.5), (0.5, 2.9), (0.7, 2.0))
    runs += [run("d", val, residual="scaled", n_embd=8, residual_scale=x, muon_lr=0.1) for x, val in weights]
    runs += [run("d", 2.0, residual="scaled", n_embd=8, residual_scale=x, seed=6) for x, _ in weights]
    runs += [run("d", None, residual="scaled", n_embd=16, residual_scale=x, muon_lr=0.1) for x, _ in weights]
    rows, _ = made("widths", result(*runs))
    assert rows[0] == ["", "layers", "8 wide", "16 wide"]
    cells = ["2.625 (2.375 to 2.875), 8", "2.500 (2.250 to 2.750), 16"]
    assert rows[1] == ["with skips (`pre`)", "4", *cells]
    assert rows[-1] == ["no blocks (`silent`)", "", "1.000", "2.000"] and len(rows) == 5
    assert made("widths_dose", result(*runs))[0][1:] == [["4", "0.32", "0.3 to 0.5; always", "never"]]
    deep = [run("r", w / 8, residual=arm, n_embd=w) for arm in ("none", "depth_mup", "pre") for w in (8, 16)]
    rows, _ = made("widths_thousand", result(*deep, deep[2] | {"val/loss": 2.0}), result(*runs[:2]))
    assert rows[1] == ["with skips (`depth_mup`)", "4", "1.500 (1.000 to 2.000)", "2.000"]
    assert rows[2] == ["with skips (`pre`)", "4", "1.000", "2.000"]
    assert rows[4] == ["no blocks (`silent`)", "", "3.000", "3.000"]


def test_a_repaired_stack_is_its_arms_over_seeds_and_over_rates():
    muon = {"optimizer": "muon", "muon_lr": 5e-3, "block_lr": 0.0, "seed": 1}
    adamw = {"optimizer": "adamw", "muon_lr": 5e-3, "block_lr": 1e-3, "seed": 1}
    plain = {"residual": "none"}
    runs = [
        run("plain-none-a", 3.0, **plain, **muon),
        run("plain-none-b", 3.5, **plain, **muon | {"seed": 2}),
    ]
    runs += [run("plain-rates-none-a", 2.75, train=1.5, **plain, **muon | {"muon_lr": 0.015})]
    runs += [run("plain-adamw-none-a", 2.5, **plain, **adamw), run("start-none-a", 2.25, **plain, **muon)]
    for arm in ("skips", "attention-skip-only", "mlp-skip-only"):
        runs.append(run(f"{arm}-pre-a", 2.0, **muon))
    runs.append(run("silent-silent-a", 2.8, residual="silent", **muon))
    rows, _ = made("rescue", result(*runs))
    assert rows[1] == [  # the better of two rates, by its training loss, which is the lower one at 0.015
        *("without skips, standard start", "0.015*", "2.750", "2.750 to 2.750"),
        *("-0.350", "+0.350", "-0.050"),
    ]
    assert rows[2][:3] == ["without skips, init `self`", "0.005", "2.250"]
    assert rows[-1][:3] == ["no blocks (`silent`)", "", "2.800"]
    rows, note = made("rescue_rates", result(*runs))
    assert "`silent`, without blocks, has 2.800; the unigram baseline is 3.100." in note
    assert rows[0][:3] == [
        "rate of the blocks",
        "without skips, standard start",
        "without skips, init `self`",
    ]
    assert [row[:3] for row in rows[1:]] == [
        ["Muon 0.005", "3.250 (3.000 to 3.500)", "**2.250**"],
        ["Muon 0.015", "**2.750**", ""],
        ["AdamW 0.001", "**2.500**", ""],
    ]


def test_one_skip_of_two_is_a_column_over_the_rates():
    muon = {"optimizer": "muon", "muon_lr": 5e-3}
    runs = [run("silent-silent-a", 2.8, residual="silent", **muon)]
    attention = [run(f"a{seed}", 2.0 + seed, muon_lr=0.5, seed=seed, train=1.0 + seed) for seed in (1, 2)]
    attention.append(run("b", 2.0, muon_lr=0.25, seed=1, train=9.0))  # the training loss chooses
    mlp = [run("c", 2.25, muon_lr=0.25)]
    rows, note = made("rescue_one_skip", result(*attention), result(*mlp), result(*runs))
    assert "`silent`, without blocks, has 2.800;" in note
    assert rows[1:] == [
        ["Muon 0.25", "2.000", "**2.250**"],
        ["Muon 0.5", "**3.500 (3.000 to 4.000)**", ""],
    ]


def test_a_slower_rate_of_one_start_takes_part_in_the_choice_of_its_best():
    muon = {"optimizer": "muon", "block_lr": 0.0, "residual": "none"}
    runs = [
        run("start-none-a", 2.5, 2.5, muon_lr=0.2, **muon),
        run("start-rates-none-a", 3.0, 3.0, muon_lr=0.3, **muon),
    ]
    runs += [run("start-slower-none-a", 2.0, 2.0, muon_lr=0.1, **muon)]
    runs += [run(f"{arm}-none-a", 3.0, 3.0, muon_lr=0.2, **muon) for arm in ("plain", "skips", "silent")]
    runs += [run(f"{arm}-skip-only-none-a", 3.0, 3.0, muon_lr=0.2, **muon) for arm in ("attention", "mlp")]
    assert made("rescue", result(*runs))[0][2][:3] == ["without skips, init `self`", "0.1*", "2.000"]


def test_deep_stacks_stand_by_their_one_rate_whatever_file_they_are_in():
    usual = [run(val=2.0, arm="pre"), run(val=3.0, arm="none")]
    first = run(val=1.5, train=1.0, arm="pre", learning_rate=3e-3)
    best = [run(val=val, train=1.0, arm="pre", seed=seed) for seed, val in ((5, 1.5), (6, 1.75))]
    for one in best:
        del one["learning_rate"]  # as in a file whose runs have one rate
    control = [run(val=2.5, arm="silent")], [run(val=2.25, train=1.0, arm="silent", learning_rate=0.01)]
    files = [result(*runs) for runs in (usual, control[0], [first], best, control[1])]
    assert made("deep_rates", *files)[0][1:] == [
        ["0.001", "2.000", "**3.000**", "2.500"],
        ["0.003", "**1.625 (1.500 to 1.750)**", "", ""],
        ["0.01", "", "", "**2.250**"],
    ]


def test_how_different_tokens_are_in_the_end_stands_by_the_one_rate():
    def looked(*ends, **at):
        return [run(probed=[{"token_diversity": 0.9}, {"token_diversity": d}], **at) for d in ends]

    own = looked(0.1, 0.3, init="self", block_lr=0.0) + looked(0.7, init="self", block_lr=3e-4)
    plain = looked(0.2, init="self", learning_rate=1e-3)
    skips = looked(0.5, learning_rate=1e-3) + looked(0.6, learning_rate=1e-2)
    rows, _ = made("causes_diversity", result(*own), result(*plain), result(*skips))
    assert rows[0] == ["diversity at the end", "one rate 0.001", "one rate 0.01"]
    assert rows[1:] == [["init `self`", "2e-01", "1e-01 to 3e-01"], ["with skips (`pre`)", "5e-01", "6e-01"]]
