# Question: which part of the repair of a plain stack is needed? {standard start, all matrices orthogonal,
# W_Q = W_K alone, both} x {one rate, slow blocks} x {AdamW, Muon} at 12 layers.
#
#     python compare.py config/ladder.py --jobs 2 --json experiments/ladder/result.json
#
# Budget: an hour of CPU time for 300 runs. The recipe is that of config/degradation.py.
# `shared_qk` has the W_Q = W_K of init `self`, c times an orthogonal matrix, and leaves V, O and the MLP as
# the wiring starts them; `orthogonal` has all of `self` but W_Q = W_K and c. Each cell has a choice of three
# to six rates: one for all, or one of the blocks' own while embeddings and head have 1e-2. Muon takes the
# one rate as steps of AdamW's size. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/ladder"

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
probe_sequences = 2
sample_tokens = 0

_seeds = [1, 2, 3]
_one_rate = {"learning_rate": [1e-3, 3e-3, 1e-2]}
_recipes = {
    "adamw": _one_rate | {"optimizer": ["adamw"]},
    "adamw-slow": {"optimizer": ["adamw"], "block_lr": [1e-4, 3e-4, 1e-3]},
    "muon": _one_rate | {"muon_lr": [0.0]},
    "muon-slow": {"muon_lr": [1.5e-3, 5e-3, 1.5e-2]},
}
_arms = {
    "plain": {"residual": ["none"], "init": ["wiring", "orthogonal", "shared_qk", "self"]},
    "skips": {"residual": ["pre"]},
}
_beyond = {  # further rates, where the best of three was the smallest or the largest
    "silent": {"learning_rate": [3e-2, 1e-1, 3e-1, 1.0]},
    "plain-adamw": {"learning_rate": [3e-4, 3e-2]},
    "plain-adamw-slow": {"block_lr": [3e-5]},
    "plain-muon": {"learning_rate": [3e-4, 3e-2]},
    "plain-muon-slow": {"muon_lr": [5e-4]},
    "skips-adamw-slow": {"block_lr": [3e-3]},
    "skips-muon": {"learning_rate": [3e-2, 1e-1, 3e-1]},
    "skips-muon-slow": {"muon_lr": [5e-2, 1.5e-1]},
}
_slower = {"residual": ["none"], "init": ["shared_qk"]}

study = {"silent": _one_rate | {"residual": ["silent"], "n_layer": [1], "seed": _seeds}}
study |= {
    f"{name}-{recipe}": arm | rates | {"seed": _seeds}
    for name, arm in _arms.items()
    for recipe, rates in _recipes.items()
}
study = {
    name: grid | {rate: grid[rate] + more for rate, more in _beyond.get(name, {}).items()}
    for name, grid in study.items()
}
study["plain-adamw-slower"] = _slower | {"optimizer": ["adamw"], "block_lr": [3e-6, 1e-5], "seed": _seeds}
study["plain-muon-slower"] = _slower | {"muon_lr": [1.5e-4], "seed": _seeds}
