"""The heading of a page: what it says of two arms follows from their losses, errors and baselines."""

import pytest
from runs_by_hand import LINES, write_run

from reslab.report.claim import arm_names, claim, learned, pair_of
from reslab.report.facts import load

UNIGRAM = LINES["unigram"]["val"]
LETTERS = {
    "source": "a text",
    "source_sha256": "0",
    "vocab_size": 50,
    "splits": {"train": {"tokens": 9, "chars": 9}},
}


@pytest.fixture
def make_run(tmp_path):
    return lambda name="run", **settings: load(write_run(tmp_path, name, **settings))


def pair(make_run, with_skips=2.2, without=UNIGRAM, **settings):
    return [
        make_run("a", losses=(4.0, with_skips), **settings),
        make_run("b", residual="none", losses=(4.0, without), **settings),
    ]


BOTH = "24 layers learn more than token frequencies with skips and without them."
HEADINGS = [
    ((2.2, UNIGRAM), "24 layers with skips learn. The same 24 layers without them do not."),
    ((UNIGRAM, 2.2), "24 layers without skips learn. The same 24 layers with them do not."),
    ((UNIGRAM, UNIGRAM + 1), "24 layers have learned neither with skips nor without them after 10 updates."),
    (
        (2.2, 2.5),
        f"{BOTH} With skips the loss is 0.30 nats lower.",
    ),
    (
        (2.5, 2.2),
        f"{BOTH} With skips the loss is 0.30 nats higher.",
    ),
    (
        (2.2, 2.25),  # the error of a difference is larger than that of each of the two, 0.021
        f"{BOTH} Their losses do not differ.",
    ),
    (
        (2.2, 2.27),
        f"{BOTH} With skips the loss is 0.07 nats lower.",
    ),
    # 0.021 is the standard error of a loss: within two of them nothing was learned.
    ((2.2, UNIGRAM - 0.04), "24 layers with skips learn. The same 24 layers without them do not."),
]


@pytest.mark.parametrize(("losses", "heading"), HEADINGS)
def test_the_heading_is_what_the_losses_say(make_run, losses, heading):
    assert claim(pair(make_run, *losses, n_layer=24))["heading"] == heading


def test_losses_without_errors_are_what_they_are(make_run):
    """Whoever brings curves of other programs has none: each difference counts then."""

    def bare(name, loss, **settings):
        rows = [{"step": 0, "train/loss": 4.0, "val/loss": 4.0}]
        rows += [{"step": 9, "train/loss": LINES["unigram"]["train"] - 1e-3, "val/loss": loss}]
        end = {"step": 9, "status": "finished", "diagnosis": ""}
        return make_run(name, rows=[*rows, end], **settings)

    below, on, above = (bare(f"r{k}", UNIGRAM + k / 1000) for k in (-1, 0, 1))
    assert [learned(run) for run in (below, on, above)] == [True, False, False]
    runs = [bare("a", 2.2), bare("b", 2.21, residual="none")]
    assert claim(runs)["heading"].endswith("With skips the loss is 0.01 nats lower.")
    stuck = [bare("c", 2.2), bare("d", UNIGRAM, residual="none")]
    assert not any("training data" in note for note in claim(stuck)["notes"])


def test_one_layer_is_not_several(make_run):
    heading = claim(pair(make_run, n_layer=1))["heading"]
    assert heading == "1 layer with skips learns. The same 1 layer without them does not."


def test_two_recipes_are_not_called_the_same(make_run):
    runs = [make_run("a", losses=(4.0, 2.2), seed=3), make_run("b", residual="none", losses=(4.0, UNIGRAM))]
    assert "The same" in claim(runs)["heading"]  # a seed is no recipe
    runs[1] = make_run("c", residual="none", losses=(4.0, UNIGRAM), learning_rate=0.5)
    said = claim(runs)
    assert said["heading"] == "4 layers with skips learn. 4 layers without them do not."
    assert said["notes"][-1].startswith("3 settings differ between the two: learning_rate (0.001 and 0.5)")


def test_a_run_that_trains_is_not_judged_and_one_that_diverged_has_not_learned(make_run):
    ours = make_run("a", losses=(4.0, 2.2))
    training = make_run("b", residual="none", losses=(4.0, 2.2), status="")
    said = claim([ours, training])
    assert said["heading"] == "4 layers, with skips and without them"
    assert [row["learned"] for row in said["rows"]] == [True, None]
    gone = make_run("c", residual="none", losses=(4.0, 4.4), status="diverged")
    assert claim([ours, gone])["heading"].endswith("without them do not.")
    assert not any("training data" in note for note in claim([ours, gone])["notes"])


def test_the_numbers_under_the_heading_are_the_last_ones_beside_the_baseline_of_validation(make_run):
    said = claim([make_run("a", losses=(4.0, 2.1, 2.2)), make_run("b", residual="none", losses=(4.0, 3.1))])
    assert said["baseline"] == LINES["unigram"]["val"]
    assert [(row["val"], row["se"]) for row in said["rows"]] == [(2.2, 0.022), (3.1, 0.021)]


def test_without_a_baseline_nothing_is_claimed(make_run):
    none = {"uniform": None, "unigram": {"train": None, "val": None}, "bigram": {"train": None, "val": None}}
    runs = pair(make_run, facts={"baselines_nats": none})
    assert claim(runs)["heading"] == "4 layers, with skips and without them"
    assert learned(runs[0]) is None and claim(runs)["baseline"] is None


def test_letters_are_letters_where_a_token_is_one(make_run):
    said = claim(pair(make_run, without=3.4, facts={"dataset": LETTERS}))
    assert (said["unit"], said["frequencies"]) == ("character", "letter frequencies alone")
    assert "fails on its training data as well: its loss there is 3.01" in said["notes"][0]
    assert "letter frequencies alone give 2.97" in said["notes"][0]
    said = claim(pair(lambda name, **k: make_run(f"t{name}", **k)))
    assert (said["unit"], said["frequencies"]) == ("token", "token frequencies alone")
    words = LETTERS | {"splits": {"train": {"tokens": 9, "chars": 40}}}
    assert (
        claim(pair(lambda name, **k: make_run(f"w{name}", **k), facts={"dataset": words}))["unit"] == "token"
    )
    assert len(said["notes"]) == 1  # its training loss is below the baseline: no word of overfitting


def test_the_start_that_comes_with_the_skip_is_named(make_run):
    said = claim(pair(make_run, init="wiring"))["notes"][-1]
    assert said.startswith("One setting differs between the two: residual (pre and none).")
    assert "with --init=unscaled on both, the skip is all that differs." in said
    later = pair(lambda name, **k: make_run(f"u{name}", **k, facts={"git_commit": name}), init="unscaled")
    said = claim(later)["notes"][-1]
    assert said == "One setting differs between the two: residual (pre and none).", "a commit is no setting"


def test_of_many_runs_the_deepest_that_are_alike_are_the_pair(make_run):
    runs = [
        make_run(f"{arm}{n}{rate}", residual=arm, n_layer=n, learning_rate=rate)
        for arm in ("scaled", "pre", "none")
        for n, rate in ((4, 0.1), (8, 0.1), (8, 0.2))
    ]
    lonely = make_run("lonely", n_layer=99)
    with_skips, without = pair_of([*runs, lonely])
    assert (with_skips.folder.name, without.folder.name) == ("pre80.1", "none80.1")
    assert pair_of([lonely, *runs[:3]]) is None and claim([]) is None
    seeds = [
        make_run(f"{arm}-s{s}", residual=arm, seed=s) for arm, s in (("pre", 1), ("none", 2), ("none", 1))
    ]
    assert [run.config["seed"] for run in pair_of(seeds)] == [1, 1]
    training = [make_run(f"t{arm}", residual=arm, n_layer=50, status="") for arm in ("pre", "none")]
    assert pair_of([*training, *runs])[0].folder.name == "pre80.1"  # those that have ended
    unlike = [runs[4], runs[8]]  # of two rates, but ended
    assert [run.folder.name for run in pair_of([*training, *unlike])] == ["pre80.1", "none80.2"]


def test_an_arm_has_a_name_that_people_use_and_no_two_have_the_same(make_run):
    runs = [make_run("a"), make_run("b", residual="none")]
    assert arm_names(runs) == ["with skips", "without skips"]
    deeper = make_run("c", n_layer=8)
    assert arm_names([*runs, deeper]) == [
        "with skips, 4 layers",
        "without skips, 4 layers",
        "with skips, 8 layers",
    ]
    other = make_run("d", residual="scaled")
    assert arm_names([*runs, other]) == [
        "with skips (pre, 4 layers)",
        "without skips",
        "with skips (scaled 0.5, 4 layers)",
    ]
    silent = make_run("e", residual="silent", facts={"wiring": runs[0].facts["wiring"]})
    unknown = make_run("f", without=("wiring",))
    assert arm_names([runs[1], silent, unknown]) == ["without skips", "silent, 4 layers", "pre, 4 layers"]


def test_a_token_of_which_there_are_more_than_characters_is_no_letter(make_run):
    facts = {"dataset": LETTERS | {"splits": {"train": {"tokens": 12, "chars": 9}}}}
    assert claim(pair(make_run, facts=facts))["unit"] == "token"
