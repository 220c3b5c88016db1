# Question: how fast does a GPU learn tiny Shakespeare? nanoGPT's shape (6 layers, width 384), Muon for the
# matrices of the blocks, a quarter of its 5000 updates.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char.py
#
# Measured on an H200 (docs/speed.md): val 1.423, 1.426 and 1.427 with three seeds. With --muon_lr=0.02 as
# many updates took 8.6 s there and ended at 1.440, 1.442 and 1.451. nanoGPT publishes 1.4697, which each seed
# of both has passed by update 1000; its own recipe, which is config/nanogpt_shakespeare_char.py, has its
# best, 1.473 on the same sequences, after 18.1 s. The rate of all else is half of that of
# config/shakespeare_char_cpu.py.
# `python bench.py --only shakespeare` measures it again.

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
muon_lr = 0.04
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 125
eval_sequences = 400
