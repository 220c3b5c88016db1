# Question: does a plain stack train when one thing of the usual recipe is changed? Changed are learning rate,
# length, optimizer, init, precision and the weight of a skip, one at a time.
#
#     python compare.py config/study.py --jobs 2 --page runs/study.html
#
# Budget: 50 minutes of CPU time. Every grid below differs from the base in what it names. All runs: the same
# batches, the same draws, and one learning rate for embeddings and blocks; config/rescue.py changes start and
# rates together, and that helps.
# docs/residuals.md discusses the result; the figures are in experiments/study.

dataset = "stdlib"
out_dir = "runs/study"

n_layer = 12
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 300
learning_rate = 3e-3
schedule = "linear"
warmup_iters = 30

eval_interval = 100
eval_sequences = 256

# Grid -> setting -> values; compare.py trains the product of the values of each grid.
study = {
    "lr": {
        "residual": ["pre", "none"],
        "n_layer": [1, 4, 12],
        "learning_rate": [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2],
    },
    "deep": {"residual": ["pre", "none"], "n_layer": [24], "learning_rate": [3e-4, 1e-3, 3e-3]},
    "seeds": {"residual": ["pre", "none"], "learning_rate": [1e-3, 3e-3, 1e-2], "seed": [1, 2, 3]},
    "warmup": {"residual": ["none"], "warmup_iters": [150]},
    "ten-times": {"residual": ["none"], "max_iters": [3000], "eval_interval": [500]},
    "sgd": {"residual": ["none"], "optimizer": ["sgd"], "learning_rate": [0.1, 1.0]},
    "muon": {"residual": ["none"], "optimizer": ["muon"], "learning_rate": [1e-3, 1e-2]},
    "adam-eps": {"residual": ["none"], "adam_eps": [1e-16]},
    "init": {"residual": ["none"], "init": ["orthogonal", "fan_in", "scaled"]},
    "norm-eps": {"residual": ["none"], "norm_eps": [1e-12]},
    "fp64": {"residual": ["none"], "dtype": ["float64"]},
    "untied": {"residual": ["none"], "tie_weights": [False]},
    "attention-skip-only": {"residual": ["pre"], "mlp_residual": ["none"]},
    "mlp-skip-only": {"residual": ["pre"], "attn_residual": ["none"]},
    "dose": {"residual": ["scaled"], "residual_scale": [0.1, 0.3, 0.5, 0.9]},
    "control": {"residual": ["identity_start"], "learning_rate": [1e-3]},
    "llama-style": {
        "residual": ["pre", "none"],
        "norm": ["rmsnorm"],
        "mlp": ["swiglu"],
        "pos": ["rope"],
        "n_kv_head": [1],
        "bias": [False],
    },
}
