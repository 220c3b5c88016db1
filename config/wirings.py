# Question: which of the published wirings train 12 layers, and which of them is better than `pre`, when each
# has the best of three or more learning rates for its blocks?
#
#     python compare.py config/wirings.py --jobs 2 --json experiments/wirings/result.json
#
# Every wiring starts as its paper says, but for what its class in reslab/residual.py names. The rate of
# embeddings and head is the same for all; the blocks have one of three, smaller ones where short trials
# wanted that, and further ones where the best was at an end. Each rate has three seeds. `silent` is the
# control: the same model without what its blocks compute.
#
# Budget: 100 minutes of CPU time for 288 runs, 20 seconds for most; `dynamic_hyper` takes 45 and `mhc` 90.
# docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/wirings"

n_layer = 12
n_head = 2
n_embd = 64
block_size = 64

batch_size = 8
max_iters = 300
learning_rate = 1e-2
schedule = "linear"
warmup_iters = 30

eval_interval = 150
eval_sequences = 256
probes = False

_wirings = ["pre", "sandwich", "rezero", "layerscale", "depth_scaled", "completep", "depth_mup", "keel"]
_wirings += ["stochastic_depth", "parallel", "highway", "x0", "value_residual", "dense"]
_wirings += ["hyper", "dynamic_hyper", "mhc", "attention_residual"]
_calm = ["none", "identity_start", "post", "deepnorm", "resi_dual", "reordered_norm", "block_skip"]
_faster = ["rezero", "layerscale", "completep", "depth_mup", "keel", "dense", "hyper", "dynamic_hyper"]
_less_calm = ["post", "deepnorm", "resi_dual", "block_skip"]
_seeds = [1, 2, 3]

study = {
    "league": {"residual": _wirings, "block_lr": [3e-4, 1e-3, 3e-3], "seed": _seeds},
    "calm": {"residual": _calm, "block_lr": [1e-4, 3e-4, 1e-3], "seed": _seeds},
    # beyond the three, where the best of them was the largest or the smallest
    "faster": {"residual": _faster, "block_lr": [1e-2], "seed": _seeds},
    "less-calm": {"residual": _less_calm, "block_lr": [3e-3], "seed": _seeds},
    "fast": {"residual": ["deepnorm", "resi_dual"], "block_lr": [1e-2], "seed": _seeds},
    "fastest": {"residual": ["rezero"], "block_lr": [3e-2], "seed": _seeds},
    "slower": {"residual": ["sandwich", "highway"], "block_lr": [1e-4], "seed": _seeds},
    "slow": {"residual": ["sandwich"], "block_lr": [3e-5], "seed": _seeds},
    "slowest": {"residual": ["identity_start"], "block_lr": [1e-5, 3e-5], "seed": _seeds},
    "silent": {"residual": ["silent"], "n_layer": [1], "seed": _seeds},
}
