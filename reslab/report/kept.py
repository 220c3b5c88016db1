"""The runs of an experiment as the repository keeps them: short logs, or the last rows in result.json.

A short log is a run directory without its checkpoint, small enough to be committed: the batch losses thinned,
the probes of fewer steps and with three digits, no path of the machine that made it.

    experiments/NAME/log/RUN/{config.json, metrics.jsonl}
    experiments/NAME/autopsy-ARM.json                       of the run of that arm, where there is one
"""

import json
import re
from dataclasses import replace
from pathlib import Path

from reslab.report.facts import complete_config, complete_facts, load
from reslab.run.config import parse
from reslab.run.fields import flat, from_flat, settings
from reslab.run.files import parse_json, write_atomically
from reslab.run.log import Run, as_line
from reslab.run.settings import GPTConfig, TrainConfig

BATCH_ROWS = 150
PROBE_NUMBERS = 60_000  # of one run
ABSOLUTE = re.compile(r"(?<![\w.:/-])(/|[A-Za-z]:[\\/])([\w.+~-]+[\\/])+")  # the folders of an absolute path


def portable(value):
    """A value of config.json, entry by entry, in which absolute paths have lost their folders."""
    if isinstance(value, str):
        return ABSOLUTE.sub("", value)
    if isinstance(value, list):
        return [portable(item) for item in value]
    return {key: portable(item) for key, item in value.items()} if isinstance(value, dict) else value


def keep(run: Path, folder: Path) -> Path:
    """Write a run's short log into a folder; returns its directory.

    Raises:
        ValueError: the run can't be read, or has not ended.
    """
    if load(run).status == "unfinished":
        raise ValueError(f"{run}: has not ended")
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    probed = [row["step"] for row in rows if any(key.startswith("probe/") for key in row)]
    numbers = sum(len(json.dumps(v).split(",")) for row in rows for k, v in row.items() if "probe/" in k)
    steps = set(spread(sorted(set(probed)), max(2, int(PROBE_NUMBERS * len(probed) / max(1, numbers)))))
    batches = [k for k, row in enumerate(rows) if "batch/loss" in row]
    batches = set(spread(batches, BATCH_ROWS))
    lines = []
    for k, row in enumerate(rows):
        if "batch/loss" in row and k not in batches:
            continue
        probes = {key for key in row if key.startswith("probe/")}
        left_out = probes if row["step"] not in steps else set()
        entries = {key: value for key, value in row.items() if key not in left_out}
        lines.append(as_line({key: short(v) if key in probes else v for key, v in entries.items()}))
    config = parse_json((run / "config.json").read_bytes(), f"{run / 'config.json'}")
    target = folder / "log" / run.name
    target.mkdir(parents=True, exist_ok=True)
    write_atomically(
        target / "config.json", json.dumps(portable(config), ensure_ascii=False, indent=1) + "\n"
    )
    write_atomically(target / "metrics.jsonl", "".join(lines))
    return target


def spread(values: list, count: int) -> list:
    """Up to count of some values: the first, the last, and more of the early ones than of the late ones."""
    if len(values) <= count:
        return values
    return [values[round(len(values) ** (k / (count - 1))) - 1] for k in range(count)]


def short(value):
    """A number with three digits, lists entry by entry."""
    if isinstance(value, list):
        return [short(item) for item in value]
    return float(f"{value:.3g}") if isinstance(value, float) else value


def kept_runs(experiment: Path) -> list[Run]:
    """The runs of an experiment: its short logs, else those of its result.json; none where it has neither."""
    if logs := sorted((experiment / "log").glob("*/config.json")):
        return [replace(load(path.parent), folder=Path(path.parent.name)) for path in logs]
    result = experiment / "result.json"
    return last_rows(result) if result.is_file() else []


def kept_autopsy(path: Path) -> dict | None:
    """What the tour reads of an autopsy, from the JSON that `autopsy.py --json` writes; None without one.

    Returns:
        paths, norms of the parts of the gradient at layer 0 by the number of branches passed; total, that of
        their sum; lesions, the rise of the loss without each block and its standard error; no pictures.
    """
    if not path.is_file():
        return None
    report = parse_json(path.read_bytes(), f"{path}")
    autopsy = {"figures": [], "lens": ""}
    if total := re.search(r"at layer 0 has norm ([\d.e+-]+);", "\n".join(report["findings"])):
        autopsy |= {"paths": report["paths"], "total": float(total[1])}
    costs = [row["without block"].split(" ± ") for row in report["layers"]]
    if all(len(cost) == 2 for cost in costs):  # else n/a
        autopsy["lesions"] = [[float(part) for part in cost] for cost in costs]
    return autopsy


def last_rows(path: Path) -> list[Run]:
    """The runs of a result.json, each with a last row alone; their settings are those of config/NAME.py.

    Raises:
        ValueError: the file is damaged.
    """
    result, name = parse_json(path.read_bytes(), f"{path}"), path.parent.name
    defaults = flat(parse(TrainConfig, [f"config/{name}.py"], leave_out=("study",)).config)
    return [_last_row(record, result, defaults) for record in result["runs"]]


def _last_row(record: dict, result: dict, defaults: dict) -> Run:
    """One record of result.json as a run; what the whole file says once belongs to each."""
    from reslab.residual import WIRINGS  # here: it needs torch

    known = settings(TrainConfig)
    config = defaults | {key: value for key, value in record.items() if key in known}
    if depth := re.search(r"-L(\d+)", record["run"]):
        config["n_layer"] = int(depth[1])
    shape = from_flat(GPTConfig, config)
    facts = {
        "command": result["command"],
        "started": result["date"],
        "machine": result["machine"],
        "git_commit": ", ".join(result["commit"]),
        "dataset": result["dataset"],
        "baselines_nats": result["baselines_nats"],
        "wiring": {
            kind: WIRINGS[shape.wiring(kind)](shape, k).facts() for k, kind in enumerate(("attn", "mlp"))
        },
    }
    row = {key: record.get(key) for key in ("train/loss", "val/loss", "val/loss_se", "tokens_per_s")}
    row = {"step": record["step"]} | {key: value for key, value in row.items() if value is not None}
    row |= {"status": record["status"], "diagnosis": "its last row alone is kept, in result.json"}
    if record.get("layers_that_learn") is not None:
        row["probe/layers_that_learn"] = record["layers_that_learn"]
    return Run(Path(record["run"]), complete_config(config), complete_facts(portable(facts)), [row])
