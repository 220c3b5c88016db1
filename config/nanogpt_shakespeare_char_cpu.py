# Question: what does nanoGPT's own recipe for CPUs give? Its model, its 2000 updates, its schedule; for
# comparison with config/shakespeare_char_cpu.py, which trains a model of the same size faster.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/nanogpt_shakespeare_char_cpu.py
#
# nanoGPT publishes val 1.88 for it, on random sequences. `python bench.py --peer nanogpt=PATH --only val`
# trains nanoGPT's checkout with these settings and evaluates it on the sequences that are used here.

dataset = "shakespeare_char"
out_dir = "runs/nanogpt_shakespeare_char_cpu"

n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
bias = False
mlp = "gelu_erf"  # nanoGPT's, and on a CPU the faster one

batch_size = 12
max_iters = 2000
learning_rate = 1e-3
schedule = "cosine"
min_lr = 1e-4
warmup_iters = 100
weight_decay = 0.1
beta2 = 0.99

eval_interval = 250
eval_sequences = 1024
