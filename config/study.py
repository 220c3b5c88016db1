# Question: does a plain stack train when one thing of the usual recipe is changed? Changed are learning rate,
# depth, length, optimizer, init, precision and the weight of a skip, one at a time, and last the whole block.
#
#     python compare.py config/study.py --jobs 2 --page runs/study.html            one seed
#     python compare.py config/study.py --jobs 2 --seeds 3 --json experiments/study/result.json
#
# Budget: an hour of CPU time with one seed, three hours and a half with three. Every grid below differs from
# the base in what it names. All runs of a seed have the same batches and draws, and all have one rate for
# embeddings and blocks; config/rescue.py changes start and rates together, and that helps.
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

_rates = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]
_plain = {"residual": ["none"]}
_both = {"residual": ["pre", "none"]}

# Grid -> setting -> values; compare.py trains the product of the values of each grid.
study = {
    "lr": _both | {"n_layer": [1, 4, 12], "learning_rate": _rates},
    "deep": _both | {"n_layer": [24], "learning_rate": [3e-4, 1e-3, 3e-3]},
    # the same at every depth; best at larger rates than the stacks had
    "silent": {"residual": ["silent"], "n_layer": [1], "learning_rate": [*_rates, 0.1, 0.3, 1.0]},
    "warmup": _plain | {"warmup_iters": [150]},
    "ten-times": _plain | {"max_iters": [3000], "eval_interval": [500]},
    "sgd": _both | {"optimizer": ["sgd"], "learning_rate": [0.03, 0.1, 1.0]},
    "muon": _both | {"optimizer": ["muon"], "learning_rate": [1e-3, 1e-2, 3e-2]},
    "adam-eps": _plain | {"adam_eps": [1e-16]},
    "init": _plain | {"init": ["orthogonal", "fan_in", "scaled"]},
    "norm-eps": _plain | {"norm_eps": [1e-12]},
    "fp64": _plain | {"dtype": ["float64"]},
    "untied": _plain | {"tie_weights": [False]},
    "attention-skip-only": {"residual": ["pre"], "mlp_residual": ["none"]},
    "mlp-skip-only": {"residual": ["pre"], "attn_residual": ["none"]},
    "dose": {"residual": ["scaled"], "residual_scale": [0.1, 0.3, 0.5, 0.9]},
    "control": {"residual": ["identity_start"], "learning_rate": [3e-4, 1e-3, 3e-3]},
    "llama": {
        "residual": ["pre", "none", "silent"],
        "norm": ["rmsnorm"],
        "mlp": ["swiglu"],
        "pos": ["rope"],
        "n_kv_head": [1],
        "bias": [False],
        "learning_rate": [1e-3, 3e-3, 1e-2],
    },
}
