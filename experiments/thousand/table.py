"""A thousand layers, with and without skips; and the same with AdamW at the rate of shallow stacks."""

from experiments.tables import ARMS, Table, markdown, origin, pair, skips_first

# The run was made when config/thousand.py still had these settings, so its own command does not name them.
ADAMW = "--optimizer=adamw --bias=True --max_iters=200 --warmup_iters=20"


def adamw(result: dict) -> str:
    """Both arms with AdamW, after 200 updates."""
    rows = [
        [ARMS[run["residual"]], f"{run['train/loss']:.3f}", f"{run['val/loss']:.3f}"]
        for run in skips_first(result["runs"])
    ]
    unigram = result["baselines_nats"]["unigram"]["val"]
    note = f"\nThe unigram baseline is {unigram:.3f}.\n"
    result = result | {"command": f"compare.py config/thousand.py --arms pre,none --jobs 2 {ADAMW}"}
    return markdown(["AdamW at 3e-3", "train loss", "val loss"], rows) + note + origin(result)


TABLES = {"thousand": Table(pair, ("result", "silent")), "thousand_adamw": Table(adamw, ("adamw",))}
