"""Run directories written by hand, for the tests of pages: every value is known without training."""

import json
from pathlib import Path

from reslab.instruments.probes import describe

# No two numbers of a run are equal, and train is not val moved by a constant: what is taken from the wrong
# split, row, layer or run is another number.
LINES = {"uniform": 4.0, "unigram": {"train": 2.97, "val": 3.1}, "bigram": {"train": 2.21, "val": 2.4}}
SKIPS = {"pre": 1.0, "none": 0.0, "scaled": 0.5}

# What autopsy.py --json writes, as little of it as makes a page.
AUTOPSY = {
    "diagnosis": "a diagnosis",
    "lens": [4.0, 3.0],
    "lens_text": "<read>",
    "perturbation": [[1.0, 0.5], [0, 1]],
}


def config_of(**changes) -> dict:
    settings = {"residual": "pre", "attn_residual": "", "mlp_residual": "", "residual_scale": 0.5}
    settings |= {
        "n_layer": 4,
        "n_embd": 16,
        "block_size": 8,
        "batch_size": 2,
        "gradient_accumulation_steps": 3,
    }
    return settings | {"seed": 1, "learning_rate": 1e-3, "probes": True} | changes


def train_loss(val_loss: float) -> float:
    return 0.9 * val_loss - 0.05


def probe_row(layers: int, step: int, skip: float) -> dict:
    """Probes whose numbers tell layer, step and arm apart; with skip 0 they fade tenfold per layer."""
    faded = [0.1 ** ((layers - k) * (1 - skip)) for k in range(layers + 1)]
    fading = [(1 + step / 100) * f for f in faded]
    twice = [0.1 ** ((2 * layers - k) / 2 * (1 - skip)) * (1 + step / 100) for k in range(2 * layers + 1)]
    row = {
        "resid_gradient": twice,
        "position0_share": [0.1 + 0.01 * k + step / 1000 for k in range(layers + 1)],
        "qk_gradient": [0.7 * f for f in fading[:layers]],
        "token_diversity": [0.9 * f for f in fading],
        "resid_rms": [1.0 + k / 2 for k in range(2 * layers + 1)],
        "branch_ratio": [0.25 + k for k in range(2 * layers)],
        "branch_cosine": [-0.125] * (2 * layers),
        "added_rms": [0.3 + k for k in range(2 * layers)],
        "added_cosine": [0.0625 * k for k in range(2 * layers)],
        "skip_gradient": [skip * g for g in twice[1:]],
        "branch_gradient": [0.5 * g for g in twice[:-1]],
        "layers_that_learn": layers - step // 10,
    }
    return {"step": step} | {f"probe/{name}": value for name, value in row.items()}


def facts_of(name: str, settings: dict) -> dict:
    """What config.json holds beside the settings."""
    skip = SKIPS.get(settings["residual"])
    equation = f"the equation of {settings['residual']}"
    wiring = {"equation": equation, "skip": skip, "has_identity": skip == 1.0}
    return {
        "parameters": 1000,
        "flops_per_token": 7000,
        "probes": describe(),
        "baselines_nats": LINES,
        "command": f"train.py {name}",
        "git_commit": "abc",
        "dataset": {"source": "a text", "source_sha256": "0", "vocab_size": 50},
        "started": "2026-01-01T00",
        "machine": "a machine",
        "device": "cpu",
        "torch": "2",
        "wiring": {"attn": wiring, "mlp": wiring},
    }


def rows_of(losses, settings: dict, status: str) -> list[dict]:
    """An evaluation with a sample, a probe and a batch every ten steps, then the row of the end."""
    rows = []
    for number, loss in enumerate(losses):
        step = number * 10
        row = {"step": step, "train/loss": train_loss(loss), "train/loss_se": 0.03 + number / 100}
        row |= {"val/loss": loss, "val/loss_se": 0.02 + number / 1000, "elapsed_s": 1.5 * step}
        rows.append(row | {"sample/prompt": f"def {step}", "sample/text": f"sample <{step}>"})
        rows.append(probe_row(settings["n_layer"], step, SKIPS.get(settings["residual"]) or 0.0))
        batch = {"step": step, "batch/loss": loss + 0.5, "batch/grad_norm": 1.0 + number}
        rows.append(batch | {"tokens_per_s": 100.0 + 7 * number, "elapsed_s": 1.5 * step + 0.25})
    if status:
        rows.append({"step": 10 * len(losses) - 10, "status": status, "diagnosis": "a diagnosis"})
    return rows


def write_run(
    root: Path,
    name="run",
    losses=(4.0, 2.9, 2.2),
    status="finished",
    rows=None,
    facts=None,
    without=(),
    **changes,
) -> Path:
    """A run directory with an evaluation, a probe, a sample and a batch every ten steps.

    Args:
        losses: validation losses; the training losses are train_loss() of them.
        rows: all rows of metrics.jsonl, instead of those.
        facts: what config.json holds beside the settings, where it differs.
        without: facts that config.json lacks.
        changes: settings that differ from config_of().
    """
    folder = root / name
    folder.mkdir()
    settings = config_of(out_dir=name, **changes)
    content = facts_of(name, settings) | (facts or {})
    content = {"config": settings} | {key: value for key, value in content.items() if key not in without}
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    if rows is None:
        rows = rows_of(losses, settings, status)
    text = "".join(json.dumps(one) + "\n" for one in rows)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder
