"""The demo in one picture: losses, the gradient at each layer step by step, and what both stacks write."""

from experiments.drawing import WIDTH, Axis, Theme, axes, code, document, path, power, rect, ten_to, text
from experiments.laptop.both import NAMES, arms, probed
from experiments.tables import final_loss, mean
from reslab.report.claim import claim
from reslab.report.pixels import RAMP
from reslab.run.log import Run

LOWEST = 1e-16  # the dark end of the colours
FRAME_S, HELD = 0.45, 9  # seconds of a training step, and for how many of those the last one stays
PLAYS = 3  # then it stands still at the last step
SHARP = 'shape-rendering="crispEdges"'  # nothing shines through between two stripes
LINES, LETTERS, FEW = 4, 50, 5  # of a sample; shorter lines than the last are left out


def colour_of(value: float, scale: Axis) -> str:
    """Dark is small, bright is large."""
    place = scale(value) * (len(RAMP) - 1)
    k = min(int(place), len(RAMP) - 2)
    mixed = (round(a + (place - k) * (b - a)) for a, b in zip(RAMP[k], RAMP[k + 1], strict=True))
    return "#" + "".join(f"{part:02x}" for part in mixed)


def first(theme: Theme, runs: list[Run], silent: dict) -> str:
    """The losses of both stacks, the gradient at each of their layers step by step, and what they write.

    Args:
        silent: the result of the control.
    """
    both = arms(runs)
    x, y = Axis(0, both["pre"].rows[-1]["step"], 60, 455), Axis(1, 5.5, 330, 70)
    steps = sorted(probed(both["pre"], "gradient_norm"))
    frames = [
        f'<g class="f{k}" {SHARP}>{cursor(theme, x, y, step)}{columns(theme, both, step)}</g>'
        for k, step in enumerate(steps)
    ]
    texts = [sample(theme, run, 24 + 420 * k) for k, run in enumerate(both.values())]
    words = first_alt(runs, silent)
    drawn = [style(len(steps)), losses(theme, both, silent, x, y), *frames, *texts]
    return document(theme, 545, words, *drawn, top=26)


def losses(theme: Theme, both: dict[str, Run], silent: dict, x: Axis, y: Axis) -> str:
    """The loss of the batches of both stacks, and what letter frequencies and no blocks give on the training
    text."""
    ticks = {k: f"{k}" for k in range(0, int(x.high) + 1, 100)}, {k: f"{k}" for k in range(1, 6)}
    parts = [axes(theme, x, y, ticks, ("training step", "loss on the training text, nats per character"))]
    for (name, loss), above in zip(levels(both, silent).items(), (20, 6), strict=True):
        parts.append(path([(x.start, y(loss)), (x.end, y(loss))], theme.ink, 1.5, "2 5"))
        parts.append(text(x.end, y(loss) - above, f"{name}: {loss:.2f}", theme.ink, 15, at="end"))
    for arm, run in both.items():
        curve = zip(*run.series("batch/loss"), strict=True)
        parts.append(path([(x(step), y(loss)) for step, loss in curve], theme.arms[arm]))
        loss = run.last("train/loss")
        where = y(loss) + (-36 if arm == "pre" else -42)
        parts.append(
            text(
                x.end,
                where,
                f"{NAMES[arm]}: {loss:.2f}",
                theme.arms[arm],
                19,
                weight=700,
                at="end",
            )
        )
    return "\n".join(parts)


def levels(both: dict[str, Run], silent: dict) -> dict[str, float]:
    """Losses on the training text that need no deep stack."""
    unigram = both["pre"].facts["baselines_nats"]["unigram"]["train"]
    control = mean([final_loss(run, "train") for run in silent["runs"]])
    return {"letter frequencies alone": unigram, "without blocks": control}


def cursor(theme: Theme, x: Axis, y: Axis, step: int) -> str:
    return path([(x(step), y.start), (x(step), y.end)], theme.soft, 1)


def columns(theme: Theme, both: dict[str, Run], step: int) -> str:
    """A column of layers for each stack: how much gradient comes down to each layer from the loss above."""
    parts, scale = [], Axis(LOWEST, 1, 0, 1, log=True)
    middle = (500 + WIDTH - 30) / 2
    parts.append(
        text(
            middle,
            56,
            f"gradient at each layer, step {step}",
            theme.ink,
            17,
            weight=600,
            at="middle",
        )
    )
    for k, (arm, run) in enumerate(both.items()):
        left, norms = 515 + 165 * k, probed(run, "gradient_norm")[step]
        high = 200 / len(norms)
        parts.append(text(left + 70, 82, NAMES[arm], theme.arms[arm], 16, weight=700, at="middle"))
        for layer, norm in enumerate(norms):
            parts.append(rect(left, 292 - (layer + 1) * high, 140, high + 0.4, colour_of(norm, scale)))
        parts.append(text(left + 70, 314, f"layer 0: {power(norms[0])}", theme.ink, 16, at="middle"))
    legend = f"bright is 1 or more, dark is {ten_to(-16)} or less"
    parts.append(text(middle, 346, legend, theme.soft, 14, "middle"))
    return "".join(parts)


def sample(theme: Theme, run: Run, left: float) -> str:
    """The first lines of the text that a stack writes at the end."""
    arm, written = run.config["residual"], run.last("sample/text")
    cut = (line[:LETTERS] for line in written.splitlines())
    kept = [line for line in cut if len("".join(line.split())) >= FEW][:LINES]
    head = text(left, 424, f"what it writes {NAMES[arm]}", theme.arms[arm], 15, weight=600)
    body = [code(left, 450 + 24 * k, line, theme.ink) for k, line in enumerate(kept)]
    return "\n".join([head, *body])


def style(count: int) -> str:
    """The steps one after the other; the last one alone for whoever wants nothing to move, and at the end."""
    whole = count + HELD
    rules = ["g{visibility:hidden}", f".f{count - 1}{{visibility:visible}}"]
    rules.append("@media (prefers-reduced-motion:no-preference){")
    for k in range(count):
        stops = [(0, "hidden"), (100 * k / whole, "visible")]
        stops += [(100 * (k + 1) / whole, "hidden")] if k < count - 1 else []
        frames = "".join(f"{percent:.3f}%{{visibility:{seen}}}" for percent, seen in stops[k == 0 :])
        rules.append(f"@keyframes k{k}{{{frames}}}")
        rules.append(f".f{k}{{animation:k{k} {whole * FRAME_S:g}s step-end {PLAYS}}}")
    return f"<style>{''.join(rules)}}}</style>"


def first_alt(runs: list[Run], silent: dict) -> str:
    both, about = arms(runs), claim(runs)
    unigram, control = levels(both, silent).values()
    ends = [probed(run, "gradient_norm")[run.rows[-1]["step"]][0] for run in both.values()]
    loss = {arm: run.last("train/loss") for arm, run in both.items()}
    return (
        f"{about['heading']} Left: the training loss falls to {loss['pre']:.2f} with skips; without them "
        f"it stays at {loss['none']:.2f}, where letter frequencies alone give {unigram:.2f}, and embeddings "
        f"and head without blocks {control:.2f}. Right: the gradient at layer 0 ends at {power(ends[0])} "
        f"with skips and at {power(ends[1])} without. "
        "Below: with skips the text looks like Python, without them it is letters in no order."
    )
