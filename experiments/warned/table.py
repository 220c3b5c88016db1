"""What became of the runs that got an early warning, in the results that have a control beside them."""

from experiments.tables import Table, group_by, learned, mean_of, span

RESULTS = (  # folder and result
    ("degradation", "result"),
    ("depth_mup", "result"),
    ("dose", "edges"),
    ("ladder", "result"),
    ("rescue", "result"),
    ("rescue", "shakespeare"),
    ("study", "result"),
    ("thousand", "result"),
    ("which_skip", "result"),
    ("widths", "result"),
    ("widths", "shakespeare"),
)


def warned(*results: dict) -> str:
    """How many of the runs that got an early warning ended below the control of their result."""
    total, below = 0, {}
    for (folder, _), result in zip(RESULTS, results, strict=True):
        silent, gains = controls(result), below.setdefault(folder, [])
        for run in (run for run in result["runs"] if run["early_warning"]):
            total += 1
            if learned(run["val/loss"], silent[run.get("n_embd")]):
                gains.append(silent[run.get("n_embd")] - run["val/loss"])
    each = [
        f"{len(gains)} of `{name}` (by {span(gains, '{:.3f}'.format)})"
        for name, gains in below.items()
        if gains
    ]
    return (
        f"Of {total} stored runs that were warned, in {len(below)} experiments with `silent` in the same "
        f"file, {sum(map(len, below.values()))} ended below it: {', '.join(each) or 'none'}.\n"
    )


def controls(result: dict) -> dict[int | None, float]:
    """Width, where that differs -> the loss of `silent`, at its best rate where it has several."""
    runs = [
        {"n_embd": None, "learning_rate": None} | run for run in result["runs"] if run["residual"] == "silent"
    ]
    rates = [
        (width, mean_of(members)) for (width, _), members in group_by(runs, "n_embd", "learning_rate").items()
    ]
    return {width: min(loss for other, loss in rates if other == width) for width, _ in rates}


TABLES = {"warned": Table(warned, tuple(f"../{folder}/{name}" for folder, name in RESULTS))}
