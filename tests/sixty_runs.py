"""Sixty run directories and foreign curves of many kinds, and what was written into each of them.

No two of them end at the same loss, so a number of another run, split or baseline is another number.
"""

from dataclasses import dataclass, field
from pathlib import Path

from runs_by_hand import LINES, config_of, train_loss, write_run

OTHER_LINES = {"uniform": 4.5, "unigram": {"train": 3.4, "val": 3.6}, "bigram": {"train": 2.7, "val": 2.9}}
OTHER = {
    "dataset": {"source": "other text", "source_sha256": "9", "vocab_size": 90},
    "baselines_nats": OTHER_LINES,
}
NO_LINES = {"uniform": None, "unigram": {"train": None, "val": None}, "bigram": {"train": None, "val": None}}
SILENT = {"lines": NO_LINES, "torch": "unknown", "commit": "unknown", "source": "unknown"}
SEEDS = (1, 2, 3, 4, 5)


@dataclass
class Written:
    """What was written for one run."""

    place: Path
    losses: tuple
    status: str = "finished"
    lines: dict = field(default_factory=lambda: LINES)
    arm: str = "pre"
    layers: int | None = 4
    seed: int | None = 1
    torch: str = "2"
    commit: str = "abc"
    source: str = "a text"
    foreign: str | None = None
    settings: dict = field(default_factory=dict)

    @property
    def val(self) -> float | None:
        return self.losses[-1] if self.losses else None


def final(arm: str, layers: int, seed: int) -> float:
    return 2.0 + 0.5 * (arm == "none") + 0.01 * layers + 0.001 * seed**2 + 0.0001 * seed * (arm == "none")


def write(
    root: Path, name, losses, status="finished", told=None, seed=1, arm="pre", layers=4, **options
) -> Written:
    """Write one run; `told` is what is expected of it beside its losses, arm, depth and seed."""
    place = write_run(root, name, losses, status, seed=seed, residual=arm, n_layer=layers, **options)
    changed = {key: value for key, value in options.items() if key not in ("facts", "without")}
    settings = config_of(residual=arm, n_layer=layers, seed=seed, **changed)
    told = {"status": status or "unfinished", "arm": arm, "layers": layers, "seed": seed} | (told or {})
    told["settings"] = settings
    return Written(place, losses, **told)


def write_grid(root: Path):
    """40 runs of two arms, four depths and five seeds."""
    for arm in ("pre", "none"):
        for n in (2, 4, 8, 16):
            for s in SEEDS:
                yield write(root, f"{arm}-{n}-{s}", (3.9, 3.3, final(arm, n, s)), seed=s, arm=arm, layers=n)


def write_others(root: Path):
    """16 runs: other data, torch and commits; diverged, cut short, without an evaluation, without facts."""
    of_other = {"lines": OTHER_LINES, "source": "other text"}
    for k, arm in enumerate(("pre", "none", "pre", "none")):
        yield write(root, f"data{k}", (4.1, 3.0 + k / 7), told=of_other, arm=arm, seed=k // 2, facts=OTHER)
    for k in range(3):
        changed = {"seed": k, "dropout": 0.1}
        yield write(
            root, f"torch{k}", (4.0, 2.71 + k / 9), told={"torch": "3"}, facts={"torch": "3"}, **changed
        )
        changed = {"seed": k, "dropout": 0.2, "facts": {"git_commit": "d"}}
        yield write(root, f"code{k}", (4.0, 2.61 + k / 9), told={"commit": "d"}, **changed)
    yield write(root, "diverged", (3.8, 3.7), "diverged", learning_rate=0.5)
    cut = write(root, "cut", (3.9, 3.65), "", learning_rate=0.25)
    with (cut.place / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 20, "val/loss": 1.')
    yield cut
    yield write(root, "empty", (), "", learning_rate=0.125)
    lacking = ("baselines_nats", "torch", "git_commit", "dataset")
    for k in range(3):
        yield write(root, f"silent{k}", (3.9, 2.41 + k / 11), told=SILENT, seed=k, beta2=0.5, without=lacking)


def write_foreign(root: Path):
    """Two curves of a CSV and two of nanoGPT."""
    formats = {
        "CSV": (".csv", "step,train_loss,val_loss\n", "{0},{1!r},{2!r}\n"),
        "nanoGPT": (".log", "", "step {0}: train loss {1!r}, val loss {2!r}\n"),
    }
    for kind, (ending, head, line) in formats.items():
        for k in range(2):
            losses = (4.2, 2.3 + k / 13 + (kind == "CSV") / 17)
            place = root / f"other{k}{ending}"
            text = head + "".join(line.format(10 * n, train_loss(x), x) for n, x in enumerate(losses))
            place.write_text(text, encoding="utf-8")
            told = SILENT | {"status": "foreign", "layers": None, "seed": None}
            yield Written(place, losses, arm=f"foreign {kind}", foreign=kind, **told)


def error(one: Written, number: int) -> float:
    """The standard error that write_run() gives the evaluation of a number; a foreign curve has none."""
    return 0.0 if one.foreign else 0.02 + number / 1000


def rate(number: int) -> float:
    """Tokens per second of the batch of a number."""
    return 100.0 + 7 * number


def below(one: Written, line: float | None) -> int | None:
    """The first evaluated step that is below a baseline by more than two standard errors."""
    steps = [10 * k for k, x in enumerate(one.losses) if line is not None and x < line - 2 * error(one, k)]
    return steps[0] if steps else None


def write_sixty(root: Path) -> list[Written]:
    written = [*write_grid(root), *write_others(root), *write_foreign(root)]
    assert len(written) == 60 and len({one.losses[-1] for one in written if one.losses}) == 59
    return written
