"""What a wiring's class says of itself is what is measured: all wirings, and new ones, right and wrong."""

import subprocess
import sys

import pytest
import torch
from conftest import ROOT, tiny_model
from torch import nn

from reslab import check
from reslab.residual import WIRINGS, PreNorm, Residual


@pytest.mark.parametrize("name", WIRINGS)
def test_every_wiring_is_what_it_says(name):
    assert check.faults(WIRINGS[name]) == []


class Half(Residual):
    equation = "y = x / 2 + F(N(x))"
    skip = 0.5
    has_identity = False

    def forward(self, x, branch):
        return 0.5 * x + branch(self.norm(x))


class FloatAlpha(Residual):
    """alpha is a float and no parameter, and a model of it grows."""

    equation = "y = x + alpha F(N(x))"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.alpha = 0.3

    def forward(self, x, branch):
        return x + self.alpha * branch(self.norm(x))


class Pair(Residual):
    equation = "y = x + F(N(x)), beside it the x before"
    skip = None
    single_tensor = False

    @staticmethod
    def open(x):
        return {"now": x, "before": x}.values()

    @staticmethod
    def running(stream):
        return next(iter(stream))

    def forward(self, stream, branch):
        x = self.running(stream)
        return [x + branch(self.norm(x)), x]


@pytest.mark.parametrize("wiring", [Half, FloatAlpha, Pair])
def test_a_new_wiring_that_tells_the_truth_passes(wiring):
    assert check.faults(wiring) == []


class ForgetsSkip(Half):
    equation = "y = x / 2 + F(N(x))"
    skip = Residual.skip


class ForgetsAll(Residual):
    def forward(self, x, branch):
        return 0.5 * x + branch(self.norm(x))


class SaysAnothersEquation(PreNorm):
    skip = 0.5

    def forward(self, x, branch):
        return 0.5 * x + branch(self.norm(x))


class SaysSkip(Residual):
    equation = "y = x + sin(x) + F(N(x))"
    has_identity = False

    def forward(self, x, branch):
        return x + x.sin() + branch(self.norm(x))


class SaysNone(FloatAlpha):
    equation = "y = x + alpha F(N(x))"
    skip = None


class SaysSingle(Pair):
    equation = "y = x + F(N(x))"
    single_tensor = True


class Unreadable(Pair):
    equation = "y = x + F(N(x))"

    @classmethod
    def read(cls, stream):
        return torch.stack([*stream])


class Grows(Residual):
    equation = "y = x + F(N(x)), all kept"
    skip = None
    single_tensor = False
    open = staticmethod(lambda x: [x])
    running = staticmethod(lambda stream: stream[-1])

    def forward(self, stream, branch):
        return [*stream, stream[-1] + branch(self.norm(stream[-1]))]


class PastTheNorm(Residual):
    equation = "y = x + F(N(x) + x)"

    def forward(self, x, branch):
        return x + branch(self.norm(x) + x)


class WithoutNorm(Residual):
    equation = "y = x + F(x)"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.norm = nn.Identity()

    def forward(self, x, branch):
        return x + branch(x)


class NotSilent(FloatAlpha):
    equation = "y = x + alpha F(N(x))"

    def silence(self, branch):
        self.alpha = 0.1


class SaysIdentity(Residual):
    equation = "y = F(N(x))"
    skip = 0.0

    def forward(self, x, branch):
        return branch(self.norm(x))


class ByDepth(Residual):
    equation = "y = x + F(N(x)) / (depth + 1)"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = 1 / (depth + 1)

    def forward(self, x, branch):
        return x + self.scale * branch(self.norm(x))


class ByLayers(ByDepth):
    equation = "y = x + F(N(x)) / L"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.scale = 1 / config.n_layer


class Unused(FloatAlpha):
    equation = "y = x + alpha F(N(x))"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.unused = nn.Parameter(torch.ones(()))


class TwoZeros(Residual):
    equation = "y = x + a b F(N(x))"

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.a, self.b = (nn.Parameter(torch.zeros(())) for _ in range(2))

    def forward(self, x, branch):
        return x + self.a * self.b * branch(self.norm(x))


class Rounds(Residual):
    equation = "y = M x + F(N(x))"
    skip = None

    def __init__(self, config, depth):
        super().__init__(config, depth)
        self.mix = nn.Parameter(torch.eye(config.n_embd))

    def forward(self, x, branch):
        return x @ self.mix + branch(self.norm(x))


class RoundsAside(Rounds):
    """A second stream, which the head never gets."""

    equation = "y = x + F(N(x)), z' = M z"
    single_tensor = False
    compile_per_block = True
    open = staticmethod(lambda x: (x, x))
    running = staticmethod(lambda stream: stream[0])

    def forward(self, stream, branch):
        x, aside = stream
        kept = aside @ self.mix
        return x + branch(self.norm(x)) + 0 * kept, kept


class WithoutForward(Residual):
    equation = "y = ?"


class Raises(Residual):
    equation = "y = ?"

    def forward(self, x, branch):
        raise KeyError("no")


WRONG = {
    ForgetsSkip: ["skip is 1.0, measured 0.5: write skip = 0.5"],
    ForgetsAll: [
        'equation is missing: write equation = "y = ..."',
        "skip is 1.0, measured 0.5: write skip = 0.5",
    ],
    SaysAnothersEquation: ['equation is missing: write equation = "y = ..."'],
    SaysSkip: ["skip is 1.0, measured None: write skip = None"],
    SaysNone: ["skip is None, measured 1.0: write skip = 1.0"],
    SaysSingle: ["single_tensor is True, measured False: write single_tensor = False"],
    Unreadable: ["read gives (2, 2, 8, 16): let read(stream) return one tensor of shape (2, 8, 16)"],
    Grows: [
        "stream_grows is False, measured True: write stream_grows = True",
        "compile_per_block is True, measured False: write compile_per_block = False",
    ],
    PastTheNorm: ["the gradients by skip and norm don't sum to that of x"],
    WithoutNorm: ["norm is called 0 times, not once: let the branch read what self.norm gives"],
    NotSilent: ["silence(branch) leaves something: set to 0 there"],
    SaysIdentity: ["has_identity is True, measured False: write has_identity = False"],
    ByDepth: [
        "depth_independent is True, measured False: write depth_independent = False",
        "compile_per_block is True, measured False: write compile_per_block = False",
    ],
    ByLayers: ["depth_independent is True, measured False: write depth_independent = False"],
    Unused: ["blocks.0.attn_residual.unused has no gradient: let forward use it"],
    TwoZeros: ["blocks.*.attn_residual.a (and 15 more) gets a gradient of 0 in 4 updates"],
    Rounds: ["bfloat16 autocast rounds the stream"],
    RoundsAside: ["blocks.*.attn_residual.mix", "bfloat16 autocast rounds the stream"],
    WithoutForward: ["forward is missing: write forward(self, x, branch)"],
    Raises: ["check_stream can't run: KeyError: 'no'"],
}


@pytest.mark.parametrize("wiring", WRONG)
def test_a_wiring_that_says_something_else_is_told_what_to_write(wiring):
    lines = check.faults(wiring)
    assert len(lines) == len(WRONG[wiring]), lines
    for expected in WRONG[wiring]:
        assert any(line.startswith(expected) for line in lines), lines
    assert all("\n" not in line for line in lines)


def test_what_is_recorded_is_what_the_class_says():
    """Of a class without a docstring, and of an instance whose weight is a setting."""
    assert Half.__doc__ is None
    facts = {"equation": "y = x / 2 + F(N(x))", "skip": 0.5, "has_identity": False, "version": 1}
    residual = check.build(Half).blocks[0].attn_residual
    assert residual.facts() == facts
    assert tiny_model(residual="scaled", residual_scale=0.25).blocks[0].mlp_residual.facts()["skip"] == 0.25


def test_the_checks_are_a_program(capsys, monkeypatch):
    monkeypatch.setitem(WIRINGS, "mine", ForgetsAll)
    assert check.main(["pre"]) == 0 and check.main(["pre", "mine"]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == printed[1] == "pre: all checks passed"
    assert "mine: skip is 1.0, measured 0.5: write skip = 0.5" in printed
    with pytest.raises(ValueError, match=f"nope: no wiring of this name; allowed are {', '.join(WIRINGS)}"):
        check.main(["nope"])


@pytest.mark.slow
def test_nothing_reads_a_docstring():
    """-OO leaves them out."""
    command = [sys.executable, "-OO", "-m", "reslab.check", "pre", "none", "hyper"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.count("all checks passed") == 3, done.stdout + done.stderr
