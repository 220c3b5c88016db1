# Question: which skips does a stack of 12 layers need? Those around attention, around the MLP, one around
# both, those of every k-th block, of the first half or of the last.
#
#     python compare.py config/which_skip.py --jobs 2 --json experiments/which_skip/result.json
#
# Budget: 50 minutes of CPU time. The recipe is that of config/degradation.py; each arm has a choice of
# five or six rates of its blocks, and three seeds. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/which_skip"

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

_seeds, _rates = [1, 2, 3], [5e-4, 1.5e-3, 5e-3, 1.5e-2, 5e-2]
_arms = {
    "whole": {"residual": ["pre", "block_skip", "none"]},
    "attention": {"residual": ["pre"], "mlp_residual": ["none"]},
    "mlp": {"residual": ["pre"], "attn_residual": ["none"]},
    "some": {
        "residual": ["partial_skips"],
        "skip_blocks": ["every:2", "every:3", "every:4", "first:6", "last:6"],
    },
}

study = {"silent": {"residual": ["silent"], "n_layer": [1], "seed": _seeds}}  # the same at every depth
_faster = {"whole": [0.15], "mlp": [0.15]}  # where the best of five was the largest
study |= {
    name: arm | {"muon_lr": _rates + _faster.get(name, []), "seed": _seeds} for name, arm in _arms.items()
}
