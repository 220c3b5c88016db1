"""What became of the runs that got an early warning, and of the others, in results that have a control."""

from experiments.tables import Table, final_loss, group_by, mean_of, span

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
    """How many of the runs that got an early warning ended below the control of their result, and how many
    of the others did not."""
    told, others = {}, {}  # folder -> by how much each of its runs ended below the control
    for (folder, _), result in zip(RESULTS, results, strict=True):
        silent = controls(result)
        for run in (run for run in result["runs"] if run["residual"] != "silent"):
            gains = told if run["early_warning"] else others
            gains.setdefault(folder, []).append(silent[run.get("n_embd")] - final_loss(run))
    below = {name: [gain for gain in gains if gain > 0] for name, gains in told.items()}
    above = {name: sum(gain <= 0 for gain in gains) for name, gains in others.items()}
    erred = [f"{len(n)} of `{name}` (by {span(n, '{:.3f}'.format)})" for name, n in below.items() if n]
    missed = [f"{n} of `{name}`" for name, n in above.items() if n]
    return (
        f"Of {sum(map(len, told.values()))} stored runs that were warned, in {len({f for f, _ in RESULTS})} "
        f"experiments with `silent` in the same file, {sum(map(len, below.values()))} ended below it: "
        f"{', '.join(erred) or 'none'}. Of the {sum(map(len, others.values()))} that were not, "
        f"{sum(above.values())} did not: {', '.join(missed) or 'none'}.\n"
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
