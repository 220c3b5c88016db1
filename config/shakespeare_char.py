# Question: how fast does a GPU learn tiny Shakespeare? nanoGPT's shape (6 layers, width 384), Muon for the
# matrices of the blocks, a quarter of its 5000 updates.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char.py
#
# Measured on an H200 (docs/speed.md): val 1.440, 1.442 and 1.451 with three seeds, after 8.6 s of updates.
# nanoGPT publishes 1.4697, which is passed after 6.0 to 6.9 s; its own recipe, which is
# config/nanogpt_shakespeare_char.py, has its best, 1.473 on the same sequences, after 18.1 s. muon_lr is
# that of config/shakespeare_char_cpu.py, and the rate of all else half of its; --muon_lr=0.04 ended at 1.430
# with one seed.
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
muon_lr = 0.02
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 125
eval_sequences = 400
