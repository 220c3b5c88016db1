"""Measures what a wiring's class says of itself: `python -m reslab.check NAME`, a line for each wrong answer.

Each check takes the class and yields lines that say what to write. It measures the models of reslab/tiny.py,
whose parameters are moved far from their start where an answer must hold at any value of them.
"""

import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from reslab.instruments import dissection, parts
from reslab.instruments.anatomy import anatomy_of
from reslab.model import GPT
from reslab.residual import WIRINGS, Residual
from reslab.run.config import Positionals, parse, run_door
from reslab.run.fields import named_line
from reslab.tiny import B, C, T, build, draw, token_ids, trace
from reslab.training.growth import PLACES, grow

NEAR = 1e-9  # relative, in float64
LAYER = re.compile(r"\.\d+\.")
LEARNED = "the weight of x is learned: write skip = None, or a property that gives its present value"
UPDATES = 4  # until every parameter that starts behind a zero has got a gradient


def _leaves(stream) -> list[torch.Tensor]:
    """The tensors of a stream, whatever holds them; None is not one yet."""
    return [stream] if torch.is_tensor(stream) else [x for part in stream or () for x in _leaves(part)]


def _equal(one, other) -> bool:
    return all(torch.equal(a, b) for a, b in zip(_leaves(one), _leaves(other), strict=True))


def _close(a: torch.Tensor, b: torch.Tensor, within: float) -> bool:
    return bool((a - b).abs().max() <= within * (1 + b.abs().max()))


def _mismatch(name: str, claimed, measured) -> str:
    return f"{name} is {claimed}, measured {measured}: write {name} = {measured}"


def _weight(residual: Residual, x) -> float | None:
    """The slope of y in x where the branch does not move; None where it is no constant, or x no tensor."""
    if not torch.is_tensor(x) or x.shape != (B, T, C):
        return None
    x, fixed = x.detach(), draw(seed=2)
    slope = residual(2 * x, lambda _: fixed) - residual(x, lambda _: fixed)
    weight = ((slope * x).sum() / x.square().sum()).item()
    return round(weight, 6) + 0.0 if _close(slope, weight * x, 1e-6) else None


def check_equation(wiring: type[Residual]) -> Iterator[str]:
    """Its own, not that of the class it is made from."""
    equation = vars(wiring).get("equation")
    if not isinstance(equation, str) or not equation.strip():
        yield 'equation is missing: write equation = "y = ..."'


def check_forward(wiring: type[Residual]) -> Iterator[str]:
    if wiring.forward is Residual.forward:
        yield "forward is missing: write forward(self, x, branch)"


def check_stream(wiring: type[Residual]) -> Iterator[str]:
    """What is carried: one tensor or several, readable, as many behind the last block as behind the first."""
    steps, end = trace(build(wiring, moved=True))
    streams = [*(stream for _, _, stream in steps), end]
    single = all(torch.is_tensor(stream) and stream.shape == (B, T, C) for stream in streams)
    if wiring.single_tensor != single:
        yield _mismatch("single_tensor", wiring.single_tensor, single)
    grows = len(_leaves(end)) > len(_leaves(streams[2]))
    if wiring.stream_grows != grows:
        yield _mismatch("stream_grows", wiring.stream_grows, grows)
    shapes = {tuple(wiring.read(stream).shape) for stream in streams}
    if shapes != {(B, T, C)}:
        yield f"read gives {max(shapes)}: let read(stream) return one tensor of shape {(B, T, C)}"


def check_skip(wiring: type[Residual]) -> Iterator[str]:
    """The weight of x is the same number as measured in each sublayer, or None there too. A learned one,
    which differs where the parameters do, may be either."""
    for pair in zip(*(trace(build(wiring, moved=True, seed=seed))[0] for seed in (0, 1)), strict=True):
        claimed = [residual.skip for residual, _, _ in pair]
        measured = [_weight(residual, stream) for residual, _, stream in pair]
        learned = not _same(*measured)
        if not isinstance(claimed[0], float | int | None):
            yield f"skip is a {type(claimed[0]).__name__}: let it be a number, such as x.item() of a tensor x"
        elif learned and claimed == [None, None]:
            continue
        elif learned and not all(map(_same, claimed, measured)):
            yield f"skip is {claimed[0]}, and {LEARNED}"
        elif not _same(claimed[0], measured[0]):
            yield _mismatch("skip", claimed[0], measured[0])
        else:
            continue
        return


def _same(a: float | None, b: float | None) -> bool:
    return a == b or (None not in (a, b) and abs(a - b) <= 1e-6)


def check_gradient(wiring: type[Residual]) -> Iterator[str]:
    """Where the skip has a constant weight, its gradient and the branch's sum to that of x."""
    for residual, branch, x in trace(build(wiring, moved=True))[0]:
        if (weight := _weight(residual, x)) is None:
            return
        x, entries = x.detach().requires_grad_(), []

        def enter(module, args, entries=entries):
            entries.append(args[0].view_as(args[0]))
            return (entries[-1],)

        handle = residual.norm.register_forward_pre_hook(enter)
        y = residual(x, branch)
        handle.remove()
        if len(entries) != 1:
            yield f"norm is called {len(entries)} times, not once: let the branch read what self.norm gives"
            return
        grad_out = draw(seed=3)
        grad_in, by_branch = torch.autograd.grad(y, (x, entries[0]), grad_out)
        if not _close(weight * grad_out + by_branch, grad_in, 1e-5):
            yield "the gradients by skip and norm don't sum to that of x: let the branch read self.norm(x)"
            return


def check_silence(wiring: type[Residual]) -> Iterator[str]:
    """A silenced branch adds nothing, at any value of the parameters, and in bfloat16 neither."""
    for half in (False, True):
        for residual, branch, stream in trace(build(wiring, moved=True))[0]:
            weight = _weight(residual, stream)
            with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                residual.silence(branch)
                y = residual(stream, branch)
                same = _equal(y, residual(stream, lambda x, run=branch, **more: 0 * run(x, **more)))
                if not same or (weight is not None and not _close(y, weight * stream, 1e-5)):
                    yield "silence(branch) leaves something: set to 0 there what is added to skip x"
                    return


def check_identity(wiring: type[Residual]) -> Iterator[str]:
    """Whether F = 0 gives y = x, bitwise, with the parameters of a fresh model, in both precisions."""
    same = True
    for half in (False, True):
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            steps, end = trace(_silenced(build(wiring)))
            values = [wiring.read(stream) for _, _, stream in steps] + [wiring.read(end)]
            same &= all(torch.equal(a, b) for a, b in itertools.pairwise(values))
    if wiring.has_identity != same:
        yield _mismatch("has_identity", wiring.has_identity, same)


@torch.no_grad()
def _silenced(model: GPT) -> GPT:
    for residual, branch in (pair for block in model.blocks for pair in block.sublayers()):
        residual.silence(branch)
    return model


def check_depth(wiring: type[Residual]) -> Iterator[str]:
    """Whether sublayers of other layers, and of deeper models, compute the same with the same parameters."""
    shallow, deep = build(wiring, moved=True), build(wiring, moved=True, n_layer=7)
    place_alike = _alike(deep.blocks[1], deep.blocks[5])
    if wiring.depth_independent != (measured := _alike(shallow.blocks[1], deep.blocks[5])):
        yield _mismatch("depth_independent", wiring.depth_independent, measured)
    place_alike &= len(_leaves(trace(deep)[1])) == len(_leaves(deep.stack.open(draw())))
    if wiring.compile_per_block != place_alike:
        yield _mismatch("compile_per_block", wiring.compile_per_block, place_alike)


@torch.no_grad()
def _alike(one, other) -> bool:
    """Whether two blocks compute the same once they have the same parameters."""
    ours, theirs = dict(one.named_parameters()), dict(other.named_parameters())
    if {name: p.shape for name, p in ours.items()} != {name: p.shape for name, p in theirs.items()}:
        return False
    for name, parameter in ours.items():
        theirs[name].copy_(parameter)
    stream = one.attn_residual.open(draw())
    return _equal(one(stream), other(stream))


@torch.no_grad()
def check_repeats(wiring: type[Residual]) -> Iterator[str]:
    """Whether the stack computes in each update what it did before; who says that it does not is believed."""
    model, ends = build(wiring, moved=True).train(), []
    for seed in range(3):
        torch.manual_seed(0), random.seed(seed)
        ends.append(trace(model)[1])
    if wiring.same_every_step and not all(_equal(ends[0], end) for end in ends):
        yield _mismatch("same_every_step", True, False)


def check_learning(wiring: type[Residual]) -> Iterator[str]:
    """Every parameter gets a gradient, some of them after others have left 0."""
    model, learned = build(wiring).train(), set()
    named = dict(model.named_parameters())
    if not wiring.branch_learns:
        named = {name: p for name, p in named.items() if ".attn" not in name and ".mlp" not in name}
    for _ in range(UPDATES):
        loss = model.loss(token_ids(4), token_ids(5))
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        with torch.no_grad():
            for (name, parameter), gradient in zip(named.items(), gradients, strict=True):
                if gradient is None:
                    yield f"{name} has no gradient: let forward use it, or don't make it"
                    return
                if gradient.any():
                    learned.add(LAYER.sub(".*.", name))
                parameter -= 0.5 * gradient
    if silent := {LAYER.sub(".*.", name) for name in named} - learned:
        first, *others = sorted(silent, key=lambda name: ("_residual." not in name, name))
        first += f" (and {len(others)} more)" if others else ""
        yield f"{first} gets a gradient of 0 in {UPDATES} updates: start at most one factor at 0"


def check_growth(wiring: type[Residual]) -> Iterator[str]:
    """Where it can grow, a deeper model says what the shallower one claimed, bitwise."""
    for where in PLACES if wiring.can_grow() else ():
        old, new = build(wiring, moved=True), build(wiring, n_layer=5)
        grow(old, new, where)
        if not torch.equal(old(token_ids(4)), new(token_ids(4))):
            yield f"a model grown at {where} has other logits: write depth_independent = False"
            return


def check_dissection(wiring: type[Residual]) -> Iterator[str]:
    """What autopsy.py does with a model of this wiring."""
    model, ids, targets = build(wiring, moved=True), token_ids(4), token_ids(5)
    able = anatomy_of(model)
    if not able.cannot(parts.LESIONS):
        dissection.lesions(model, ids, targets, draws=1)
    if not able.cannot(parts.JACOBIANS):
        dissection.jacobians(model, ids[:1, :2])
    if not able.cannot(parts.PATHS):
        report = dissection.path_lengths(model, ids[:1], targets[:1])
        if report["error"] > NEAR * (1 + report["total"]):
            yield f"the paths miss the gradient by {report['error']:.1e}: write skip = None"


def check_half_precision(wiring: type[Residual]) -> Iterator[str]:
    """Under bfloat16 autocast streams keep the digits of float32. What has another shape is of a branch."""
    model = _silenced(build(wiring, moved=True))
    exact = _leaves(trace(model)[1])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rounded = _leaves(trace(model.float())[1])
    streams = [(a.double(), b) for a, b in zip(rounded, exact, strict=True) if b.shape[-3:] == (B, T, C)]
    if not all(_close(a, b, within=2e-5) for a, b in streams):
        yield "bfloat16 autocast rounds the stream: compute gates and mixing inside no_autocast(x)"


# The checks of a line rely on those of the lines above, and are left out while one of these fails.
CHECKS = (
    (check_forward,),
    (check_equation, check_stream, check_skip, check_depth, check_silence),
    (check_identity, check_gradient, check_repeats, check_learning, check_half_precision),
    (check_growth, check_dissection),
)


def faults(wiring: type[Residual]) -> list[str]:
    """The answers of a wiring's class that are not what is measured, one line each."""
    lines = []
    for checks in CHECKS:
        for check in checks if not lines else ():
            try:
                lines += check(wiring)
            except Exception as error:
                return [*lines, f"{check.__name__} can't run: {named_line(error)}"]
    return lines


@dataclass(frozen=True)
class CheckConfig:
    """Measure what wirings of reslab/residual.py say of themselves: those that are named, or all."""

    POSITIONALS = Positionals("[NAME ...]", count=None)

    def faults(self) -> list[str]:
        return []


def main(argv: list[str]) -> int:
    names = parse(CheckConfig, argv).places or list(WIRINGS)
    if unknown := [name for name in names if name not in WIRINGS]:
        raise ValueError(f"{unknown[0]}: no wiring of this name; allowed are {', '.join(WIRINGS)}")
    lines = {name: faults(WIRINGS[name]) for name in names}
    for name, wrong in lines.items():
        print("\n".join(f"{name}: {line}" for line in wrong or ["all checks passed"]))
    return 1 if any(lines.values()) else 0


if __name__ == "__main__":
    run_door(main)
