"""The bounds of settings: a value at its bound is taken or refused as the message says."""

import math
import re

import pytest

from reslab.run.fields import settings
from reslab.run.options import AutopsyConfig, BenchConfig, CompareConfig, ExportConfig, SampleConfig
from reslab.run.settings import TrainConfig

CLASSES = [TrainConfig, SampleConfig, CompareConfig, AutopsyConfig, ExportConfig, BenchConfig]
BOUNDED = {
    name: (setting.kind is int, check)
    for cls in CLASSES
    for name, setting in settings(cls).items()
    for check in setting.checks
    if re.match("at least|above|finite", check.bounds)
}


@pytest.mark.parametrize("name", BOUNDED)
def test_a_value_at_its_bound_is_taken_or_refused_as_the_message_says(name):
    whole, check = BOUNDED[name]
    text = check.bounds.replace("not negative", "at least 0").replace("2**63", str(2**63))
    for words, number in re.findall(r"(at least|at most|above|below) ([\d.]+)", text):
        bound, step = int(number), 1 if whole else 1e-9
        inwards = step if words in ("at least", "above") else -step
        assert check.holds(bound) is (words in ("at least", "at most")), (check.bounds, bound)
        assert check.holds(bound + inwards) and not check.holds(bound - inwards), check.bounds
    assert check.holds(math.inf) is False or "finite" not in text
