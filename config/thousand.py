# Question: does a gradient get through a thousand layers, with and without skips?
#
#     python compare.py config/thousand.py --arms pre,none --jobs 2 --page runs/thousand.html
#     python compare.py config/thousand.py --arms silent --depths 1     the control, the same at every depth
#
# Expected (experiments/thousand): with skips, 0.37 nats below the unigram baseline, hardly lower than
# `silent`; without skips, on the unigram baseline. For a recipe that uses the depth, see
# --residual=depth_mup.
#
# A thousand layers are 2000 branches that all move at once. With AdamW at 3e-3 each moves every channel by
# that much, their sum is larger than the embeddings (std 0.02) after one update, and the stack learns no more
# than the plain one: val 3.182 after 200 updates. So the blocks take small steps, by Muon with a small rate
# of its own, while the embeddings move as they do elsewhere; and there are no biases, which would all push in
# one direction. Both arms have the same recipe.
#
# Narrow and short, so that two CPU cores can do it; give it width and time on a GPU:
# --n_embd=256 --n_head=4 --block_size=256 --batch_size=32 --max_iters=5000

dataset = "stdlib"
out_dir = "runs/thousand"

n_layer = 1000
n_head = 2
n_embd = 32
block_size = 32
bias = False

batch_size = 8
max_iters = 150
optimizer = "muon"
learning_rate = 3e-3
muon_lr = 2e-4
schedule = "linear"
warmup_iters = 15

eval_interval = 50
eval_sequences = 32
probe_sequences = 4
