# Question: what does a GPU make of tiny Shakespeare? nanoGPT's shape (6 layers, 384 wide), 5000 updates.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char.py
#
# It overfits late, so look at the best checkpoint; nanoGPT publishes a best val of 1.4697 for this recipe.
# Not measured here yet (results/gpu.sh does).

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char"

n_layer = 6
n_head = 6
n_embd = 384
block_size = 256
dropout = 0.2
bias = False

batch_size = 64
max_iters = 5000
learning_rate = 1e-3
min_lr = 1e-4
warmup_iters = 100

eval_interval = 250
eval_windows = 400
