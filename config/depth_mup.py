# Question: does one recipe serve 2, 6 and 24 layers? Compared are `pre`, `none` and the wiring `depth_mup`,
# which scales the branches by sqrt(4 / L) and starts them at 0.
#
#     python compare.py config/depth_mup.py --json experiments/depth_mup/result.json
#
# Budget: 11 minutes of CPU time.
# The rates were chosen at few layers and are the same for every arm and depth. docs/residuals.md discusses
# the result. Vary it: --n_embd=32 --n_head=1 --arms depth_mup --depths 1,16,256.

dataset = "stdlib"
out_dir = "runs/depth_mup"

n_head = 2
n_embd = 64
block_size = 64
norm = "rmsnorm"
mlp = "relu2"
pos = "rope"
bias = False

batch_size = 16
max_iters = 250
optimizer = "muon"
muon_lr = 2e-2
learning_rate = 3e-2
schedule = "linear"
warmup_iters = 25

eval_interval = 125
eval_sequences = 256

_seeds = [1, 2, 3]

study = {
    "depth": {"residual": ["depth_mup", "pre", "none"], "n_layer": [2, 6, 24], "seed": _seeds},
    "silent": {"residual": ["silent"], "n_layer": [1], "seed": _seeds},  # the same model at every depth
}
