# Question: what does a small GPT learn of tiny Shakespeare in GPT-2's tokens? They are 300 thousand, of a
# vocabulary of 50,257.
#
#     python data/shakespeare/prepare.py
#     python train.py config/shakespeare.py
#
# Little data for so large a vocabulary: dropout is high, and the best checkpoint comes early. For a GPU.
# Not measured here yet.

dataset = "shakespeare"
out_dir = "runs/shakespeare"

n_layer = 6
n_head = 6
n_embd = 384
block_size = 256
dropout = 0.3
bias = False

batch_size = 16
gradient_accumulation_steps = 2
max_iters = 1000
learning_rate = 6e-4
min_lr = 6e-5
warmup_iters = 100

eval_interval = 100
eval_sequences = 128
