# Question: how good is a small model after two minutes on a CPU? nanoGPT's CPU recipe (4 layers, 128 wide).
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char_cpu.py
#
# Expected: val 1.88, what nanoGPT publishes for this recipe.

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char_cpu"

n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
bias = False

batch_size = 12
max_iters = 2000
learning_rate = 1e-3
min_lr = 1e-4
warmup_iters = 100

eval_interval = 250
eval_windows = 1024
