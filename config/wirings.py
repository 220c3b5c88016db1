# Question: do the published wirings train 12 layers below the bigram line? Those that start slowly get twice
# the updates of config/study.py, and those whose norm stands on the skip a smaller rate as well.
#
#     python compare.py config/wirings.py --jobs 2 --page runs/wirings.html
#
# The others pass already in config/study.py (300 updates). Expected (results/wirings.json): five of these
# seven pass. sandwich ends 0.18 nats above the line: its branches start at rms 1 beside embeddings of std
# 0.02. identity_start ends 0.29 above and is still falling: with W_Q = 0 and b = 0 it learns to mix tokens
# slowly.

dataset = "stdlib"
out_dir = "runs/wirings"

n_layer = 12
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 600
learning_rate = 1e-3
schedule = "linear"
warmup_iters = 100

eval_interval = 200
eval_windows = 256

study = {
    "slow": {"residual": ["rezero", "sandwich", "layerscale", "highway"], "learning_rate": [3e-3]},
    "calm": {"residual": ["post", "deepnorm", "identity_start"], "learning_rate": [1e-3]},
}
