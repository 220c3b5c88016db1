"""What a run directory tells beside the losses: where it was made, on which data, against which baselines.

What a directory does not tell is `unknown`, never an error; what makes the losses of several runs not
comparable is said by warnings().
"""

import math
from dataclasses import replace
from pathlib import Path

from reslab.run.derived import with_derived
from reslab.run.files import parse_json
from reslab.run.log import Run, read_run, row_fault
from reslab.run.recorder import NUMBERS, setting_fault

UNKNOWN = "unknown"
TEXT_FACTS = ("torch", "git_commit", "device", "machine", "command", "started")
NO_WIRING = {"equation": UNKNOWN, "skip": None, "has_identity": None}
WIRING_SETTINGS = ("attn_residual", "mlp_residual", "residual_scale", "skip_blocks")
PROBED_LATER = "probes.jsonl"  # what `python -m reslab.training.reprobe` adds to a run
# A fresh stack passes this count whatever becomes of it: what it can't do shows within the first updates.
NOT_AT_STEP = {("layers_that_learn", 0)}
# What differs between runs -> what that means for their numbers. The value of each is same_or_not()'s.
CAUTIONS = {
    "data": "the losses are of different texts; compare each run with its own baselines, or bits per byte",
    "tokenizer": "nats per token are of different tokens; compare bits per byte",
    "eval_sequences": "the losses are of different validation sequences",
    "block_size": "the losses are of different contexts and validation sequences",
    "dtype": "the rounding differs",
    "torch": "the random draws and the rounding may differ",
    "commit": "the code differs",
}


def load(folder: str | Path) -> Run:
    """Read a run directory whose facts may be incomplete.

    Raises:
        ValueError: it is not a run directory, or a file in it is damaged; one line.
    """
    folder = Path(folder)
    run = read_run(folder)
    if fault := setting_fault(run.config):
        raise ValueError(f"{folder / 'config.json'}: {fault}")
    facts = complete_facts(run.facts)
    rows = _with_later_probes(folder, run.rows, facts["probes"])
    return replace(run, config=complete_config(run.config), facts=facts, rows=rows)


def _with_later_probes(folder: Path, rows: list[dict], descriptions: dict) -> list[dict]:
    """A run's rows with what was probed after its end; its own numbers come later, so that they stand."""
    path = folder / PROBED_LATER
    if not path.exists():
        return rows
    lines = path.read_bytes().splitlines() or [b""]
    try:
        head, *later = [parse_json(line, f"{path}, line {number}") for number, line in enumerate(lines, 1)]
        faults = [] if isinstance(head.get("probes"), dict) else ["no probes in its first line"]
        if faults := faults + [fault for row in later if (fault := row_fault(row))]:
            raise ValueError(f"{path}: damaged ({faults[0]})")
    except ValueError as error:
        raise ValueError(f"{error}; delete it, or measure again") from None
    descriptions |= {name: facts for name, facts in head["probes"].items() if name not in descriptions}
    return sorted([*map(with_derived, later), *rows], key=lambda row: row["step"])


def complete_config(config: dict) -> dict:
    """A run's settings as it told them; those in which readers compute are None where it did not, and the
    wiring's are left out where they are None.
    """
    told = {key: value for key, value in config.items() if value is not None or key not in WIRING_SETTINGS}
    return told | {key: config.get(key) for key in NUMBERS} | {"residual": config.get("residual") or UNKNOWN}


def complete_facts(facts: dict) -> dict:
    """A run's facts, each of the type that readers expect: text is `unknown`, a number 0, a baseline None."""
    dataset = facts.get("dataset") if isinstance(facts.get("dataset"), dict) else {}
    wiring = facts.get("wiring") if isinstance(facts.get("wiring"), dict) else {}
    known = facts.get("baselines_nats") if isinstance(facts.get("baselines_nats"), dict) else {}
    baselines = {"uniform": _number(known.get("uniform"))}
    for name in ("unigram", "bigram"):
        splits = known.get(name) if isinstance(known.get(name), dict) else {}
        baselines[name] = {split: _number(splits.get(split)) for split in ("train", "val")}
    return (
        facts
        | {key: str(facts.get(key) or UNKNOWN) for key in TEXT_FACTS}
        | {"parameters": _number(facts.get("parameters")) or 0, "baselines_nats": baselines}
        | {"wiring": {kind: wiring.get(kind) or NO_WIRING for kind in ("attn", "mlp")}}
        | {"probes": dict(facts["probes"]) if isinstance(facts.get("probes"), dict) else {}}
        | {
            "dataset": dataset
            | {key: str(dataset.get(key) or UNKNOWN) for key in ("source", "source_sha256")}
            | {"vocab_size": _number(dataset.get("vocab_size")) or 0}
        }
    )


def _number(value) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if usable else None


def baselines_of(run: Run, split: str) -> dict[str, float | None]:
    """The baselines of one split: name -> nats per token."""
    known = run.facts["baselines_nats"]
    return {"uniform": known["uniform"], "unigram": known["unigram"][split], "bigram": known["bigram"][split]}


def common_baselines(runs: list[Run]) -> dict[str, float]:
    """The validation baselines that all of some runs share; empty where they differ or are not known."""
    all_of_them = [baselines_of(run, "val") for run in runs]
    if not all_of_them or any(one != all_of_them[0] for one in all_of_them):
        return {}
    return {name: value for name, value in all_of_them[0].items() if value is not None}


def learning_layers(rows: list[dict]) -> int | None:
    """The newest probe/layers_that_learn of some rows, without those of NOT_AT_STEP."""
    counts = [row for row in rows if ("layers_that_learn", row["step"]) not in NOT_AT_STEP]
    known = (row.get("probe/layers_that_learn") for row in reversed(counts))
    return next((count for count in known if count is not None), None)


def outside(run: Run) -> bool:
    """Whether a run was not made by train.py: a foreign curve, or the record of somebody's own loop."""
    return "foreign" in run.facts or "recorder" in run.facts


def known(value):
    """A value for people: `unknown` where there is none."""
    return UNKNOWN if value is None else value


def data_hash(run: Run) -> str:
    """What tells a run's data from others: the hash of its source, or its name where that is not known."""
    known = run.facts["dataset"]["source_sha256"]
    if known != UNKNOWN:
        return known
    return f"{run.config['dataset']} (hash unknown)" if run.config.get("dataset") else UNKNOWN


def data_name(run: Run) -> str:
    """A run's data for people: their source and the start of their hash, or what is known instead."""
    if run.facts["dataset"]["source_sha256"] == UNKNOWN:
        return data_hash(run)
    return f"{run.facts['dataset']['source']} ({data_hash(run)[:12]})"


def identity(run: Run) -> dict[str, str]:
    """The value that a run has for each of CAUTIONS, as text."""
    facts, dataset = run.facts, run.facts["dataset"]
    vocabulary = f"{dataset['vocab_size']} tokens" if dataset["vocab_size"] else UNKNOWN
    return {
        "data": data_name(run),
        "tokenizer": str(dataset.get("tokenizer") or vocabulary),
        "eval_sequences": str(run.config.get("eval_sequences", UNKNOWN)),
        "block_size": str(known(run.config["block_size"])),
        "dtype": str(facts.get("dtype") or run.config.get("dtype", UNKNOWN)),
        "torch": facts["torch"],
        "commit": facts["git_commit"],
    }


def warnings(runs: list[Run]) -> list[str]:
    """Why the numbers of some runs should not be compared as they stand, a line for each reason."""
    reasons = []
    foreign = [run for run in runs if "foreign" in run.facts]
    ours = [run for run in runs if "foreign" not in run.facts]
    identities = [identity(run) for run in ours]
    for key, meaning in CAUTIONS.items():
        counts: dict[str, int] = {}
        for one in identities:
            if one[key] != UNKNOWN:
                counts[one[key]] = counts.get(one[key], 0) + 1
        if len(counts) > 1:
            listed = [f"{value} ({count} run{'s' * (count > 1)})" for value, count in counts.items()]
            reasons.append(f"{key} differs: {_few(listed)}: {meaning}")
    reasons += _not_told(ours, identities)
    if strangers := [run.folder.name for run in foreign if run.facts["dataset"]["source"] == UNKNOWN]:
        reasons.append(
            f"foreign: {', '.join(strangers)}: data, tokenizer and code are unknown, so the losses may be of "
            "other texts; --same_data says that the data are the same"
        )
    return reasons


def _not_told(runs: list[Run], identities: list[dict[str, str]]) -> list[str]:
    """A line for the runs that lack the same of CAUTIONS, where the others or the data make that matter."""
    asked = [key for key in CAUTIONS if key == "data" or any(one[key] != UNKNOWN for one in identities)]
    lacking: dict[tuple, list[str]] = {}
    for run, one in zip(runs, identities, strict=True):
        if len(runs) > 1 and (keys := tuple(key for key in asked if one[key] == UNKNOWN)):
            lacking.setdefault(keys, []).append(run.folder.name)
    return [
        f"unknown of {_few(names)}: {', '.join(keys)}: the losses may not be comparable"
        for keys, names in lacking.items()
    ]


def _few(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
