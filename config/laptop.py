# Question: does a 24-layer stack train without its skips? Two minutes per arm on a laptop.
#
#     python compare.py config/laptop.py --arms pre,none
#     python compare.py config/laptop.py --arms silent --depths 1     the control, the same at every depth
#
# Both arms read the same batches and start from the same random draws. They differ in the skip, and in the
# start of the output projections, which `pre` divides by sqrt(2L); with --init=unscaled, in the skip alone.
#
# Expected (experiments/laptop): with skips, 0.18 nats below the bigram baseline and 0.50 below `silent`;
# without skips, on the unigram baseline, on the training data as well. Vary it: --n_layer=12,
# --learning_rate=3e-3, --residual=post, --attn_residual=none (only attention loses its skip).

dataset = "stdlib"
out_dir = "runs/laptop"

n_layer = 24
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 700
learning_rate = 1e-3
min_lr = 1e-4
warmup_iters = 70

eval_interval = 175
eval_sequences = 512
