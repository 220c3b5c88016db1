"""WikiText-2 by its words: 12 layers, pre-norm and ReZero, beside what ReZero's authors print."""

from experiments.tables import Table, markdown, origin

PUBLISHED = {"pre": 243.25, "rezero": 228.46}  # after one pass, in the notebook that config/rezero.py names


def rezero(result: dict) -> str:
    """A row for each run, with the standard error of its loss over the evaluation sequences."""
    rows = [
        [
            f"`{run['residual']}`",
            f"{run['val/loss']:.3f} ± {run['val/loss_se']:.3f}",
            f"{run['val/word_perplexity']:.0f}",
            f"{PUBLISHED[run['residual']]:.0f}",
        ]
        for run in result["runs"]
    ]
    return markdown(["wiring", "val loss", "perplexity per word", "published"], rows) + origin(result)


TABLES = {"rezero": Table(rezero)}
