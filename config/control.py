# Question: how low does the control `silent` get at its own best rate of embeddings and head, and what do the
# blocks of 12 layers add to it there?
#
#     python compare.py config/control.py --jobs 2 --json experiments/control/result.json
#
# The other experiments give embeddings and head one rate, 1e-2, in all arms. `silent` has nothing but those,
# so a fair control has a choice of rates as well. The recipe is that of config/degradation.py; blocks have
# the rates that were the best there and one or two beside them.
#
# Budget: half an hour of CPU time for 72 runs. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/control"

n_layer = 12
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
probes = False

_seeds = [1, 2, 3]
_rates = [1e-2, 3e-2, 1e-1, 3e-1]

study = {
    "silent": {"residual": ["silent"], "n_layer": [1], "learning_rate": _rates, "seed": _seeds},
    "start": {
        "residual": ["none"],
        "init": ["self"],
        "learning_rate": _rates,
        "muon_lr": [5e-4, 1.5e-3, 5e-3],
        "seed": _seeds,
    },
    "skips": {"residual": ["pre"], "learning_rate": _rates, "muon_lr": [1.5e-2, 5e-2], "seed": _seeds},
}
