# Question: how heavy must a skip be for a stack of 6 to 96 layers to learn? Its weight lambda in
# y = lambda x + F(N(x)) is varied, and the edge found by bisection.
#
#     python -m experiments.bisect config/dose.py --setting=residual_scale --json experiments/dose/edges.json
#     python compare.py runs/dose --page runs/dose.html
#
# Budget: two hours of CPU time. The recipe is that of config/degradation.py.
# The prediction: exp(-4.6 / L), so 0.46, 0.68, 0.83, 0.91 and 0.95 at 6, 12, 24, 48 and 96 layers. Attention
# that is nearly uniform writes to all tokens alike, so what tells them apart shrinks by lambda in each block,
# and lambda^L = 0.01 is taken for too little. It was made before these runs, but trials at 6, 12 and 24
# layers, of which no row is stored, had been seen: 48 and 96 are its test.
# docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/dose"

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

_arm = {"residual": ["scaled"], "seed": [1]}

study = {
    "silent": {"residual": ["silent"], "n_layer": [1], "seed": [1, 2, 3]},  # the same model at every depth
    "dose": _arm | {"n_layer": [6, 12, 24], "residual_scale": [0.3, 0.5, 0.7, 0.8, 0.9, 1.0]},
    "deep": _arm | {"n_layer": [48, 96], "residual_scale": [0.7, 0.8, 0.9, 0.95, 1.0]},
    "rates": _arm | {"muon_lr": [1.5e-3, 1.5e-2], "n_layer": [6, 12], "residual_scale": [0.3, 0.5, 0.7, 0.9]},
}

_again = {"residual": ["scaled"], "seed": [2, 3]}
_rates = {"muon_lr": [1.5e-3, 5e-3, 1.5e-2]}

study |= {
    "again-6": _again | _rates | {"n_layer": [6], "residual_scale": [0.3, 0.5]},
    "again-12": _again | _rates | {"n_layer": [12], "residual_scale": [0.5, 0.8]},
    "again-24": _again | {"n_layer": [24], "residual_scale": [0.7, 0.9]},
    "again-48": _again | {"n_layer": [48], "residual_scale": [0.8, 0.95]},
    "again-96": _again | {"n_layer": [96], "residual_scale": [0.9, 1.0]},
    "more-6": _again | {"n_layer": [6], "residual_scale": [0.7, 0.8, 0.9, 1.0]},
    "more-12": _again | {"n_layer": [12], "residual_scale": [0.3, 0.7, 0.9, 1.0]},
    "more-24": _again | {"n_layer": [24], "residual_scale": [0.3, 0.5, 0.8, 1.0]},
    "more-48": _again | {"n_layer": [48], "residual_scale": [0.5, 0.7, 0.9, 1.0]},
    "more-96": _again | {"n_layer": [96], "residual_scale": [0.5, 0.7, 0.8, 0.95]},
    "half": _arm | {"n_layer": [48, 96], "residual_scale": [0.5]},
    "rates-24": _arm | {"muon_lr": [1.5e-3, 1.5e-2], "n_layer": [24], "residual_scale": [0.5, 0.7, 0.8, 0.9]},
    "rates-48": _arm
    | {"muon_lr": [1.5e-3, 1.5e-2], "n_layer": [48], "residual_scale": [0.7, 0.8, 0.9, 0.95]},
}
