# Question: what does a further layer do to the loss on the training data (He et al. 2015, arXiv 1512.03385)?
# A plain stack, one with a start that repairs it, and one with skips, over depth.
#
#     python compare.py config/degradation.py --json experiments/degradation/result.json
#
# The recipe is that of config/rescue.py, narrower. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/degradation"

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

eval_interval = 100
eval_sequences = 256

_depths, _seeds = [1, 3, 6, 12, 24], [1, 2, 3]

study = {
    "start": {"residual": ["none"], "init": ["self"], "n_layer": _depths, "seed": _seeds},
    "plain": {"residual": ["none"], "n_layer": _depths, "seed": _seeds},
    "skips": {"residual": ["pre"], "n_layer": _depths, "seed": _seeds},
}
