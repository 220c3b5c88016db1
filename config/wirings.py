# Question: do the published wirings train 12 layers below the bigram line? Those that start slowly, or need a
# smaller learning rate, get twice the updates of config/study.py and two rates.
#
#     python compare.py config/wirings.py --jobs 2 --page runs/wirings.html
#
# pre, x0, dense, hyper, depth_scaled and completep pass already in config/study.py (300 updates).

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
    "slow": {
        "learning_rate": [1e-3, 3e-3],
        "residual": ["post", "deepnorm", "rezero", "sandwich", "layerscale", "highway", "identity_start"],
    },
}
