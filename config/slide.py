# Question: from how many layers on does a stack need its skips? Pictures for a talk, in some minutes on two
# cores.
#
#     python compare.py config/slide.py --jobs 2 --png slide --title "Depth needs skips"
#
# Twelve stacks, six depths with skips and six without, under the recipe of config/laptop.py, far shorter:
# what a talk needs (how many layers a signal reaches, how far the gradient comes) is there after 60 updates.
# docs/manual.md says which picture of the folder slide/ shows what; experiments/slide has what to expect.
# Vary it: --max_iters=300 --warmup_iters=30, which takes five times as long, for losses farther apart.

dataset = "stdlib"
out_dir = "runs/slide"

n_head = 2
n_embd = 64
block_size = 64
pos = "rope"

batch_size = 16
max_iters = 60
optimizer = "muon"
muon_lr = 2e-2
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 6

eval_interval = 30
eval_sequences = 256

study = {"depth": {"residual": ["pre", "none"], "n_layer": [1, 2, 4, 8, 16, 32]}}
