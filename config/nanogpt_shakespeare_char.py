# Question: what does nanoGPT's own recipe for a GPU give? Its model, its 5000 updates, its schedule; for
# comparison with config/shakespeare_char.py, which trains the same model faster.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/nanogpt_shakespeare_char.py
#
# nanoGPT publishes a best val of 1.4697. `python bench.py --peer nanogpt=PATH --only shakespeare` trains
# nanoGPT's checkout with these settings: on an H200 its best is 1.473, at update 1500 of 5000
# (docs/speed.md). Needs a GPU; this program with the same settings is not measured.

dataset = "shakespeare_char"
out_dir = "runs/nanogpt_shakespeare_char"

n_layer = 6
n_head = 6
n_embd = 384
block_size = 256
dropout = 0.2
bias = False
mlp = "gelu_erf"  # nanoGPT's, and on a CPU the faster one

batch_size = 64
max_iters = 5000
learning_rate = 1e-3
schedule = "cosine"
min_lr = 1e-4
warmup_iters = 100
weight_decay = 0.1
beta2 = 0.99

eval_interval = 250
eval_sequences = 400
