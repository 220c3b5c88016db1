# Question: do a thousand layers train? With skips yes, from the first updates on; without, nothing moves.
#
#     python compare.py config/thousand.py --arms pre,none --jobs 2 --page runs/thousand.html
#
# Narrow and short, so that two CPU cores can do it; give it width and time on a GPU:
# --n_embd=256 --n_head=4 --block_size=256 --batch_size=32 --max_iters=5000

dataset = "stdlib"
out_dir = "runs/thousand"

n_layer = 1000
n_head = 2
n_embd = 32
block_size = 32

batch_size = 8
max_iters = 200
learning_rate = 3e-3
schedule = "linear"
warmup_iters = 20

eval_interval = 100
eval_windows = 32
probe_windows = 4
