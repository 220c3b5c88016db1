"""What a run directory tells beside the losses: where it was made, on which data, against which baselines.

What a directory does not tell is `unknown`, never an error; what makes the losses of several runs not
comparable is said by warnings().
"""

import math
from dataclasses import replace
from pathlib import Path

from reslab.run.fields import flat
from reslab.run.log import Run, read_run
from reslab.run.settings import TrainConfig

UNKNOWN = "unknown"
TEXT_FACTS = ("torch", "git_commit", "device", "machine", "command", "started")
NEEDED = ("residual", "n_layer", "n_embd", "block_size", "batch_size", "learning_rate", "seed")
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


def load(folder: Path) -> Run:
    """Read a run directory whose facts may be incomplete.

    Raises:
        ValueError: it is not a run directory, or a file in it is damaged; one line.
    """
    try:
        run = read_run(folder)
        config, facts = dict(run.config), dict(run.facts)
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'}: not the record of a run ({error})") from None
    if lacking := [
        key for key in NEEDED if not isinstance(config.get(key), str if key == "residual" else int | float)
    ]:
        raise ValueError(f"{folder / 'config.json'}: no value for {', '.join(lacking)}")
    return replace(run, config=_complete_config(config), facts=_complete_facts(facts))


def _complete_config(config: dict) -> dict:
    """A run's settings; the overrides of the wiring are empty where it has none."""
    empty = {"attn_residual": "", "mlp_residual": "", "residual_scale": flat(TrainConfig())["residual_scale"]}
    return empty | {"gradient_accumulation_steps": 1} | config


def _complete_facts(facts: dict) -> dict:
    """A run's facts, each of the type that readers expect: text is `unknown`, a number 0, a baseline None."""
    dataset = facts.get("dataset") if isinstance(facts.get("dataset"), dict) else {}
    known = facts.get("baselines_nats") if isinstance(facts.get("baselines_nats"), dict) else {}
    baselines = {"uniform": _number(known.get("uniform"))}
    for name in ("unigram", "bigram"):
        splits = known.get(name) if isinstance(known.get(name), dict) else {}
        baselines[name] = {split: _number(splits.get(split)) for split in ("train", "val")}
    return (
        facts
        | {key: str(facts.get(key) or UNKNOWN) for key in TEXT_FACTS}
        | {"parameters": _number(facts.get("parameters")) or 0, "baselines_nats": baselines}
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


def data_hash(run: Run) -> str:
    """What tells a run's data from others: the hash of its source, or its name where that is not known."""
    known = run.facts["dataset"]["source_sha256"]
    return known if known != UNKNOWN else f"{run.config.get('dataset', UNKNOWN)} (hash unknown)"


def identity(run: Run) -> dict[str, str]:
    """The value that a run has for each of CAUTIONS, as text."""
    facts, dataset = run.facts, run.facts["dataset"]
    vocabulary = f"{dataset['vocab_size']} tokens" if dataset["vocab_size"] else UNKNOWN
    return {
        "data": f"{dataset['source']} ({data_hash(run)[:12]})",
        "tokenizer": str(dataset.get("tokenizer") or vocabulary),
        "eval_sequences": str(run.config.get("eval_sequences", UNKNOWN)),
        "block_size": str(run.config["block_size"]),
        "dtype": str(facts.get("dtype") or run.config.get("dtype", UNKNOWN)),
        "torch": facts["torch"],
        "commit": facts["git_commit"],
    }


def warnings(runs: list[Run]) -> list[str]:
    """Why the numbers of some runs should not be compared as they stand, a line for each reason."""
    reasons = []
    identities = [identity(run) for run in runs]
    for key, meaning in CAUTIONS.items():
        counts: dict[str, int] = {}
        for one in identities:
            counts[one[key]] = counts.get(one[key], 0) + 1
        if len(counts) > 1:
            listed = [f"{value} ({count} run{'s' * (count > 1)})" for value, count in counts.items()]
            more = f" and {len(listed) - 4} more" if len(listed) > 4 else ""
            reasons.append(f"{key} differs: {', '.join(listed[:4])}{more}: {meaning}")
    return reasons
