"""Runs as the one JSON object that a page holds: every number that it draws, from the runs' own files.

Long runs are thinned to fit (see thin), numbers are rounded, and what is missing is said in words: a page
never shows a gap without its reason.
"""

import json
import math
from pathlib import Path

from reslab.report.autopsy_figures import AUTOPSY_FIGURES
from reslab.report.claim import arm_names, claim
from reslab.report.facts import NOT_AT_STEP, UNKNOWN, baselines_of, warnings
from reslab.report.figure import picture
from reslab.report.figures import FIGURES
from reslab.report.groups import COLOURS, FIRST_ARMS, arm, group_names, labels, run_lines, settings_key
from reslab.report.summary import COLUMNS, differences, row
from reslab.run.derived import DERIVED
from reslab.run.files import parse_json
from reslab.run.log import Run
from reslab.run.streams import warn_once

DIAL = Path(__file__).resolve().parents[2] / "experiments" / "dial" / "result.json"
DATA_BYTES = 2_900_000  # with plotly and the scripts a page stays below 8 MB
CURVE_POINTS = 2000  # of one curve
PAGE_POINTS = 40_000  # of all curves together
PROBE_NUMBERS = 300_000  # of all probes together


def page_data(runs: list[Run], title: str, size: int = DATA_BYTES, heading: str = "") -> dict:
    """What the page of some runs draws, as plain JSON values of at most `size` bytes, or of more where the
    least that is drawn of each run (see _curve, _probes) does not fit.

    Args:
        title: what the page is called where its runs are no two arms.
        heading: what it is called in any case.
    """
    data = {
        "title": heading or title,
        "heading": heading,
        "about": _about(runs),
        "claim": claim(runs),
        "warnings": warnings(runs),
        "first_arms": FIRST_ARMS,
        "colours": COLOURS,
        "probes": _descriptions(runs),
        "runs": [],
        "figures": _figures(FIGURES, runs, catch=Exception) if runs else [],
        "columns": COLUMNS,
        "table": [row(run) for run in runs],
        "differences": differences(runs) if len(runs) > 1 else [],
        "dial": dial_data(),
    }
    names = _names(runs)

    def fill(share: float) -> int:
        """Draw a share of the points that a run may have; returns the bytes of all."""
        data["runs"] = [_run(run, len(runs), share) | name for run, name in zip(runs, names, strict=True)]
        return len(to_json(data).encode())

    share = 1.0
    if fill(share) > size >= fill(0.0):
        while fill(share := share / 2) > size:
            pass
    return data


def dial_data() -> dict | None:
    """The measured reach over skip weights and depths, with the first seed; None where it is not here."""
    if not DIAL.is_file():
        return None
    result = parse_json(DIAL.read_bytes(), f"{DIAL}")
    first = min(run["seed"] for run in result["runs"])
    return result | {"runs": [run for run in result["runs"] if run["seed"] == first]}


def autopsy_data(report: dict, title: str) -> dict:
    """The same for one autopsy."""
    return {"title": title, "about": report["diagnosis"], "autopsy": _autopsy(report)}


def to_json(data: dict) -> str:
    """As compact text in which no name can close the script element that holds it."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def tokens_per_step(run: Run) -> int | None:
    """Tokens that one update learns from; None where that is unknown. Who tells no accumulation has none."""
    config = {"gradient_accumulation_steps": 1} | run.config
    sizes = [config[k] for k in ("batch_size", "gradient_accumulation_steps", "block_size")]
    return None if None in sizes else math.prod(sizes)


def thin(values: list[list[float | None]], limit: int) -> list[int]:
    """Which points of a long run to keep: the first, the last, and the extremes of each of equal stretches.

    Args:
        values: one or more curves over the same points.
        limit: about how many points to keep.

    Returns:
        their places, ascending.
    """
    count = len(values[0])
    if count <= limit:
        return list(range(count))
    stretches = max(1, limit // (2 * len(values)))
    indices = {0, count - 1}
    for number in range(stretches):
        places = range(number * count // stretches, (number + 1) * count // stretches)
        for curve in values:
            known = [place for place in places if curve[place] is not None]
            if known:
                indices |= {min(known, key=curve.__getitem__), max(known, key=curve.__getitem__)}
    return sorted(indices)


def _run(run: Run, count: int, share: float) -> dict:
    notes = _missing(run)
    limit = max(50, int(share * min(CURVE_POINTS, PAGE_POINTS / count)))
    facts = run.facts
    return {
        "name": run.folder.name,
        "folder": str(run.folder),
        "arm": arm(run.config),
        "layers": run.config["n_layer"] or 0,
        "foreign": facts.get("foreign", ""),
        "wiring": facts["wiring"],
        "status": run.status,
        "diagnosis": run.last("diagnosis") or "",
        "early_warning": run.last("early_warning") or "",
        "command": facts["command"],
        "machine": f"{facts['machine']}, {facts['device']}, torch {facts['torch']}",
        "commit": facts["git_commit"] or UNKNOWN,
        "started": facts["started"],
        "config": run.config,
        "tokens_per_step": tokens_per_step(run),
        "flops_per_token": facts.get("flops_per_token"),
        "baselines": {
            split: {name: loss for name, loss in baselines_of(run, split).items() if loss is not None}
            for split in ("train", "val")
        },
        "curves": {
            "train": _curve(run, ("train/loss", "train/loss_se"), limit, notes),
            "val": _curve(run, ("val/loss", "val/loss_se"), limit, notes),
            "batch": _curve(run, ("batch/loss", "batch/grad_norm"), limit, notes),
        },
        "probes": _probes(run, int(share * PROBE_NUMBERS / count), notes),
        "samples": [
            {"step": r["step"], "prompt": r["sample/prompt"], "text": r["sample/text"]}
            for r in run.rows
            if "sample/text" in r
        ],
        "autopsy": _saved_autopsy(run.folder, notes),
        "notes": notes,
    }


def _curve(run: Run, keys: tuple[str, str], limit: int, notes: list[str]) -> dict:
    """Two keys of the rows that have the first, over steps and seconds."""
    rows = [r for r in run.rows if keys[0] in r]
    values = [[r.get(key) for r in rows] for key in keys]
    places = thin(values, limit) if rows else []
    if len(places) < len(rows):
        notes.append(f"{keys[0]}: {len(places)} of {len(rows)} rows drawn, with the extremes of each stretch")
    names = ("loss", keys[1].rpartition("_")[2])  # se or norm
    drawn = {
        "step": [rows[i]["step"] for i in places],
        "seconds": [_digits(rows[i].get("elapsed_s"), 5) for i in places],
    }
    return drawn | {name: [_digits(v[i], 6) for i in places] for name, v in zip(names, values, strict=True)}


def _probes(run: Run, numbers: int, notes: list[str]) -> dict:
    """Step -> probe -> values, at as many steps as `numbers` allow."""
    at: dict[int, dict] = {}
    for r in run.rows:
        values = {k.removeprefix("probe/"): v for k, v in r.items() if k.startswith("probe/")}
        values = {k: v for k, v in values.items() if k not in DERIVED and (k, r["step"]) not in NOT_AT_STEP}
        if values:
            at.setdefault(r["step"], {}).update(values)
    size = max((sum(map(_count, values.values())) for values in at.values()), default=1)
    steps = sorted(at)
    fit = max(2, numbers // size)
    if len(steps) > fit:
        # As many early as late ones: a stack dies within its first updates.
        indices = {round((len(steps)) ** (k / (fit - 1)) - 1) for k in range(fit)}
        notes.append(f"probes: {len(indices)} of {len(steps)} measured steps drawn")
        steps = [steps[k] for k in sorted(indices)]
    values = [{name: _digits(value, 4) for name, value in at[step].items()} for step in steps]
    return {"steps": steps, "values": values}


def _count(value) -> int:
    """How many numbers a probe gave: a number, a list, or a list of lists."""
    return sum(map(_count, value)) if isinstance(value, list) else 1


def _descriptions(runs: list[Run]) -> dict[str, dict]:
    """Probe -> label, scale and sites, as the runs have recorded them, for each that any of them measured."""
    known = {name: facts for run in runs for name, facts in run.facts["probes"].items()}
    measured = {key.removeprefix("probe/") for run in runs for r in run.rows for key in r if "probe/" in key}
    return {name: facts for name, facts in known.items() if name in measured}


def _missing(run: Run) -> list[str]:
    """What this run can't show, and why."""
    notes = []
    if not run.rows:
        notes.append("metrics.jsonl has no row yet")
    elif len(run.rows) == 1:
        notes.append("metrics.jsonl has a single row")
    metrics = run.folder / "metrics.jsonl"
    if metrics.exists() and (content := metrics.read_bytes()[-1:]) and content != b"\n":
        notes.append("the last line of metrics.jsonl was cut short and is left out")
    if run.status == "unfinished":
        notes.append("unfinished: still training, stopped, or killed")
    if run.last("val/loss") is None:
        notes.append("no evaluation yet")
    if not any(key.startswith("probe/") for r in run.rows for key in r):
        off = run.config.get("probes") is False
        notes.append("no probes: trained with --probes=False" if off else "no probes in metrics.jsonl")
    if run.last("sample/text") is None:
        notes.append("no samples in metrics.jsonl")
    return notes


def _names(runs: list[Run]) -> list[dict]:
    """For each run its label, its group, of those that differ in the seed alone, the group's name, its line,
    and the name of its arm."""
    keys = [settings_key(run) for run in runs]
    numbers = {key: k for k, key in reversed(list(enumerate(keys)))}
    columns = {
        "label": labels(runs),
        "group": [numbers[key] for key in keys],
        "group_label": group_names(runs),
        "line": run_lines(runs),
        "short": arm_names(runs),
    }
    return [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]


def _saved_autopsy(folder: Path, notes: list[str]) -> dict | None:
    path = folder / "autopsy.json"
    if not path.exists():
        return None
    try:
        return _autopsy(parse_json(path.read_bytes(), f"{path}"))
    except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        notes.append(f"autopsy.json is damaged ({type(error).__name__}) and left out")
        return None


def _autopsy(report: dict) -> dict:
    figures = {"figures": _figures(AUTOPSY_FIGURES, report), "lens": report["lens_text"]}
    if "paths" in report:  # the parts of the gradient at layer 0, by the number of branches passed
        figures["paths"] = _digits(report["paths"]["norms"], 4)
        figures["total"] = _digits(report["paths"]["total"], 4)
    if "lesions" in report:  # the rise of the loss without each block
        blocks = report["lesions"]["block"]
        figures["lesions"] = [_digits([cost["delta"], cost["se"]], 4) for cost in blocks]
    return figures


def _figures(figures: dict, about, catch: type[Exception] | tuple = ()) -> list[dict]:
    """Name, caption and picture of each figure that has something to show; one that raises `catch` is left
    out with one warning line."""
    drawn = []
    for name, draw in figures.items():
        try:
            drawing = picture(draw(about))
        except catch as error:
            warn_once(f'figure "{name}"', error, "it is left out")
            continue
        if drawing:
            drawn.append({"name": name, "section": draw.section, "caption": draw.caption} | drawing)
    return drawn


def _about(runs: list[Run]) -> str:
    """What the runs were trained on."""
    known = dict.fromkeys(_data_in_words(r.facts["dataset"]) for r in runs)
    return f"Trained on {'; '.join(known)}. Losses in nats per token; lower is better." if runs else ""


def _data_in_words(dataset: dict) -> str:
    size = dataset["vocab_size"]
    source = "unknown data" if dataset["source"] == UNKNOWN else dataset["source"]
    return f"{source} (a vocabulary of {size:,})" if size else source


def _digits(value, digits: int):
    """Rounded to some significant digits, lists element by element; null where it is not a finite number."""
    if isinstance(value, list):
        return [_digits(entry, digits) for entry in value]
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.{digits}g}")
