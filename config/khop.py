# Question: what does depth buy where an answer takes several steps? Where 1, 2 or 3 arrows lead from a
# letter: how often stacks with and without skips answer rightly, over the number of layers.
#
#     python data/khop/prepare.py
#     python -m experiments.khop.measure --json experiments/khop/result.json
#     python train.py config/khop.py --n_layer=4 --out_dir=runs/khop-4     one of them, as a run
#
# Budget: an hour of CPU time. Positions turn fast (rope_theta) and queries and keys have biases, since an
# arrow is found by how far back it stands in a line of eleven tokens. Each stack has the best of three or
# four rates of its blocks, chosen with seed 1. docs/residuals.md discusses the result.

dataset = "khop"
out_dir = "runs/khop"

n_head = 2
n_embd = 32
block_size = 55
norm = "rmsnorm"
pos = "rope"
rope_theta = 50.0
bias = False
qkv_bias = True

batch_size = 32
max_iters = 3000
optimizer = "muon"
muon_lr = 4e-2
learning_rate = 2e-2
schedule = "linear"
warmup_iters = 20

eval_interval = 1500
eval_sequences = 128
probe_sequences = 2
sample_tokens = 0

_plain = {"n_layer": [1, 2, 4], "muon_lr": [2e-3, 1e-2, 4e-2], "seed": [1]}

study = {
    "silent": {"residual": ["silent"], "n_layer": [1], "seed": [1, 2, 3]},  # letters without arrows
    "skips": {"residual": ["pre"], "n_layer": [1, 2, 3, 4, 8], "seed": [1, 2, 3]},
    "skips-rates": {"residual": ["pre"], "n_layer": [1, 2, 3, 4, 8], "muon_lr": [1e-2, 1.6e-1], "seed": [1]},
    "plain": {"residual": ["none"]} | _plain,
    "plain-slower": {"residual": ["none"], "n_layer": [4], "muon_lr": [4e-4], "seed": [1]},
    "start": {"residual": ["none"], "init": ["self"]} | _plain,
}
