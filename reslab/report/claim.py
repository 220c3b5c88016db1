"""What a page says first: which two of its runs are the two arms, their names, and whether they learned.

A stack has learned where its validation loss is below the unigram baseline by more than two standard errors:
then it knows more than how frequent each token is.
"""

import math

from reslab.report.diagnosis import MANY_ERRORS, side
from reslab.report.facts import baselines_of
from reslab.report.groups import FIRST_ARMS, WITH, WITHOUT, arm, labels, settings_key
from reslab.report.summary import FACTS, differences
from reslab.run.fields import with_part
from reslab.run.log import Run
from reslab.run.settings import TrainConfig

WIRING = with_part(TrainConfig, "wiring")


def skips_of(run: Run) -> bool | None:
    """Whether a run's sublayers have skips; None where only one kind has, or where that is not known."""
    if arm(run.config) == "silent":
        return None
    known = {
        None if "skip" not in wiring or wiring.get("equation") in ("", "unknown") else wiring["skip"] != 0
        for wiring in run.facts["wiring"].values()
    }
    return known.pop() if len(known) == 1 else None


def arm_names(runs: list[Run]) -> list[str]:
    """What people call each run: `with skips` or `without skips`, and more where that is not enough."""
    known = {True: WITH, False: WITHOUT, None: ""}
    sides, all_labels = [known[skips_of(run)] for run in runs], labels(runs)
    depths = {run.config["n_layer"] for run in runs}
    names = [
        f"{words}, {_layers(run)}" if words and len(depths) > 1 else words
        for words, run in zip(sides, runs, strict=True)
    ]
    return [
        (name if names.count(name) == 1 else f"{words} ({label})") if words else label
        for name, words, label in zip(names, sides, all_labels, strict=True)
    ]


def _layers(run: Run) -> str:
    count = run.config["n_layer"]
    return f"{count} layer" if count == 1 else f"{count} layers"


def pair_of(runs: list[Run]) -> tuple[Run, Run] | None:
    """A run with skips and one without, of the same depth: finished, as alike as possible, the deepest."""
    sides: dict[bool | None, list[Run]] = {True: [], False: [], None: []}
    for run in runs:
        sides[skips_of(run) if run.config["n_layer"] else None].append(run)
    settings = {run.folder: settings_key(run, WIRING) for run in runs}

    def alike(pair: tuple[Run, Run]) -> tuple:
        run, other = pair
        same = (settings[run.folder] == settings[other.folder]) + (run.config["seed"] == other.config["seed"])
        finished = (run.status == "finished") + (other.status == "finished")
        return finished, same, _is_first(run) + _is_first(other), run.config["n_layer"]

    pairs = ((run, other) for run in sides[True] for other in sides[False])
    deep = (pair for pair in pairs if pair[0].config["n_layer"] == pair[1].config["n_layer"])
    return max(deep, key=alike, default=None)


def _is_first(run: Run) -> bool:
    return arm(run.config) in FIRST_ARMS


def learned(run: Run) -> bool | None:
    """Whether a run ended below the unigram baseline of its own data; None where that can't be told."""
    if run.status == "diverged":
        return False
    loss, unigram = run.last("val/loss"), baselines_of(run, "val")["unigram"]
    if loss is None or unigram is None or run.status != "finished":
        return None
    return side(loss, run.last("val/loss_se") or 0.0, unigram) < 0


def claim(runs: list[Run]) -> dict | None:
    """The heading of a page and the numbers under it; None where no two runs are a pair."""
    pair = pair_of(runs)
    if pair is None:
        return None
    same = settings_key(pair[0], WIRING) == settings_key(pair[1], WIRING)
    return {
        "pair": [str(run.folder) for run in pair],
        "heading": heading(*pair, same),
        "unit": _unit(pair[0]),
        "rows": [_losses(run, name) for run, name in zip(pair, (WITH, WITHOUT), strict=True)],
        "baseline": baselines_of(pair[0], "val")["unigram"],
        "frequencies": f"{_letters(pair[0])} frequencies alone",
        "notes": [*_training_notes(pair), _what_differs(pair)],
    }


def heading(run: Run, other: Run, same: bool) -> str:
    """Which of two runs of one depth learned: the first with skips, the other without."""
    count, layers = run.config["n_layer"], _layers(run)
    again = ("The same " if same else "") + layers
    do, learn, have = ("do", "learn", "have") if count > 1 else ("does", "learns", "has")
    match learned(run), learned(other):
        case True, False:
            return f"{layers} with skips {learn}. {again} without them {do} not."
        case False, True:
            return f"{layers} without skips {learn}. {again} with them {do} not."
        case False, False:
            step = run.rows[-1]["step"]
            return f"{layers} {have} learned neither with skips nor without them after {step} updates."
        case True, True:
            more = f"more than {_letters(run)} frequencies"
            return f"{layers} {learn} {more} with skips and without them. {_compared(run, other)}"
    return f"{layers}, with skips and without them"


def _compared(run: Run, other: Run) -> str:
    gap = other.last("val/loss") - run.last("val/loss")
    error = math.hypot(run.last("val/loss_se") or 0.0, other.last("val/loss_se") or 0.0)
    if abs(gap) <= MANY_ERRORS * error:
        return "Their losses do not differ."
    return f"With skips the loss is {abs(gap):.2f} nats {'lower' if gap > 0 else 'higher'}."


def _losses(run: Run, name: str) -> dict:
    loss, error = run.last("val/loss"), run.last("val/loss_se")
    return {
        "name": name,
        "folder": str(run.folder),
        "val": loss if loss is None or math.isfinite(loss) else None,
        "se": error if error is None or math.isfinite(error) else None,
        "learned": learned(run),
        "status": run.status,
        "step": run.rows[-1]["step"] if run.rows else 0,
    }


def _training_notes(pair: tuple[Run, Run]) -> list[str]:
    """That a stack which did not learn is at the baseline on its training data, too, where it is."""
    notes = []
    for run, name in zip(pair, (WITH, WITHOUT), strict=True):
        loss, unigram = run.last("train/loss"), baselines_of(run, "train")["unigram"]
        if learned(run) is not False or run.status == "diverged" or None in (loss, unigram):
            continue
        if side(loss, run.last("train/loss_se") or 0.0, unigram) >= 0:
            notes.append(
                f"The stack {name} fails on its training data as well: its loss there is {loss:.2f}, and "
                f"{_letters(run)} frequencies alone give {unigram:.2f}. So this is not overfitting."
            )
    return notes


def _what_differs(pair: tuple[Run, Run]) -> str:
    rows = [row for row in differences(list(pair)) if row["setting"] not in ("out_dir", *FACTS)]
    listed = [f"{row['setting']} ({' and '.join(list(row.values())[1:])})" for row in rows]
    if not listed:
        return "No setting differs between the two."
    start = "One setting differs" if len(listed) == 1 else f"{len(listed)} settings differ"
    text = f"{start} between the two: {', '.join(listed)}."
    if {arm(run.config) for run in pair} == set(FIRST_ARMS) and pair[0].config.get("init") == "wiring":
        text += " It changes the skip, and how large the output projections start; with --init=unscaled "
        text += "on both, the skip is all that differs."
    return text


def _letters(run: Run) -> str:
    """What a token is: a letter where the data have as many tokens as characters."""
    train = (run.facts["dataset"].get("splits") or {}).get("train") or {}
    return "letter" if train.get("chars") and train["chars"] == train.get("tokens") else "token"


def _unit(run: Run) -> str:
    return "character" if _letters(run) == "letter" else "token"
