# Question: what does a further layer do to the loss on the training data (He et al. 2015, arXiv 1512.03385),
# and at which rates does a stack learn at all? A plain stack, one with a start that repairs it, one with
# skips, and one with skips around attention or the MLP alone, over depth and over the rate of the blocks.
#
#     python -m experiments.bisect config/degradation.py --setting=muon_lr \
#         --json experiments/degradation/result.json
#
# Budget: four hours of CPU time. The same command goes on from the runs that are there.
# The recipe is that of config/rescue.py, narrower. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/degradation"

n_head = 1
n_embd = 32
block_size = 64
norm = "rmsnorm"
pos = "rope"
bias = False

batch_size = 16
max_iters = 200
optimizer = "muon"
muon_lr = 5e-3
learning_rate = 1e-2
schedule = "linear"
warmup_iters = 20

eval_interval = 200
eval_sequences = 256
probe_sequences = 2
sample_tokens = 0

_depths, _seeds = [1, 2, 3, 6, 12, 24, 48], [1, 2, 3]
_arms = {
    "start": {"residual": ["none"], "init": ["self"]},
    "plain": {"residual": ["none"]},
    "skips": {"residual": ["pre"]},
    "attention-skip-only": {"residual": ["pre"], "mlp_residual": ["none"]},
    "mlp-skip-only": {"residual": ["pre"], "attn_residual": ["none"]},
}

study = {"silent": {"residual": ["silent"], "n_layer": [1], "seed": _seeds}}  # the same at every depth
study |= {name: arm | {"n_layer": _depths, "muon_lr": [5e-3], "seed": _seeds} for name, arm in _arms.items()}
study |= {  # beside 5e-3: each arm has a choice of five
    f"{name}-rates": arm | {"n_layer": _depths, "muon_lr": [5e-4, 1.5e-3, 1.5e-2, 5e-2], "seed": _seeds}
    for name, arm in _arms.items()
}
study |= {  # faster, where a stack may learn best at the fastest of the five
    f"{name}-faster": arm | {"n_layer": depths, "muon_lr": [1.5e-1], "seed": _seeds}
    for name, arm in _arms.items()
    for depths in [_depths if name == "skips" else [1, 2, 3, 6]]
}
study |= {  # slower, where it may at the slowest
    f"{name}-slower": _arms[name] | {"n_layer": [24, 48], "muon_lr": [5e-5, 1.5e-4], "seed": _seeds}
    for name in ("start", "attention-skip-only")
}
study["skips-fastest"] = _arms["skips"] | {
    "n_layer": _depths,
    "muon_lr": [5e-1, 1.5, 5.0, 15.0],
    "seed": _seeds,
}
