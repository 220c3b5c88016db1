# Question: is depth free, up to a thousand layers? One recipe for 1 to 1000 layers: `depth_mup`, which scales
# the branches by sqrt(4 / L) and starts them at 0, beside other wirings and a stack without skips.
#
#     python compare.py config/thousand.py --jobs 2 --json experiments/thousand/result.json
#
# Budget: seven hours of CPU time; a stack of 1000 layers takes five to fifteen minutes of it.
# `silent` is the control, the same at every depth. Each wiring has a choice of three or more rates at each
# depth, some at 256 and 1000 with one seed. `pre` has AdamW's usual rate as well (`silent` has not), since
# all 2000 branches move at once. docs/residuals.md discusses the result.
#
# Narrow and short, so that two CPU cores can do it; give it width and time on a GPU:
# --n_embd=256 --n_head=4 --block_size=256 --batch_size=32 --max_iters=5000

dataset = "stdlib"
out_dir = "runs/thousand"

residual = "depth_mup"
n_layer = 1000
n_head = 1
n_embd = 32
block_size = 64
norm = "rmsnorm"
mlp = "relu2"
pos = "rope"
bias = False

batch_size = 8
max_iters = 140
optimizer = "muon"
muon_lr = 2e-2
learning_rate = 3e-2
schedule = "linear"
warmup_iters = 14

eval_interval = 140
eval_sequences = 128
probe_sequences = 2
sample_tokens = 0

_adamw = {"optimizer": ["adamw"], "learning_rate": [3e-3]}
_all_seeds = {"seed": [1337, 1, 2]}
_others = {"residual": ["depth_mup", "completep", "depth_scaled", "keel"]}

study = {  # short ones first
    "silent": {"residual": ["silent"], "n_layer": [1]},
    "depth": {"residual": ["depth_mup"], "n_layer": [1, 4, 16, 64, 256]},
    "plain": {"residual": ["none"], "n_layer": [1, 4, 16, 64]},
    "skips": {"residual": ["pre"], "n_layer": [4, 64], "muon_lr": [2e-4, 2e-3, 2e-2]},
    "thousand": {"residual": ["depth_mup", "none"], "n_layer": [1000]},
    "skips-adamw": _adamw | {"residual": ["pre"], "n_layer": [4, 64, 256]},
    "others": {"residual": ["completep", "depth_scaled"], "n_layer": [4, 64, 256]},
    "skips-thousand": {"residual": ["pre"], "n_layer": [1000], "muon_lr": [2e-4, 2e-3, 2e-2]},
    "seeds": {"residual": ["depth_mup", "none"], "n_layer": [1, 4, 16, 64, 256, 1000], "seed": [1, 2]},
    "more-seeds": {"residual": ["pre"], "n_layer": [4, 64], "muon_lr": [2e-4, 2e-3, 2e-2], "seed": [1, 2]},
    "adamw-seeds": _adamw | {"residual": ["pre"], "n_layer": [4, 64, 256], "seed": [1, 2]},
    "others-seeds": {"residual": ["completep", "depth_scaled"], "n_layer": [4, 64, 256], "seed": [1, 2]},
    "pre-seeds": {"residual": ["pre"], "n_layer": [1000], "muon_lr": [2e-4, 2e-3, 2e-2], "seed": [1, 2]},
    "silent-seeds": {"residual": ["silent"], "n_layer": [1], "seed": [1, 2]},
    "keel": _all_seeds | {"residual": ["keel"], "n_layer": [4, 64, 256]},
    "plain-rates": _all_seeds | {"residual": ["none"], "n_layer": [4, 64], "muon_lr": [2e-4, 2e-3]},
    "skips-fast": _all_seeds | {"residual": ["pre"], "n_layer": [4, 64], "muon_lr": [6e-2]},
    "rates": _all_seeds | _others | {"n_layer": [4, 64], "muon_lr": [7e-3, 6e-2]},
    "fast": _all_seeds | _others | {"n_layer": [4, 64], "muon_lr": [0.2]},
    "thousand-fast": {"residual": ["depth_mup"], "n_layer": [1000], "muon_lr": [6e-2]},
    "others-thousand": {"residual": ["completep", "depth_scaled"], "n_layer": [1000]},
    "thousand-fast-seeds": {"residual": ["depth_mup"], "n_layer": [1000], "muon_lr": [6e-2], "seed": [1, 2]},
    "others-thousand-seeds": {"residual": ["completep", "depth_scaled"], "n_layer": [1000], "seed": [1, 2]},
    "short-rates": _all_seeds | {"residual": ["depth_mup"], "n_layer": [1, 16], "muon_lr": [7e-3, 6e-2]},
    "plain-short-rates": _all_seeds | {"residual": ["none"], "n_layer": [1, 16], "muon_lr": [2e-4, 2e-3]},
    "plain-256": {"residual": ["none"], "n_layer": [256], "muon_lr": [2e-4, 2e-3, 2e-2]},
    "skips-256": {"residual": ["pre"], "n_layer": [256], "muon_lr": [2e-4, 2e-3, 2e-2]},
    "rates-256": _others | {"n_layer": [256], "muon_lr": [7e-3, 6e-2]},
    "plain-thousand-rates": {"residual": ["none"], "n_layer": [1000], "muon_lr": [2e-4, 2e-3]},
    "keel-thousand": {"residual": ["keel"], "n_layer": [1000], "muon_lr": [7e-3, 2e-2, 6e-2]},
    "others-thousand-rates": {
        "residual": ["completep", "depth_scaled"],
        "n_layer": [1000],
        "muon_lr": [7e-3, 6e-2],
    },
    "thousand-slow": {"residual": ["depth_mup"], "n_layer": [1000], "muon_lr": [7e-3]},
    "plain-256-seeds": {"residual": ["none"], "n_layer": [256], "muon_lr": [2e-4, 2e-3], "seed": [1, 2]},
    "skips-256-seeds": {"residual": ["pre"], "n_layer": [256], "muon_lr": [2e-3], "seed": [1, 2]},
    "rates-256-seeds": {
        "residual": ["completep", "depth_scaled"],
        "n_layer": [256],
        "muon_lr": [6e-2],
        "seed": [1, 2],
    },
    "short-fast": _all_seeds | {"residual": ["depth_mup"], "n_layer": [1, 16], "muon_lr": [0.2]},
    "plain-one-fast": _all_seeds | {"residual": ["none"], "n_layer": [1], "muon_lr": [6e-2, 0.2]},
}
