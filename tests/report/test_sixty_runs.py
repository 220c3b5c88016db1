"""Sixty runs of many kinds: every number of table, JSON, CSV and page is the one written for that run.

What is expected is worked out here from the numbers that the files were written with, never read back from
a run. No two runs end at the same loss, so a number of another run, split or baseline is another number.
"""

import csv
import io
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from runs_by_hand import LINES, train_loss, write_run

import reslab
from reslab.report.groups import T_QUANTILES
from reslab.report.pagedata import page_data
from reslab.report.records import curves_csv, results, runs_csv
from reslab.report.selection import load_runs
from reslab.report.summary import group_rows, row

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


def final(arm: str, layers: int, seed: int) -> float:
    return 2.0 + 0.5 * (arm == "none") + 0.01 * layers + 0.001 * seed**2 + 0.0001 * seed * (arm == "none")


def write(
    root: Path, name, losses, status="finished", told=None, seed=1, arm="pre", layers=4, **options
) -> Written:
    """Write one run; `told` is what is expected of it beside its losses, arm, depth and seed."""
    place = write_run(root, name, losses, status, seed=seed, residual=arm, n_layer=layers, **options)
    told = {"status": status or "unfinished", "arm": arm, "layers": layers, "seed": seed} | (told or {})
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


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Written]:
    root = tmp_path_factory.mktemp("sixty")
    written = [*write_grid(root), *write_others(root), *write_foreign(root)]
    assert len(written) == 60 and len({one.losses[-1] for one in written if one.losses}) == 59
    return written


@pytest.fixture(scope="module")
def runs(written):
    runs, left_out = load_runs([one.place for one in written])
    assert not left_out
    return runs


def error(one: Written, number: int) -> float:
    """The standard error that write_run() gives the evaluation of a number; a foreign curve has none."""
    return 0.0 if one.foreign else 0.02 + number / 1000


def below(one: Written, name: str) -> int | None:
    """The first evaluated step that is below a baseline by more than two standard errors."""
    line = one.lines[name]["val"]
    steps = [10 * k for k, x in enumerate(one.losses) if line is not None and x < line - 2 * error(one, k)]
    return steps[0] if steps else None


def test_every_cell_of_the_table(written, runs):
    for one, run in zip(written, runs, strict=True):
        cells = row(run)
        val, count = (one.losses or (None,))[-1], len(one.losses)
        assert cells["run"] == str(one.place) and cells["arm"] == one.arm
        assert cells["layers"] == str(one.layers or "unknown")
        assert cells["status"] == one.status
        assert cells["steps"] == str(max(0, 10 * count - 10))
        assert cells["train"] == ("" if val is None else f"{train_loss(val):.3f}")
        se = "" if one.foreign else f" ± {error(one, count - 1):.3f}"
        assert cells["val"] == ("" if val is None else f"{val:.3f}{se}")
        for name in ("unigram", "bigram"):
            line = one.lines[name]["val"]
            if line is None:
                assert cells[f"-{name}"] == cells[f"<{name} at"] == "unknown"
                continue
            assert cells[f"-{name}"] == ("" if val is None else f"{val - line:+.3f}")
            assert cells[f"<{name} at"] == str("never" if below(one, name) is None else below(one, name))


def test_every_number_of_json_csv_and_frame(written, runs):
    kept = json.loads(results(runs, "compare.py"))["runs"]
    table = list(csv.DictReader(io.StringIO(runs_csv(runs))))
    for one, record, cells in zip(written, kept, table, strict=True):
        val, count = (one.losses or (None,))[-1], len(one.losses)
        known = val is not None
        expected = {
            "path": str(one.place),
            "arm": one.arm,
            "seed": one.seed,
            "status": one.status,
            "foreign": one.foreign,
            "val/loss": val,
            "val/loss_se": error(one, count - 1) if known and not one.foreign else None,
            "train/loss": train_loss(val) if known else None,
            "val_step": 10 * count - 10 if known else None,
            "torch": one.torch,
            "commit": one.commit,
        }
        for name in ("unigram", "bigram"):
            line = one.lines[name]["val"]
            expected[f"val_minus_{name}"] = val - line if known and line is not None else None
            expected[f"step_below_{name}"] = below(one, name)
        assert {key: record[key] for key in expected} == expected
        assert {key: cells[key] for key in expected} == {
            key: "" if value is None else str(value) for key, value in expected.items()
        }
        assert record["baselines_nats"] == one.lines and record["data"]["source"] == one.source
        assert cells["data_source"] == one.source
        assert cells["baseline_unigram_train"] == str(one.lines["unigram"]["train"] or "")
    pytest.importorskip("pandas")
    frame = reslab.frame(*[one.place for one in written])
    for one, (_, cells) in zip(written, frame.iterrows(), strict=True):
        assert cells["path"] == str(one.place)
        assert cells["val/loss"] == one.losses[-1] if one.losses else math.isnan(cells["val/loss"])


def test_every_point_of_the_page_and_of_the_curves(written, runs):
    entries = page_data(runs, "title")["runs"]
    rows = [tuple(cells.values()) for cells in csv.DictReader(io.StringIO(curves_csv(runs)))]
    drawn = {(r[0], r[3], r[4], int(r[5])): float(r[6]) for r in rows}
    names = [one["run"] for one in json.loads(results(runs, ""))["runs"]]
    assert len({entry["label"] for entry in entries}) == 60 and len(drawn) == len(rows)
    for one, entry, name in zip(written, entries, names, strict=True):
        steps = [10 * k for k in range(len(one.losses))]
        assert entry["folder"] == str(one.place) and (entry["foreign"] or None) == one.foreign
        assert entry["curves"]["val"]["step"] == entry["curves"]["train"]["step"] == steps
        assert entry["curves"]["val"]["loss"] == pytest.approx(list(one.losses), rel=1e-5)
        assert entry["curves"]["train"]["loss"] == pytest.approx(
            [train_loss(x) for x in one.losses], rel=1e-5
        )
        for split in ("train", "val"):
            lines = {"uniform": one.lines["uniform"]} | {
                k: one.lines[k][split] for k in ("unigram", "bigram")
            }
            assert entry["baselines"][split] == {key: x for key, x in lines.items() if x is not None}
        for step, loss in zip(steps, one.losses, strict=True):
            assert drawn[name, "val", "loss", step] == loss
            assert drawn[name, "train", "loss", step] == train_loss(loss)


def test_means_are_over_seeds_and_differences_are_paired(runs):
    cells = {one["group"]: one for one in group_rows(runs)}
    for arm in ("pre", "none"):
        for n in (2, 4, 8, 16):
            name = next(g for g in cells if g.startswith(f"{arm}, {n} layers") and cells[g]["n"] == "5")
            losses = [final(arm, n, s) for s in SEEDS]
            mean = sum(losses) / 5
            sd = math.sqrt(sum((x - mean) ** 2 for x in losses) / 4)
            assert (cells[name]["val"], cells[name]["sd"]) == (f"{mean:.3f}", f"{sd:.3f}")
            if arm == "none":
                apart = [0.5 + 0.0001 * s for s in SEEDS]
                middle = sum(apart) / 5
                half = math.sqrt(sum((x - middle) ** 2 for x in apart) / 4) * T_QUANTILES[3] / math.sqrt(5)
                assert cells[name]["95 % interval"] == f"{middle - half:+.3f} to {middle + half:+.3f}"
                assert cells[name]["-pre"] == f"{middle:+.3f}" and cells[name]["difference"] == "higher"
