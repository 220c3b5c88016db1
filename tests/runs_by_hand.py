"""Run directories written by hand, for the tests of pages: every value is known without training."""

import json
from pathlib import Path

LINES = {"uniform": 4.0, "unigram": {"train": 3.0, "val": 3.1}, "bigram": {"train": 2.3, "val": 2.4}}
SKIPS = {"pre": 1.0, "none": 0.0}


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


def probe_row(layers: int, step: int, skip: float) -> dict:
    """Probes whose numbers tell layer, step and arm apart; with skip 0 they fade tenfold per layer."""
    faded = [0.1 ** ((layers - k) * (1 - skip)) for k in range(layers + 1)]
    fading = [(1 + step / 100) * f for f in faded]
    twice = [0.1 ** ((2 * layers - k) / 2 * (1 - skip)) * (1 + step / 100) for k in range(2 * layers + 1)]
    row = {
        "gradient_norm": fading,
        "position0_share": [0.1 + 0.01 * k for k in range(layers + 1)],
        "qk_gradient": fading[:layers],
        "token_diversity": [0.9 * f for f in fading],
        "stream_rms": [1.0 + k for k in range(layers + 1)],
        "sublayer_rms": [1.0 + k / 2 for k in range(2 * layers + 1)],
        "branch_ratio": [0.25 + k for k in range(2 * layers)],
        "branch_cosine": [-0.125] * (2 * layers),
        "input_gradient": twice[:-1],
        "output_gradient": twice[1:],
        "skip_gradient": [skip * g for g in twice[1:]],
        "branch_gradient": [0.5 * g for g in twice[:-1]],
        "layers_that_learn": layers,
    }
    return {"step": step} | {f"probe/{name}": value for name, value in row.items()}


def write_run(
    root: Path, name="run", losses=(4.0, 2.9, 2.2), status="finished", rows=None, **changes
) -> Path:
    """A run directory with an evaluation, a probe, a sample and a batch every ten steps.

    Args:
        losses: validation losses; training losses are 0.1 lower.
        rows: all rows of metrics.jsonl, instead of those.
        changes: settings that differ from config_of().
    """
    folder = root / name
    folder.mkdir()
    settings = config_of(out_dir=name, **changes)
    skip = SKIPS.get(settings["residual"])
    facts = {"parameters": 1000, "yardsticks_nats": LINES, "command": "train.py", "git_commit": "abc"}
    facts |= {"dataset": {"source": "a text", "source_sha256": "0", "vocab_size": 50}}
    facts |= {"started": "2026-01-01T00", "machine": "a machine", "device": "cpu", "torch": "2"}
    wiring = {"equation": f"the equation of {settings['residual']}", "skip": skip}
    facts["wiring"] = {"attn": wiring, "mlp": wiring}
    (folder / "config.json").write_text(json.dumps({"config": settings} | facts), encoding="utf-8")
    if rows is None:
        rows = []
        for number, loss in enumerate(losses):
            step = number * 10
            row = {"step": step, "train/loss": loss - 0.1, "train/loss_se": 0.01, "elapsed_s": 1.5 * step}
            row |= {"val/loss": loss, "val/loss_se": 0.01}
            rows.append(row | {"sample/prompt": "def ", "sample/text": f"sample <{step}>"})
            rows.append(probe_row(settings["n_layer"], step, skip or 0.0))
            batch = {"step": step, "batch/loss": loss, "batch/grad_norm": 1.0, "tokens_per_s": 100.0}
            rows.append(batch | {"elapsed_s": 1.5 * step})
        if status:
            rows.append({"step": 20, "status": status, "verdict": "a verdict"})
    text = "".join(json.dumps(one) + "\n" for one in rows)
    (folder / "metrics.jsonl").write_text(text, encoding="utf-8")
    return folder
