# Question: do 48 layers train with this recipe, with and without skips?
#
#     python train.py config/deep.py
#     python train.py config/deep.py --residual=none --out_dir=runs/deep-none
#     python compare.py runs/deep runs/deep-none
#     python compare.py config/deep.py --arms silent --depths 1     the control, the same at every depth
#
# Budget: 15 minutes of CPU time for all three, and for each further seed; an hour for other rates.
# Expected (experiments/deep): with skips, 0.46 nats below the bigram baseline and 0.77 below `silent`;
# without skips, on the unigram baseline. Vary it: --n_layer=96, --learning_rate=3e-3 (0.13 lower with skips,
# and no change without), --residual=rezero.

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
eval_sequences = 512
