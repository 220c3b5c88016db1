"""The demo's pictures: gradient and tokens over the layers, one block, and the paths of the gradient."""

from experiments.drawing import WIDTH, Axis, Picture, Theme, axes, document, dot, path, power, ten_to, text
from experiments.laptop.both import NAMES, arms, probed
from experiments.laptop.first import first, first_alt
from reslab.run.log import Run

EQUATIONS = {"pre": "y = x + F(N(x))", "none": "y = F(N(x))"}


def by_layer(theme: Theme, runs: list[Run], probe: str, powers: range, name: str, words: str) -> str:
    """A probe over the layers at the start, after ten updates and at the end, with skips on the left."""
    both, parts = arms(runs), []
    for k, (arm, run) in enumerate(both.items()):
        layers, values = run.config["n_layer"], probed(run, probe)
        x = Axis(0, layers, 66 + 430 * k, 410 + 430 * k)
        y = Axis(10.0 ** powers[0], 10.0 ** powers[-1], 330, 64, log=True)
        ticks = {n: f"{n}" for n in range(0, layers + 1, 6)}, {10.0**n: ten_to(n) for n in powers}
        parts.append(axes(theme, x, y, ticks, ("stream before layer", "")))
        parts.append(text(x.start, 40, f"{name} {NAMES[arm]}", theme.arms[arm], 17, weight=700))
        looks = zip(
            (0, 10, max(values)), (theme.soft, theme.ink, theme.arms[arm]), ("2 6", "9 6", ""), strict=True
        )
        for place, (step, colour, dash) in enumerate(looks):
            left = x.start + 118 * place
            parts.append(path([(x(n), y(value)) for n, value in enumerate(values[step])], colour, 2.5, dash))
            parts.append(path([(left, 394), (left + 30, 394)], colour, 2.5, dash))
            parts.append(text(left + 37, 399, f"step {step}", theme.ink, 15))
    return document(theme, 415, words, *parts)


def ends(runs: list[Run], probe: str, place: int) -> dict[str, list[str]]:
    """Arm -> a probe's value at one place, at the start, after ten updates and at the end."""
    values = {arm: probed(run, probe) for arm, run in arms(runs).items()}
    return {arm: [power(steps[k][place]) for k in (0, 10, max(steps))] for arm, steps in values.items()}


def reach(theme: Theme, runs: list[Run]) -> str:
    return by_layer(theme, runs, "gradient_norm", range(-22, 3, 4), "gradient", reach_alt(runs))


def reach_alt(runs: list[Run]) -> str:
    at = ends(runs, "gradient_norm", 0)
    return (
        "The norm of the gradient at each layer. With skips it comes down to layer 0 at every step: {} "
        "there at the start, {} after ten updates, {} at the end. Without skips it is {} there at the "
        "start; later it fades from the last layer to the first, to {} at layer 0 after ten updates and "
        "{} at the end."
    ).format(*at["pre"], *at["none"])


def diversity(theme: Theme, runs: list[Run]) -> str:
    return by_layer(theme, runs, "token_diversity", range(-8, 1, 2), "token diversity", diversity_alt(runs))


def diversity_alt(runs: list[Run]) -> str:
    at = ends(runs, "token_diversity", -1)
    return (
        "How different the tokens are at each layer. With skips they stay different up to the last "
        "layer: {} there at the start, {} after ten updates, {} at the end. Without skips they become "
        "alike layer by layer, at every step: {}, {} and {} after the last layer."
    ).format(*at["pre"], *at["none"])


def paths(theme: Theme, pre: dict, none: dict) -> str:
    """The gradient at layer 0 by the number of branches that its paths have passed, of both models."""
    norms = {"pre": pre["paths"], "none": none["paths"]}
    last = len(norms["pre"]) - 1
    x, y = Axis(0, last, 66, WIDTH - 30), Axis(1e-40, 1e4, 330, 64, log=True)
    ticks = {n: f"{n}" for n in range(0, last + 1, 8)}, {10.0**n: ten_to(n) for n in range(-40, 1, 10)}
    parts = [axes(theme, x, y, ticks, ("branches passed", "norm of that part of the gradient at layer 0"))]
    places = {"pre": (x(12), y(1e-14)), "none": (x.end - 12, y(1e-3))}
    for arm, values in norms.items():
        points = [(x(k), y(norm)) for k, norm in enumerate(values) if norm > 0]
        parts += [path(points, theme.arms[arm], 2)] if len(points) > 1 else []
        parts += [dot(*point, theme.arms[arm], 4 if len(points) > 1 else 7) for point in points]
        words = NAMES[arm] if len(points) > 1 else f"{NAMES[arm]}: one path, through all {last}"
        parts.append(text(*places[arm], words, theme.arms[arm], 17, "end" if arm == "none" else "start", 700))
    return document(theme, 385, paths_alt(pre, none), *parts)


def paths_alt(pre: dict, none: dict) -> str:
    values, last = pre["paths"], len(pre["paths"]) - 1
    most = max(range(last + 1), key=values.__getitem__)
    return (
        f"The gradient at layer 0, split by how many of the {last} branches its paths have passed. With "
        f"skips all numbers occur: the part that has passed none is {power(values[0])}, the largest, "
        f"{power(values[most])}, has passed {most}, and the one through all {last} is "
        f"{power(values[-1])}. Without skips there is one dot: the path through all {last}, "
        f"{power(none['paths'][-1])}."
    )


def block(theme: Theme, runs: list[Run]) -> str:
    """The first sublayer of both stacks at the end: which part of the gradient comes through which path."""
    drawn = [sublayer(theme, arm, at_first(run), 430 * k) for k, (arm, run) in enumerate(arms(runs).items())]
    return document(theme, 400, block_alt(runs), *drawn)


def at_first(run: Run) -> dict[str, float]:
    """The norms of the gradient at the first sublayer, at the end."""
    last = {name: list(probed(run, f"{name}_gradient").values())[-1] for name in ("resid", "skip", "branch")}
    return {
        "dy": last["resid"][1],
        "skip": last["skip"][0],
        "branch": last["branch"][0],
        "dx": last["resid"][0],
    }


def sublayer(theme: Theme, arm: str, norms: dict[str, float], left: float) -> str:
    """One sublayer as a drawing: the gradient enters above and leaves below; thick lines are large norms."""
    thick, colour = Axis(1e-18, 1, 1.5, 14, log=True), theme.arms[arm]
    x, right, top, split, join, bottom = left + 130, left + 300, 90, 125, 330, 372
    width = {name: thick(max(norm, 1e-18)) for name, norm in norms.items()}
    branch = [(x, split), (right, split), (right, join), (x, join)]
    box = f'fill="{theme.paper}" stroke="{theme.soft}"'
    parts = [
        text(left + 24, 34, NAMES[arm].capitalize(), colour, 17, weight=700),
        text(left + 24, 60, EQUATIONS[arm], theme.ink, 16),
        path([(x, top), (x, split)], theme.soft, width["dy"]),
        path(branch, colour, width["branch"]),
        path([(x, join), (x, bottom)], colour, width["dx"]),
        f'<rect x="{right - 60:g}" y="195" width="120" height="64" rx="8" {box}/>',
        text(right, 224, "dF/dx", theme.ink, 18, "middle"),
        text(right, 246, "attention", theme.soft, 14, "middle"),
        text(x + 16, 106, f"dL/dy: {power(norms['dy'])}", theme.ink, 16),
        text(right - 14, 312, power(norms["branch"]), colour, 17, "end", 700),
        text(x + 16, 372, f"dL/dx: {power(norms['dx'])}", theme.ink, 16),
    ]
    if norms["skip"]:
        parts.append(path([(x, split), (x, join)], colour, width["skip"]))
        parts.append(text(x - 16, 232, power(norms["skip"]), colour, 17, "end", 700))
    else:
        parts.append(path([(x, split), (x, join)], theme.soft, 1.5, "2 7"))
        parts.append(text(x - 16, 232, "no skip", theme.soft, 16, "end"))
    return "\n".join(parts)


def block_alt(runs: list[Run]) -> str:
    ours, theirs = (at_first(run) for run in arms(runs).values())
    return (
        "The gradient at the first sublayer after training, from dL/dy above to dL/dx below. With skips "
        f"it has two paths: {power(ours['skip'])} comes through the skip and {power(ours['branch'])} "
        f"through the branch, and their sum is {power(ours['dx'])} long. Without skips there is the "
        f"branch alone, and {power(theirs['dx'])} arrives."
    )


PICTURES = {
    "block": Picture(block, block_alt, ("log",)),
    "first": Picture(first, first_alt, ("log", "silent")),
    "reach": Picture(reach, reach_alt, ("log",)),
    "diversity": Picture(diversity, diversity_alt, ("log",)),
    "paths": Picture(paths, paths_alt, ("autopsy-pre", "autopsy-none")),
}
