"""WikiText-2 by its words: pre-norm and ReZero, beside what ReZero's authors print."""

from experiments.tables import Table, group_by, markdown, origin

# After one pass, in the notebook that config/rezero.py names.
PUBLISHED = {("pre", 12): 243, ("rezero", 12): 228, ("rezero", 128): 211}


def rezero(result: dict) -> str:
    """A row for each run, with the standard error of its loss over the evaluation sequences."""
    rows = []
    for (wiring, layers), runs in sorted(group_by(result["runs"], "residual", "n_layer").items()):
        for run in sorted(runs, key=lambda run: run["learning_rate"]):
            cells = [f"`{wiring}`", f"{layers}", f"{run['learning_rate']:g}", *_ends(run)]
            rows.append([*cells, f"{PUBLISHED[wiring, layers]}"])
    head = ["wiring", "layers", "learning rate", "val loss", "perplexity per word", "published"]
    return markdown(head, rows) + origin(result)


def _ends(run: dict) -> list[str]:
    """Loss and perplexity; a run that diverged has none."""
    if run["val/loss"] is None:
        return ["diverged", ""]
    return [f"{run['val/loss']:.3f} ± {run['val/loss_se']:.3f}", f"{run['val/word_perplexity']:.0f}"]


def best(result: dict) -> dict[tuple[str, int], dict]:
    """(wiring, layers) -> the run at the rate of the lowest training loss."""
    return {
        stack: min((run for run in runs if run["train/loss"]), key=lambda run: run["train/loss"])
        for stack, runs in group_by(result["runs"], "residual", "n_layer").items()
    }


TABLES = {"rezero": Table(rezero)}
