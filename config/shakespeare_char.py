# Question: how fast does a GPU learn tiny Shakespeare? nanoGPT's shape (6 layers, width 384), Muon for the
# matrices of the blocks, a quarter of its 5000 updates.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char.py
#
# The aim is nanoGPT's best val of 1.4697 in a quarter of its time, and below 1.45 at the best checkpoint. It
# is not measured yet, and its rates are those of config/shakespeare_char_cpu.py, untuned at this size;
# `python bench.py --only shakespeare` on a machine with a GPU measures it. nanoGPT's own recipe is
# config/nanogpt_shakespeare_char.py.

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char"

n_layer = 6
n_head = 6
n_embd = 384
block_size = 256
dropout = 0.2
bias = False
mlp = "gelu_erf"  # nanoGPT's, and on a CPU the faster one

batch_size = 64
max_iters = 1250
optimizer = "muon"
muon_lr = 0.02
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 125
eval_sequences = 400
