"""The tables of the study from results that are written by hand, number by number."""

from test_tables import made, result, run


def test_rates_are_whole_curves_with_the_lowest_loss_in_bold():
    grid = {("none", 1, 0.1): 3.0, ("none", 1, 0.01): None, ("pre", 8, 0.1): 2.5, ("pre", 8, 0.01): 2.25}
    grid |= {("pre", 4, 0.01): 2.75, ("pre", 4, 0.1): 2.5}
    runs = [
        run(f"lr-{arm}-x", loss, residual=arm, n_layer=n, learning_rate=lr)
        for (arm, n, lr), loss in grid.items()
    ]
    runs += [run("lr-pre-y", 2.75, n_layer=8, learning_rate=0.01)]  # a second seed: 2.5 in the mean
    runs += [
        run("silent-silent-x", 2.8, residual="silent", n_layer=1, learning_rate=lr) for lr in (0.1, 0.01)
    ]
    rows, note = made("rates", result(run("deep-pre-x", 0.5, learning_rate=9.0), *runs))
    assert rows == [
        ["learning rate", "0.01", "0.1"],
        ["`pre`, 4 layers", "2.75", "**2.50**"],
        ["`pre`, 8 layers", "**2.50**", "**2.50**"],
        ["`none`, 1 layer", "inf", "**3.00**"],
        ["`silent`, no blocks", "**2.80**", "**2.80**"],
    ]
    assert "The unigram baseline is 3.100, the bigram baseline 2.400." in note
    assert "up to 0.50 apart, and in half of the cells no more than 0.00." in note


def test_the_training_loss_over_depth_is_that_of_the_best_rate():
    arms, runs = ("pre", "none"), []
    for arm in arms:
        for train, rate in ((2.5, 0.1), (2.25, 0.01), (2.75, 0.01), (3.0, 0.1)):  # means 2.75 and 2.5
            runs.append(run(f"lr-{arm}-x", residual=arm, train=train, learning_rate=rate))
        runs.append(run(f"deep-{arm}-x", residual=arm, n_layer=9, train=1.5, learning_rate=0.3))
        runs.append(run(f"lr-{arm}-x", residual=arm, n_layer=1, train=1.6, learning_rate=0.3))
    silent = [
        run("silent-silent-x", residual="silent", n_layer=1, train=2.5 + lr, learning_rate=lr)
        for lr in (0.1, 0.2)
    ]
    rows, note = made("train_depth", result(*runs, *silent, run("dose-pre-x", train=0.1)))
    assert rows[0] == ["layers", "1", "4", "9"]
    expected = ["1.600, 0.3", "2.500 (2.250 to 2.750), 0.01", "1.500, 0.3"]
    assert [row[1:] for row in rows[1:]] == [expected] * 2
    assert "`silent`, the same at every depth: 2.600, 0.1." in note


def test_seeds_are_a_mean_and_its_range_at_the_best_rate_and_beside_it():
    losses = {
        ("none", 0.1): (3.0, 3.5, 4.6),
        ("none", 0.2): (3.0,),
        ("none", 0.3): (3.1,),
        ("none", 0.4): (9.0,),
    }
    losses |= {("pre", 0.2): (2.0, 2.1, 2.5), ("pre", 0.3): (2.4, 2.2, 2.3), ("pre", 0.4): (None, 0.1)}
    runs = [
        run(f"lr-{arm}-x", loss, residual=arm, learning_rate=lr, n_layer=12)
        for (arm, lr), seeds in losses.items()
        for loss in seeds
    ]
    other = run("lr-pre-x", 0.1, learning_rate=0.2)  # of four layers
    silent = [
        run(f"silent-silent-{rate}", 2.5 + rate, residual="silent", learning_rate=rate, n_layer=1)
        for rate in (0.1, 0.2, 0.3, 0.4, 0.8)
    ]
    assert made("seeds", result(*runs, other, *silent))[0][1:] == [
        ["`pre`", "0.2", "2.200", "2.000 to 2.500"],
        ["`pre`", "0.3", "2.300", "2.200 to 2.400"],
        ["`none`", "0.1", "3.700", "3.000 to 4.600"],
        ["`none`", "0.2", "3.000", "3.000 to 3.000"],
        ["`none`", "0.3", "3.100", "3.100 to 3.100"],
        ["`silent`", "0.1", "2.600", "2.600 to 2.600"],  # at the rates of the others alone
        ["`silent`", "0.2", "2.700", "2.700 to 2.700"],
        ["`silent`", "0.3", "2.800", "2.800 to 2.800"],
    ]


def test_the_blocks_of_llama_are_at_the_best_of_their_own_rates():
    runs = []
    for arm, val in (("none", 3.2), ("pre", 2.3)):
        runs += [run(f"llama-{arm}-x", val, residual=arm), run(f"llama-{arm}-y", val + 0.2, residual=arm)]
        runs.append(run(f"llama-{arm}-z", 0.5, 2.1, residual=arm, learning_rate=0.5))  # worse in training
    runs += [run("llama-silent-x", 2.8, residual="silent", learning_rate=0.2)]
    rows, note = made(
        "llama", result(*runs, run("lr-pre-x", 0.1), run("silent-silent-x", 0.1, residual="silent"))
    )
    assert [row[2] for row in rows[1:]] == ["2.400 (2.300 to 2.500)", "3.300 (3.200 to 3.400)", "2.800"]
    assert rows[1][-1] == "-0.400" and "learning rates: `pre` 0.001, `none` 0.001, `silent` 0.2." in note


def test_what_was_changed_is_grouped_by_what_it_was_below_what_was_not():
    usual = {"learning_rate": 3e-3, "n_layer": 12}
    control = {"residual": "silent", "n_layer": 1}
    runs = [run("warmup-none-x", val, residual="none") for val in (2.5, 2.75)]
    runs += [
        run("sgd-pre-x", 3.0, learning_rate=0.5),
        run("sgd-none-x", None, residual="none", learning_rate=0.5),
    ]
    runs += [run("mlp-skip-only-pre-x", 3.1, mlp_residual="pre")]
    runs += [
        run("silent-silent-x", val, **control, learning_rate=lr) for val, lr in ((2.9, 3e-3), (0.1, 0.1))
    ]
    runs += [run("lr-none-x", 3.0, residual="none", **usual)]
    runs += [run("lr-pre-x", val, **usual) for val in (2.0, 2.25)]
    runs += [run("lr-pre-y", 0.1, **usual | other) for other in ({"learning_rate": 0.1}, {"n_layer": 4})]
    assert made("sceptic", result(*runs))[0][1:] == [
        ["nothing", "3.000", "-0.100", "+0.600"],
        ["nothing, with skips (`pre`)", "2.125 (2.000 to 2.250)", "-0.975", "-0.275"],
        ["no blocks (`silent`)", "2.900", "-0.200", "+0.500"],
        ["half of the run is warmup", "2.625 (2.500 to 2.750)", "-0.475", "+0.225"],
        ["SGD, learning rate 0.5, with skips (`pre`)", "3.000", "-0.100", "+0.600"],
        ["SGD, learning rate 0.5", "diverged", "+inf", "+inf"],
        ["skips around the MLP only", "3.100", "+0.000", "+0.700"],
    ]
