# Question: how soon does a CPU reach the val loss of nanoGPT's recipe for CPUs (1.88 after 2000 updates)? The
# same size (4 layers, width 128, batches of 12 sequences), Muon for the matrices of the blocks, rotary
# positions.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char_cpu.py
#     python train.py config/shakespeare_char_cpu.py --max_iters=2000
#
# Expected (experiments/shakespeare_char_cpu): val 1.873 (three seeds, 1.865 to 1.880), and 1.570 with 2000
# updates. It takes 0.13 of nanoGPT's time, see docs/speed.md;
# `python bench.py --peer nanogpt=PATH --only val` trains three seeds against nanoGPT's clock.
#
# How it was chosen, with a linear schedule to zero, when Muon still took Q, K and V as one matrix: Muon at
# 0.02 beside AdamW at 4e-3 gave 1.864 after 600 updates, at 8e-3 1.856, with 540 updates 1.881 to 1.889
# (three seeds); AdamW alone at 5e-3 gave 1.970 after 800. Rotary positions were tried once, at 480 updates:
# 1.841 to 1.869 (three seeds); relu2 too: 1.840 to 1.885.

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char_cpu"

n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
bias = False
pos = "rope"
mlp = "gelu_erf"  # nanoGPT's, and on a CPU the faster one

batch_size = 12
max_iters = 360
optimizer = "muon"
muon_lr = 0.02
learning_rate = 8e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 150
eval_sequences = 1024
