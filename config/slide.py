# Question: from how many layers on does a stack need its skips? Pictures for a talk, in some ten minutes on
# two cores.
#
#     python compare.py config/slide.py --jobs 2 --title "Depth needs skips" --png slide
#
# Twelve stacks, six depths with skips and without, under the recipe of config/laptop.py, shorter.
# docs/manual.md says which picture of the folder slide/ shows what.
# Expected: ...

dataset = "stdlib"
out_dir = "runs/slide"

n_head = 2
n_embd = 64
block_size = 64
pos = "rope"

batch_size = 16
max_iters = 300
optimizer = "muon"
muon_lr = 2e-2
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 30

eval_interval = 150
eval_sequences = 256

study = {"depth": {"residual": ["pre", "none"], "n_layer": [1, 2, 4, 8, 16, 32]}}
