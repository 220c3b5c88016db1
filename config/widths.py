# Question: does the width change what skips are for? Stacks with and without skips, repaired ones, and the
# weight of the skip at which a stack begins to learn, 32, 64 and 128 wide.
#
#     python -m experiments.best config/widths.py --setting=muon_lr --jobs 2 \
#         --json experiments/widths/result.json
#
# Budget: an hour of CPU time, two on a slow machine. The best rate is chosen with seed 1 and trained with
# two more.
# The recipe is that of config/degradation.py; each stack has a choice of five to seven rates. On a CPU
# that gains by it, `dtype` is bfloat16 at 128 and float32 below: so it was in the stored runs.
# experiments/widths has a command for a thousand layers' recipe too. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/widths"

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

_widths = {"n_embd": [32, 64, 128], "seed": [1, 2, 3]}
_rates = {"n_layer": [3, 12], "muon_lr": [1.5e-3, 5e-3, 1.5e-2], "seed": [1]}

study = {
    "silent": _widths | {"residual": ["silent"], "n_layer": [1]},  # the same model at every depth
    "skips": _widths | _rates | {"residual": ["pre"]},
    "start": _widths | _rates | {"residual": ["none"], "init": ["self"]},
    "plain": _widths | _rates | {"residual": ["none"]},
    "skips-fast": _widths | _rates | {"residual": ["pre"], "muon_lr": [5e-2, 1.5e-1]},
    "plain-fast": _widths | _rates | {"residual": ["none"], "muon_lr": [5e-2, 1.5e-1]},
    "start-slow": _widths | _rates | {"residual": ["none"], "init": ["self"], "muon_lr": [1.5e-4, 5e-4]},
    "start-fast": _widths | _rates | {"residual": ["none"], "init": ["self"], "muon_lr": [5e-2, 1.5e-1]},
    "dose-6": _widths | {"residual": ["scaled"], "n_layer": [6], "residual_scale": [0.3, 0.4, 0.5, 0.6]},
    "dose-12": _widths | {"residual": ["scaled"], "n_layer": [12], "residual_scale": [0.5, 0.6, 0.7, 0.8]},
}
