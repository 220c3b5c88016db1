# Question: does the study of config/study.py hold at a size for a GPU? 1 to 48 layers, width 384, sequences
# of 256 tokens.
#
#     python compare.py config/study_gpu.py --json study_gpu.json
#
# Not measured yet; meant for one H200, in under 25 minutes. --jobs 4 keeps such a card busy.

dataset = "stdlib"
out_dir = "runs/study_gpu"

n_layer = 24
n_head = 6
n_embd = 384
block_size = 256

batch_size = 32
max_iters = 500
learning_rate = 1e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 250
eval_sequences = 256

_lrs = [1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2]

study = {
    "lr": {"residual": ["pre", "none"], "n_layer": [1, 12], "learning_rate": _lrs},
    "deep": {"residual": ["pre", "none"], "n_layer": [48], "learning_rate": [1e-4, 3e-4, 1e-3]},
    "seeds": {"residual": ["pre", "none"], "learning_rate": [1e-3], "seed": [1, 2, 3]},
    "wirings": {
        "residual": ["post", "sandwich", "deepnorm", "layerscale", "rezero", "identity_start", "silent"]
    },
    "precision": {"residual": ["none"], "dtype": ["float32", "bfloat16"]},
    "init": {"residual": ["none"], "init": ["orthogonal", "fan_in", "scaled"]},
    "optimizer": {"residual": ["none"], "optimizer": ["muon"], "learning_rate": [1e-3, 1e-2]},
    "adam-eps": {"residual": ["none"], "adam_eps": [1e-16]},
}
