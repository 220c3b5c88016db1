"""Sixty runs of many kinds: every number of table, JSON, CSV and page is the one written for that run.

What is expected is worked out here from the numbers that the files were written with, never read back from
a run. No two runs end at the same loss, so a number of another run, split or baseline is another number.
"""

import csv
import io
import json
import math

import pytest
from runs_by_hand import SKIPS, probe_row, train_loss
from sixty_runs import SEEDS, Written, below, error, final, rate, write_sixty

import reslab
from reslab.report.groups import T_QUANTILES
from reslab.report.pagedata import page_data
from reslab.report.records import curves_csv, results, runs_csv
from reslab.report.selection import load_runs
from reslab.report.summary import group_rows, row


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> list[Written]:
    return write_sixty(tmp_path_factory.mktemp("sixty"))


@pytest.fixture(scope="module")
def runs(written):
    runs, left_out = load_runs([one.place for one in written])
    assert not left_out
    return runs


def test_every_cell_of_the_table(written, runs):
    for one, run in zip(written, runs, strict=True):
        cells = row(run)
        val, count = one.val, len(one.losses)
        assert cells["run"] == str(one.place) and cells["arm"] == one.arm
        assert cells["layers"] == str(one.layers or "unknown")
        assert cells["status"] == one.status and cells["bits/byte"] == ""
        assert cells["params"] == ("unknown" if one.foreign else "1,000")
        assert cells["tok/s"] == ("" if one.foreign or val is None else f"{rate(count - 1):.0f}")
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
            never = "" if val is None else "not yet" if one.status == "unfinished" else "never"
            assert cells[f"<{name} at"] == str(never if below(one, line) is None else below(one, line))


def expected_record(one: Written) -> dict:
    """Every number, and what tells whose they are, of the record of one run."""
    val, count = one.val, len(one.losses)
    known, ours = val is not None, val is not None and not one.foreign
    expected = {
        "path": str(one.place),
        "arm": one.arm,
        "seed": one.seed,
        "status": one.status,
        "foreign": one.foreign,
        "step": max(0, 10 * count - 10),
        "val_step": 10 * count - 10 if known else None,
        "train/loss": train_loss(val) if known else None,
        "train/loss_se": 0.03 + (count - 1) / 100 if ours else None,
        "val/loss": val,
        "val/loss_se": error(one, count - 1) if ours else None,
        "val/bits_per_byte": None,
        "tokens_per_s": rate(count - 1) if ours else None,
        "layers_that_learn": one.layers - (count - 1) if ours and count > 1 else None,
        "parameters": None if one.foreign else 1000,
        "torch": one.torch,
        "commit": one.commit,
    }
    for name, line in {k: v if k == "uniform" else v["val"] for k, v in one.lines.items()}.items():
        expected[f"val_minus_{name}"] = val - line if known and line is not None else None
        expected[f"step_below_{name}"] = below(one, line)
    return expected


def test_every_number_of_json_csv_and_frame(written, runs):
    records = json.loads(results(runs, "compare.py"))["runs"]
    table = list(csv.DictReader(io.StringIO(runs_csv(runs))))
    for one, record, cells in zip(written, records, table, strict=True):
        expected = expected_record(one)
        assert {key: record[key] for key in expected} == expected
        assert {key: cells[key] for key in expected} == {
            key: "" if value is None else str(value) for key, value in expected.items()
        }
        others = {k: v for k, v in record.items() if isinstance(v, int | float) and k not in expected}
        assert others == {key: one.settings[key] for key in others}  # a number is tested, or a setting
        assert {key: float(cells[key]) for key in others} == others
        assert record["baselines_nats"] == one.lines and record["data"]["source"] == one.source
        sha256 = {"a text": "0", "other text": "9"}.get(one.source, "unknown")
        assert (cells["data_source"], cells["data_source_sha256"]) == (one.source, sha256)
        lines = {"uniform": one.lines["uniform"]}
        lines |= {
            f"{name}_{s}": one.lines[name][s] for name in ("unigram", "bigram") for s in ("train", "val")
        }
        assert {key: cells[f"baseline_{key}"] for key in lines} == {k: str(v or "") for k, v in lines.items()}
    pytest.importorskip("pandas")
    frame = reslab.frame(*[one.place for one in written])
    for one, (_, cells) in zip(written, frame.iterrows(), strict=True):
        for key, value in expected_record(one).items():
            assert cells[key] == value if value is not None else cells[key] is None or math.isnan(cells[key])


def expected_curves(one: Written) -> dict[str, dict]:
    """What the page draws of one run over its steps; a foreign curve has losses alone."""
    numbers, ours = range(len(one.losses)), not one.foreign
    steps = [10 * k for k in numbers]
    seconds = [15.0 * k if ours else None for k in numbers]
    curves = {
        "val": {"loss": list(one.losses), "se": [error(one, k) if ours else None for k in numbers]},
        "train": {
            "loss": [train_loss(x) for x in one.losses],
            "se": [0.03 + k / 100 if ours else None for k in numbers],
        },
    }
    curves = {split: {"step": steps, "seconds": seconds} | curve for split, curve in curves.items()}
    batch = {"step": steps, "seconds": [15.0 * k + 0.25 for k in numbers]}
    batch |= {"loss": [x + 0.5 for x in one.losses], "norm": [1.0 + k for k in numbers]}
    nothing = {"step": [], "seconds": [], "loss": [], "norm": []}
    return curves | {"batch": batch if ours else nothing}


def test_every_point_of_the_page(written, runs):
    data = page_data(runs, "title")
    assert data["table"] == [row(run) for run in runs]
    assert len({entry["label"] for entry in data["runs"]}) == 60
    for one, entry in zip(written, data["runs"], strict=True):
        assert entry["folder"] == str(one.place) and (entry["foreign"] or None) == one.foreign
        for split, curve in expected_curves(one).items():
            for name, values in curve.items():
                close = [value if value is None else pytest.approx(value, rel=1e-5) for value in values]
                assert entry["curves"][split][name] == close, (split, name)
        for split in ("train", "val"):
            lines = {"uniform": one.lines["uniform"]} | {
                k: one.lines[k][split] for k in ("unigram", "bigram")
            }
            assert entry["baselines"][split] == {key: x for key, x in lines.items() if x is not None}
        probed = [] if one.foreign else range(len(one.losses))
        assert entry["probes"]["steps"] == [10 * k for k in probed]
        for k, values in zip(probed, entry["probes"]["values"], strict=True):
            told = probe_row(one.layers, 10 * k, SKIPS[one.arm])
            told = {key.removeprefix("probe/"): value for key, value in told.items() if key != "step"}
            if k == 0:
                del told["layers_that_learn"]
            assert values == {key: pytest.approx(value, rel=1e-3) for key, value in told.items()}
        assert {key: entry["config"][key] for key in one.settings} == one.settings
        if not one.foreign:
            assert entry["wiring"]["attn"]["skip"] == entry["wiring"]["mlp"]["skip"] == SKIPS[one.arm]
            assert [sample["step"] for sample in entry["samples"]] == entry["curves"]["val"]["step"]
        sizes = (one.foreign and (0, None, None)) or (one.layers, 48, 7000)
        assert (entry["layers"], entry["tokens_per_step"], entry["flops_per_token"]) == sizes


def test_runs_of_one_group_are_those_that_differ_in_the_seed_alone(written, runs):
    groups: dict[int, list[Written]] = {}
    for one, entry in zip(written, page_data(runs, "title")["runs"], strict=True):
        groups.setdefault(entry["group"], []).append(one)
    for members in groups.values():
        told = [(m.settings | {"seed": 0, "out_dir": ""}, m.source, m.foreign and m.place) for m in members]
        assert told == told[:1] * len(members)
    assert sorted(map(len, groups.values())) == [1] * 7 + [2] * 2 + [3] * 3 + [5] * 8


def test_every_point_of_the_figures(runs):
    figures = {figure["name"]: figure["data"] for figure in page_data(runs[:40], "grid")["figures"]}
    depths, drawn = [2, 4, 8, 16], figures["Loss over depth"]
    for arm, called in (("pre", "with skips"), ("none", "without skips")):
        line, dots = (trace for trace in drawn if trace["name"] == called)
        losses = [[final(arm, n, s) for s in SEEDS] for n in depths]
        means = [sum(seeds) / 5 for seeds in losses]
        assert line["x"] == depths and line["y"] == pytest.approx(means)
        up = [max(seeds) - mean for seeds, mean in zip(losses, means, strict=True)]
        down = [mean - min(seeds) for seeds, mean in zip(losses, means, strict=True)]
        assert line["error_y"]["array"] == pytest.approx(up)
        assert line["error_y"]["arrayminus"] == pytest.approx(down)
        assert list(zip(dots["x"], dots["y"], strict=True)) == [
            (n, final(arm, n, s)) for n in depths for s in SEEDS
        ]
        (ends,) = (trace for trace in figures["Layers that a signal reaches"] if trace["name"] == "all")
        assert ends["x"] == ends["y"] == depths
        (reached,) = (trace for trace in figures["Layers that a signal reaches"] if trace["name"] == called)
        assert list(zip(reached["x"], reached["y"], strict=True)) == [
            (n, n - 2) for n in depths for _ in SEEDS
        ]


def test_every_point_of_the_curves(written, runs):
    rows = [tuple(cells.values()) for cells in csv.DictReader(io.StringIO(curves_csv(runs)))]
    drawn = {(r[0], r[3], r[4], int(r[5])): float(r[6]) for r in rows}
    assert len(drawn) == len(rows)
    expected, kinds = {}, {"loss": "loss", "se": "loss_se", "norm": "grad_norm"}
    for one, record in zip(written, json.loads(results(runs, ""))["runs"], strict=True):
        for split, curve in expected_curves(one).items():
            for name, kind in kinds.items():
                points = zip(curve["step"], curve.get(name, []), strict=False)
                expected |= {(record["run"], split, kind, step): v for step, v in points if v is not None}
    assert drawn == expected


def test_means_are_over_seeds_and_differences_are_paired(runs):
    cells = {one["group"]: one for one in group_rows(runs)}
    records = {one["group"]: one for one in json.loads(results(runs, ""))["groups"]}
    assert records.keys() == cells.keys()
    for arm in ("pre", "none"):
        for n in (2, 4, 8, 16):
            name = next(g for g in cells if g.startswith(f"{arm}, {n} layers") and cells[g]["n"] == "5")
            losses = [final(arm, n, s) for s in SEEDS]
            mean = sum(losses) / 5
            sd = math.sqrt(sum((x - mean) ** 2 for x in losses) / 4)
            assert (cells[name]["val"], cells[name]["sd"]) == (f"{mean:.3f}", f"{sd:.3f}")
            assert records[name]["val/loss"] == {"mean": pytest.approx(mean), "sd": pytest.approx(sd), "n": 5}
            train = {"mean": pytest.approx(train_loss(mean)), "sd": pytest.approx(0.9 * sd), "n": 5}
            assert records[name]["train/loss"] == train
            assert cells[name]["train"] == f"{sum(train_loss(x) for x in losses) / 5:.3f}"
            if arm == "none":
                apart = [0.5 + 0.0001 * s for s in SEEDS]
                middle = sum(apart) / 5
                half = math.sqrt(sum((x - middle) ** 2 for x in apart) / 4) * T_QUANTILES[3] / math.sqrt(5)
                assert cells[name]["95 % interval"] == f"{middle - half:+.3f} to {middle + half:+.3f}"
                assert cells[name]["-pre"] == f"{middle:+.3f}" and cells[name]["difference"] == "higher"
