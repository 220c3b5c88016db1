"""One recipe for 2, 6 and 24 layers."""

from experiments.tables import ARMS, Table, over_depth


def depth_mup(result: dict) -> str:
    """Validation loss by wiring and depth."""
    names = {"depth_mup": "with skips (`depth_mup`)", "pre": ARMS["pre"], "none": ARMS["none"]}
    arms = {name: [run for run in result["runs"] if run["residual"] == arm] for arm, name in names.items()}
    return over_depth(result, "val/loss", arms)


TABLES = {"depth_mup": Table(depth_mup)}
