"""Runs as rows of a table, and what differs between their settings."""

import json

from reslab.run.fields import from_flat, with_role
from reslab.run.log import Run
from reslab.run.settings import GPTConfig, TrainConfig

COLUMNS = {
    "run": "run directory",
    "arm": "wiring",
    "layers": "n_layer",
    "params": "trainable parameters",
    "steps": "updates",
    "train": "loss on the training sequences, nats/token",
    "val": "loss on the validation sequences, nats/token",
    "-unigram": "val minus the unigram baseline, nats",
    "-bigram": "val minus the bigram baseline, nats",
    "<unigram at": "first evaluated step below the unigram baseline",
    "<bigram at": "first evaluated step below the bigram baseline",
    "tok/s": "training tokens per second",
    "status": "finished, diverged or unfinished",
}
NICKNAMES = {"learning_rate": "lr"}
FACTS = ("torch", "git_commit", "device", "machine")  # of where a run was made


def wiring_names(config: dict) -> dict[str, str]:
    """The wiring of the two kinds of sublayers, from every setting of a run, flat."""
    shape = from_flat(GPTConfig, config)
    return {kind: shape.wiring(kind) for kind in ("attn", "mlp")}


def arm(config: dict) -> str:
    """The wiring in one word: `none`, or `attn:pre mlp:none` where the two sublayers differ."""
    kinds = wiring_names(config)
    if kinds["attn"] == kinds["mlp"]:
        scale = f" {config['residual_scale']:g}" if kinds["attn"] == "scaled" else ""
        return kinds["attn"] + scale
    return " ".join(f"{kind}:{name}" for kind, name in kinds.items())


def labels(runs: list[Run]) -> list[str]:
    """A short name for each run, different for different runs."""
    names = [f"{arm(run.config)}, {run.config['n_layer']} layers" for run in runs]
    hidden = with_role(TrainConfig, "place") | {"seed"}
    for name in {name for name in names if names.count(name) > 1}:
        same = [k for k, one in enumerate(names) if one == name]
        known = [{k: v for k, v in runs[k].config.items() if k not in hidden} for k in same]
        varied = [key for key in known[0] if len({str(config.get(key)) for config in known}) > 1]
        for k, config in zip(same, known, strict=True):
            names[k] += "".join(f", {NICKNAMES.get(key, key)} {config.get(key)}" for key in varied)
    if len({run.config["seed"] for run in runs}) > 1:
        names = [f"{name}, seed {run.config['seed']}" for name, run in zip(names, runs, strict=True)]
    if len(set(names)) < len(names):
        names = [f"{name} ({run.folder.name})" for name, run in zip(names, runs, strict=True)]
    return names


def lines(run: Run, split: str) -> dict[str, float]:
    """The baselines of one split: name -> nats per token."""
    known = run.facts["baselines_nats"]
    return {"uniform": known["uniform"], "unigram": known["unigram"][split], "bigram": known["bigram"][split]}


def row(run: Run) -> dict[str, str]:
    """One run as text, by COLUMNS."""
    train, val = run.last("train/loss"), run.last("val/loss")
    steps, losses = run.series("val/loss")
    cells = {
        "run": str(run.folder),
        "arm": arm(run.config),
        "layers": str(run.config["n_layer"]),
        "params": f"{run.facts['parameters']:,}",
        "steps": str(run.rows[-1]["step"]) if run.rows else "0",
        "train": _number(train),
        "val": f"{_number(val)} ± {_number(run.last('val/loss_se'))}",
        "tok/s": f"{run.last('tokens_per_s') or 0:,.0f}",
        "status": run.status,
    }
    for name in ("unigram", "bigram"):
        line = lines(run, "val")[name]
        cells[f"-{name}"] = "" if val is None else f"{val - line:+.3f}"
        crossed = (step for step, loss in zip(steps, losses, strict=True) if loss < line)
        cells[f"<{name} at"] = str(next(crossed, "never"))
    return {column: cells[column] for column in COLUMNS}


def results(runs: list[Run], command: str) -> str:
    """The runs as a small JSON text to keep: figures, where they come from, and what differs."""
    different = [cells["setting"] for cells in differences(runs)]
    first = runs[0].facts
    machines = [f"{f['machine']}, {f['device']}, torch {f['torch']}" for f in (run.facts for run in runs)]
    kept = {
        "command": command,
        "date": max(run.facts["started"] for run in runs)[:10],
        "commit": sorted({str(run.facts["git_commit"]) for run in runs}),
        "machine": "; ".join(dict.fromkeys(machines)),
        "dataset": {"source": first["dataset"]["source"], "source_sha256": first["dataset"]["source_sha256"]},
        "baselines_nats": first["baselines_nats"],
        "runs": [],
    }
    for run in runs:
        figures = {key: run.last(key) for key in ("train/loss", "val/loss", "val/loss_se", "tokens_per_s")}
        figures |= {
            "layers_that_learn": run.last("probe/layers_that_learn"),
            "early_warning": run.last("early_warning"),
        }
        settings = {key: run.config[key] for key in different if key in run.config}
        if len(runs) <= 4:
            figures["probed"] = probed(run)
        kept["runs"].append(
            {
                "run": run.folder.name,
                **settings,
                "step": run.rows[-1]["step"],
                "status": run.status,
                **figures,
            }
        )
    head = {key: value for key, value in kept.items() if key != "runs"}
    lines = ",\n  ".join(json.dumps(one, ensure_ascii=False) for one in kept["runs"])
    return json.dumps(head, ensure_ascii=False, indent=1)[:-2] + f',\n "runs": [\n  {lines}\n ]\n}}\n'


def probed(run: Run, steps=(0, 10)) -> list[dict]:
    """What the probes saw at the first steps and at the last: both ends of the stack, in short."""
    rows = [row for row in run.rows if "probe/gradient_norm" in row]
    chosen = [row for row in rows if row["step"] in steps] + rows[-1:]
    return [
        {
            "step": row["step"],
            "gradient_norm": [row["probe/gradient_norm"][0], row["probe/gradient_norm"][-1]],
            "position0_share": row["probe/position0_share"][0],
            "qk_gradient": [row["probe/qk_gradient"][0], row["probe/qk_gradient"][-1]],
            "token_diversity": row["probe/token_diversity"][-1],
            "layers_that_learn": row["probe/layers_that_learn"],
        }
        for row in chosen
    ]


def table(rows: list[dict[str, str]]) -> str:
    """Rows as aligned text; words to the left, numbers to the right."""
    words = {"run", "arm", "status", "setting"}
    columns = list(rows[0])
    widths = {c: max(len(c), *(len(r[c]) for r in rows)) for c in columns}
    header = {c: c for c in columns}
    return "\n".join(
        "  ".join(r[c].ljust(widths[c]) if c in words else r[c].rjust(widths[c]) for c in columns).rstrip()
        for r in [header, *rows]
    )


def differences(runs: list[Run]) -> list[dict[str, str]]:
    """The settings in which the runs differ, one row each, a column per run."""
    keys = {key for run in runs for key in run.config} - with_role(TrainConfig, "place")
    columns = [run.folder.name for run in runs]
    if len(set(columns)) < len(columns):
        columns = [str(run.folder) for run in runs]
    found = []
    for key in [*sorted(keys - set(FACTS)), *FACTS]:
        values = [str((run.facts if key in FACTS else run.config).get(key)) for run in runs]
        if len(set(values)) > 1:
            found.append({"setting": key} | dict(zip(columns, values, strict=True)))
    return found


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
