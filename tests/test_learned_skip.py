"""A wiring in which the weight of x is learned, and what its class may say of that."""

import pytest
import torch
from torch import nn

from reslab import check
from reslab.residual import Residual


class Turned(Residual):
    """The weight of x is learned, and None says so."""

    equation = "y = cos(t) x + sin(t) F(N(x))"
    skip = None

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.t = nn.Parameter(torch.zeros(()))

    def forward(self, x, branch):
        return self.t.cos() * x + self.t.sin() * branch(self.norm(x))


class TurnedNow(Turned):
    equation = "y = cos(t) x + sin(t) F(N(x))"
    skip = property(lambda self: self.t.cos().item())


class SaysConstant(Turned):
    equation = "y = cos(t) x + sin(t) F(N(x))"
    skip = 0.955336


class SaysAnother(Turned):
    equation = "y = cos(t) x + sin(t) F(N(x))"
    skip = property(lambda self: self.t.sin().item())


class SaysTensor(SaysAnother):
    equation = "y = cos(t) x + sin(t) F(N(x))"
    skip = property(lambda self: self.t.cos())


@pytest.mark.parametrize("wiring", [Turned, TurnedNow])
def test_none_is_true_and_so_is_the_present_value(wiring):
    assert check.faults(wiring) == []


LEARNED = "the weight of x is learned: write skip = None, or a property that gives its present value"
WRONG = {
    SaysConstant: f"skip is 0.955336, and {LEARNED}",
    SaysAnother: "skip is 0.40592344",
    SaysTensor: "skip is a Tensor: let it be a number",
}


@pytest.mark.parametrize("wiring", WRONG)
def test_no_number_is_told_that_changes_with_the_weights(wiring):
    (line,) = check.faults(wiring)
    assert line.startswith(WRONG[wiring])
    assert wiring is SaysTensor or line.endswith(LEARNED)
