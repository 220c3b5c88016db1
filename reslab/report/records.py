"""Runs as files to keep: JSON and CSV with every number and its origin, a LaTeX table, and tidy curves."""

import csv
import io
import json

from reslab.report.diagnosis import crossing
from reslab.report.facts import UNKNOWN, baselines_of, identity, learning_layers, warnings
from reslab.report.groups import arm, folder_names, group_names, groups, losses_by_seed, mean_of
from reslab.report.summary import differences
from reslab.run.log import Run

NUMBERS = ("train/loss", "train/loss_se", "val/loss", "val/loss_se", "val/bits_per_byte")
NUMBERS += ("val/word_perplexity", "tokens_per_s")
CURVES = ("train", "val", "batch")  # splits whose rows are curves
TEX_SPECIAL = {"\\": r"\textbackslash{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "~": r"\textasciitilde{}"}
TEX_SPECIAL |= {"^": r"\textasciicircum{}"} | {character: f"\\{character}" for character in "&%$#_{}"}


def record(run: Run) -> dict:
    """One run's numbers, and where they come from, as plain values."""
    facts, steps = run.facts, run.series("val/loss")[0]
    origin = identity(run)
    numbers = {key: run.last(key) for key in NUMBERS}
    for name, baseline in baselines_of(run, "val").items():
        known = baseline is not None and numbers["val/loss"] is not None
        numbers[f"val_minus_{name}"] = numbers["val/loss"] - baseline if known else None
        numbers[f"step_below_{name}"] = crossing(run.rows, baseline) if baseline is not None else None
    return {
        "step": run.rows[-1]["step"] if run.rows else 0,
        "val_step": steps[-1] if steps else None,
        "status": run.status,
        "foreign": facts.get("foreign"),
        **numbers,
        "layers_that_learn": learning_layers(run.rows),
        "early_warning": run.last("early_warning"),
        "diagnosis": run.last("diagnosis"),
        "parameters": facts["parameters"] or None,
        "torch": facts["torch"],
        "machine": facts["machine"],
        "device": facts["device"],
        "dtype": origin["dtype"],
        "commit": facts["git_commit"],
        "started": facts["started"],
        "command": facts["command"],
        "data": {key: facts["dataset"][key] for key in ("source", "source_sha256")},
        "baselines_nats": facts["baselines_nats"],
    }


def run_records(runs: list[Run]) -> list[dict]:
    """The record of each run, after its name, path, group and the settings that differ."""
    different = [cells["setting"] for cells in differences(runs)]
    records = []
    for run, name, group in zip(runs, folder_names(runs), group_names(runs), strict=True):
        start = {"run": name, "path": str(run.folder), "group": group, "arm": arm(run.config)}
        settings = {key: run.config[key] for key in different if key in run.config}
        records.append(start | {"seed": run.config["seed"]} | settings | record(run))
    return records


def group_records(runs: list[Run]) -> list[dict]:
    """Mean, standard deviation and number of seeds of each group's final losses."""
    records = []
    names = dict(zip((run.folder for run in runs), group_names(runs), strict=True))
    for members in groups(runs).values():
        means = {key: mean_of(losses_by_seed(members, key).values()) for key in ("train/loss", "val/loss")}
        values = {key: {"mean": m.mean, "sd": m.sd, "n": m.n} if m else None for key, m in means.items()}
        records.append({"group": names[members[0].folder]} | values)
    return records


def results(runs: list[Run], command: str) -> str:
    """The runs as a small JSON text to keep: each with its own origin, then the groups and what differs."""
    facts = [run.facts for run in runs]
    machines = [f"{f['machine']}, {f['device']}, torch {f['torch']}" for f in facts]
    records = run_records(runs)
    head = {
        "command": command,
        "date": max((f["started"] for f in facts if f["started"] != UNKNOWN), default=UNKNOWN)[:10],
        "commit": sorted({f["git_commit"] for f in facts}),
        "machine": "; ".join(dict.fromkeys(machines)),
        "dataset": _common([one["data"] for one in records]),
        "baselines_nats": _common([one["baselines_nats"] for one in records]),
        "warnings": warnings(runs),
        "groups": group_records(runs),
    }
    if len(runs) <= 12:  # four arms, three seeds each
        for one, run in zip(records, runs, strict=True):
            one["probed"] = probed(run)
    listed = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in records)
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "runs": [\n  {listed}\n ]\n}}\n'


def _common(values: list):
    """What all runs share, or None where they differ: then each run has its own."""
    return values[0] if all(value == values[0] for value in values) else None


def probed(run: Run, steps=(0, 10)) -> list[dict]:
    """What the probes read at the first steps and at the last: both ends of the stack, in short."""
    rows = [row for row in run.rows if "probe/gradient_norm" in row]
    chosen = [row for row in rows if row["step"] in steps] + rows[-1:]
    return [
        {
            "step": row["step"],
            "gradient_norm": _ends(row, "gradient_norm"),
            "position0_share": _ends(row, "position0_share")[0],
            "qk_gradient": _ends(row, "qk_gradient"),
            "token_diversity": _ends(row, "token_diversity")[1],
        }
        | ({"layers_that_learn": learning_layers([row])} if row["step"] else {})
        for row in chosen
    ]


def _ends(row: dict, name: str) -> list:
    """A probe's first and last value."""
    values = row.get(f"probe/{name}") or [None]
    return [values[0], values[-1]]


def flat_record(one: dict) -> dict:
    """A record() whose data and baselines have keys of their own: data_source, baseline_bigram_val."""
    data, baselines = one["data"], one["baselines_nats"]
    flat = {key: value for key, value in one.items() if key not in ("data", "baselines_nats")}
    flat |= {f"data_{key}": value for key, value in data.items()}
    flat["baseline_uniform"] = baselines["uniform"]
    for name in ("unigram", "bigram"):
        flat |= {f"baseline_{name}_{split}": baselines[name][split] for split in ("train", "val")}
    return flat


def runs_csv(runs: list[Run]) -> str:
    """The records as CSV, a row for each run; an empty cell is a number that the run does not have."""
    flat = [flat_record(one) for one in run_records(runs)]
    columns = list(dict.fromkeys(key for one in flat for key in one))
    return _csv([columns, *([one.get(column) for column in columns] for one in flat)])


def curves_csv(runs: list[Run]) -> str:
    """curve_rows() as CSV."""
    return _csv(curve_rows(runs))


def curve_rows(runs: list[Run]) -> list[list]:
    """Every loss of every run, a row each, after the row of their names."""
    rows = [["run", "group", "seed", "split", "kind", "step", "value"]]
    for run, name, group in zip(runs, folder_names(runs), group_names(runs), strict=True):
        for metrics in run.rows:
            for key, value in metrics.items():
                split, _, kind = key.partition("/")
                if split in CURVES and value is not None:
                    rows.append([name, group, run.config["seed"], split, kind, metrics["step"], value])
    return rows


def _csv(rows: list[list]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def tex_table(rows: list[dict[str, str]], legend: dict[str, str], cautions: list[str]) -> str:
    """Rows as a LaTeX tabular for the package booktabs; what its columns mean, and cautions, are comments."""
    columns = list(rows[0])
    head = [f"% {caution}" for caution in cautions] + [f"% {c}: {legend[c]}" for c in columns if c in legend]
    body = [[_tex(cells[column]) for column in columns] for cells in rows]
    return "\n".join(
        [
            *head,
            rf"\begin{{tabular}}{{{'l' + 'r' * (len(columns) - 1)}}}",
            r"\toprule",
            " & ".join(map(_tex, columns)) + r" \\",
            r"\midrule",
            *(" & ".join(cells) + r" \\" for cells in body),
            r"\bottomrule",
            r"\end{tabular}",
            "",
        ]
    )


def _tex(text: str) -> str:
    return "".join(TEX_SPECIAL.get(character, character) for character in text)
