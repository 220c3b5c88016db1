# Question: do 48 layers train? With skips, like any shallow stack; stripped of them, not at all.
#
#     python train.py config/deep.py
#     python train.py config/deep.py --residual=none --out_dir=runs/deep-none
#     python compare.py runs/deep runs/deep-none
#
# Under 15 minutes per arm on two CPU cores. Vary it: --residual=post, --attn_residual=none (only the
# attention loses its skip), --n_layer=96, --learning_rate=3e-4.

dataset = "stdlib"
out_dir = "runs/deep"

n_layer = 48
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 1500
learning_rate = 1e-3
min_lr = 1e-4
warmup_iters = 150

eval_interval = 250
eval_windows = 512
