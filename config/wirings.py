# Question: which of the published wirings train 12 layers, and how far in 300 updates? Slow starters get
# twice the updates, and those with a norm on the skip get a smaller rate as well.
#
#     python compare.py config/wirings.py --jobs 2 --json experiments/wirings/result.json
#
# One recipe for all is no ranking: for that, each would need its own best rate, and a difference smaller than
# the spread of the seeds is none. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/wirings"

n_layer = 12
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 600
learning_rate = 3e-3
schedule = "linear"
warmup_iters = 100

eval_interval = 150
eval_sequences = 256

_wirings = ["pre", "none", "silent", "identity_start", "post", "sandwich", "rezero", "layerscale", "deepnorm"]
_wirings += [
    "depth_scaled",
    "completep",
    "depth_mup",
    "highway",
    "x0",
    "dense",
    "hyper",
    "attention_residual",
]

study = {
    "short": {"residual": _wirings, "max_iters": [300], "warmup_iters": [30], "seed": [1, 2, 3]},
    "long": {"residual": ["rezero", "sandwich", "layerscale", "highway"]},
    "long-calm": {"residual": ["post", "deepnorm", "identity_start"], "learning_rate": [1e-3]},
}
