"""Published results beside rows of our own: WikiText by its words, and the marks of others."""

from test_tables import made, result, run

from experiments.warned.table import RESULTS, warned

FOLDERS = ("degradation", "worth", "laptop", "theory", "rezero")  # of the marks


def test_each_run_on_wikitext_stands_beside_what_is_published_for_its_wiring_and_depth():
    def words(layers, loss, perplexity, **at):
        return run(val=loss, n_layer=layers, **at, **per_word(perplexity))

    runs = [words(128, 5.5, 244.7, residual="rezero", learning_rate=0.002)]
    runs += [words(12, 5.25, 190.6, learning_rate=0.006)]
    runs += [words(12, None, 9.0, learning_rate=0.002)]
    runs += [words(12, loss, 2**loss, learning_rate=0.0007) for loss in (6.0, 8.0, 7.0)]
    runs += [words(12, loss, 7.0, learning_rate=0.0002) for loss in (6.0, None)]
    runs.append(words(1, 6.5, 665.1, learning_rate=0.0007, residual="silent"))
    rows, _ = made("rezero", result(*runs))
    assert rows[1:] == [
        ["`pre`", "12", "0.0002", "6.000, 1 of 2 diverged", "7", "243"],
        ["`pre`", "12", "0.0007", "7.000 (6.000 to 8.000)", "64, 256, 128", "243"],
        ["`pre`", "12", "0.002", "diverged", "", "243"],
        ["`pre`", "12", "0.006", "5.250 ± 0.010", "191", "243"],
        ["`rezero`", "128", "0.002", "5.500 ± 0.010", "245", "211"],
        ["`silent`", "no blocks", "0.0007", "6.500 ± 0.010", "665", ""],
    ]


def test_what_each_seed_has_after_the_first_updates_is_told_in_the_order_of_the_seeds():
    seeds = {2: (7.0, 7.125), 1: (6.5, 6.25)}
    runs = [run(val=val, train=train, seed=seed, step=60) for seed, (train, val) in seeds.items()]
    others = [run(val=6.0, seed=2, step=60, way="one a"), run(val=6.5, seed=1, step=60, way="float32")]
    rows, _ = made("rezero_begun", result(*runs), result(*others))
    assert rows[0] == ["after 60 updates: seed", "as `rezero` is", "one a", "float32"]
    assert rows[1:] == [["1", "6.250", "", "6.500"], ["2", "7.125", "6.000", ""]]


def test_pre_norm_on_the_words_stands_by_rate_beside_no_blocks():
    own = [run(val=5.75, residual="pre", seed=s, learning_rate=0.01) for s in (1, 2)]
    own += [run(val=5.5, residual="silent", learning_rate=0.01), run(val=1.0, residual="rezero")]
    start = [
        run(val=5.0 + k, train=4.0 - k, residual="pre", learning_rate=r) for k, r in enumerate((0.01, 0.03))
    ]
    silent = [run(val=5.25, train=9.0, residual="silent", learning_rate=0.003)]
    rows, _ = made("rezero_starts", result(*own), result(*start), result(*silent))
    assert rows[1:] == [
        ["0.003", "", "", "5.250"],
        ["0.01", "**5.750 (5.750 to 5.750)**", "5.000", "**5.500**"],
        ["0.03", "", "**6.000**", ""],
    ]


def fresh(residual: str, cosine: float, qk: float) -> dict:
    ends = {"token_cosine": [0.0, 0.0, cosine], "qk_gradient": [9.0, qk], "v_gradient": [9.0, 4.0]}
    return {"residual": residual, "n_layer": 2} | ends


def per_word(perplexity: float) -> dict:
    return {"val/word_perplexity": perplexity}


def two_wirings() -> list[dict]:
    """Of each two seeds at its best rate, one at another and one that diverged."""
    return [
        run(train=more and loss + more, residual=name, n_layer=n, learning_rate=rate, **per_word(words))
        for name, n, loss, words in (
            ("pre", 12, 2.0, 200.4),
            ("rezero", 128, 3.0, 9.0),
            ("silent", 1, 4.0, 98.0),
        )
        for rate, more, words in (
            (0.1, 0.2, words),
            (0.1, -0.2, words + 4),
            (0.2, 0.1, 5.0),
            (0.3, None, 1.0),
        )
    ]


def test_a_mark_is_what_the_paper_reports_beside_the_rows_of_its_experiment():
    losses = {"plain": (2.5, 3.5), "skips": (2.25, 2.0)}
    depths = [
        run(f"{grid}-pre-L{n}", 9.0, train=loss + noise, n_layer=n, muon_lr=rate)
        for grid, pair in losses.items()
        for n, loss in zip((3, 48), pair, strict=True)
        for noise, rate in ((0.125, 5e-3), (-0.125, 5e-3), (1.0, 8.7e-3))
    ]
    worth = [
        {
            "arm": arm,
            "learns": learns,
            "n_layer": 9,
            "block": [k, k / 4],
            "random": [j / 10 + more for j in range(9)],
        }
        for arm, k in (("pre", 1), ("none, self", 8), ("none", 16))
        for learns in ("all", 0)
        for more in (-0.05, 0.05)
    ]
    stacks = [result(fresh("pre", 0.5, 2.0), fresh("none", 1.0, 0.004)), result(fresh("pre", 0.25, 1.0))]
    paths = [{"paths": norms} for norms in ([0.5, 1.0, 10.0, 2.0, 0.9], [0, 9, 8, 7, 6], [0, 0, 0, 0, 1])]
    rows, _ = made("marks", result(*depths), result(*worth), *paths, *stacks, result(*two_wirings()))
    he, lesions, lengths, noci, rezero = (row[2] for row in rows[1:])
    assert he.startswith(
        "training loss at 3 and 48 layers, at one rate: plain 2.50 and 3.50, with skips 2.25 and 2.00 ("
    )
    assert "9 blocks: with skips +0.25 to +1.00 without one of them" in lesions
    assert "+0.10, +0.20, +0.30, +0.50, +0.70 without 2, 3, 4, 6 and 8" in lesions
    assert "with no skips +2.00 to +8.00 without one" in lesions
    assert "4 branches, trained: the largest part of the gradient has passed 1 to 4; those of" in lengths
    assert "begin at 1 to 4 and end at 3 to 4 (" in lengths
    assert "behind 2 layers 1.00 without skips, 0.50 with, 0.25 with" in noci
    assert "mid-stack 1e-03, 5e-01, 2e-01" in noci
    assert rezero.startswith(
        "after one pass: 200, 204 with 12 layers of `pre`, 9, 13 with 128 layers of `rezero`, "
        "98, 102 without blocks (`silent`);"
    )
    assert all(f"experiments/{name}/README.md" in row[2] for name, row in zip(FOLDERS, rows[1:], strict=True))
    assert "243 with pre-norm of 12 layers, 228 with ReZero, 211" in rows[5][1]


def test_warned_runs_that_learned_and_others_that_did_not_are_counted_against_the_best_control():
    def ended(loss, warning=None, **at):
        return run(val=loss, early_warning=warning, **at)

    control = [ended(3.0, residual="silent"), ended(2.0, residual="silent", learning_rate=0.2)]
    runs = [ended(1.75, "unlikely"), ended(2.5, "unlikely"), ended(1.0), ended(2.0), ended(None)]
    wide = [ended(4.0, residual="silent", n_embd=8), ended(3.0, n_embd=8)]
    empty = [result(control[0])] * (len(RESULTS) - 2)
    text = warned(result(*control, *runs), *empty, result(*wide))
    assert text.startswith("Of 2 stored runs that were warned, in 9 experiments")
    assert "1 ended below it: 1 of `degradation` (by 0.250). " in text
    assert text.endswith("Of the 4 that were not, 2 did not: 2 of `degradation`.\n")
