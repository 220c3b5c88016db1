"""The two runs of the demo whose logs are kept, for its pictures."""

from reslab.report.figure import SPOKEN as NAMES
from reslab.run.log import Run


def arms(runs: list[Run]) -> dict[str, Run]:
    """Both runs, the one with skips first."""
    by_name = {run.config["residual"]: run for run in runs}
    return {arm: by_name[arm] for arm in NAMES}


def probed(run: Run, probe: str) -> dict[int, list[float]]:
    """Training step -> the values of a probe over the layers."""
    return dict(zip(*run.series(f"probe/{probe}"), strict=True))
