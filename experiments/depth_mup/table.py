"""One recipe for 2, 6 and 24 layers."""

from functools import partial

from experiments.tables import ARMS, Table, over_depth

ROWS = {("depth_mup",): "with skips (`depth_mup`)", ("pre",): ARMS["pre"], ("none",): ARMS["none"]}
TABLES = {"depth_mup": Table(partial(over_depth, figure="val/loss", arms=ROWS))}
