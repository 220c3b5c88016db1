# Question: how good is a small model after two minutes on a CPU? nanoGPT's shape for CPUs (4 layers,
# 128 wide) and its 2000 updates of 12 windows.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char_cpu.py
#
# nanoGPT publishes val 1.88 for this shape. Its schedule (peak 1e-3, cosine to 1e-4) gives 1.907 here, on
# fixed windows over the whole validation split; a linear fall to zero gives 1.776 from a peak of 3e-3, and
# 1.753 from 5e-3.

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char_cpu"

n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
bias = False

batch_size = 12
max_iters = 2000
learning_rate = 5e-3
schedule = "linear"
warmup_iters = 100

eval_interval = 250
eval_windows = 1024
