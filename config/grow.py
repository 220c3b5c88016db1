# Question: can a trained stack be made deeper without losing anything? Silent blocks (F = 0, y = x) are
# inserted, the loss at step 0 is that of the shallow model, bit for bit, and training goes on from there.
#
#     python train.py config/grow.py --init_from=runs/laptop/pre-L24-s1337 --n_layer=48 --pos=rope
#
# --grow_at=end, middle or between. Wirings without an identity (none, post, ...) are refused.

dataset = "stdlib"
out_dir = "runs/grow"

n_layer = 48
n_head = 2
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 200
learning_rate = 5e-4
schedule = "linear"
warmup_iters = 20

eval_interval = 50
eval_sequences = 512
