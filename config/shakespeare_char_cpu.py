# Question: how soon is a CPU where nanoGPT's recipe for CPUs ends (val 1.88 after 2000 updates)? The same
# model (4 layers, 128 wide, batches of 12 windows), Muon for the matrices of the blocks, 600 updates.
#
#     python data/shakespeare_char/prepare.py
#     python train.py config/shakespeare_char_cpu.py
#     python train.py config/shakespeare_char_cpu.py --max_iters=2000   # 1.599 (one seed)
#
# Expected: val 1.837 (three seeds, 1.826 to 1.855). How it was chosen, one seed each, linear to zero: Muon
# at 0.02 beside AdamW at 4e-3 gave 1.864, at 8e-3 1.856; with 500 updates 1.904 and 1.913 (two other
# seeds); AdamW alone at 5e-3 gave 1.970 with 800, and 1.753 with all 2000. `python bench.py --peer
# nanogpt=PATH --only val` trains three seeds, against nanoGPT's clock; docs/speed.md has the state of it.

dataset = "shakespeare_char"
out_dir = "runs/shakespeare_char_cpu"

n_layer = 4
n_head = 4
n_embd = 128
block_size = 64
bias = False
mlp = "gelu_erf"  # nanoGPT's, and on a CPU the faster one

batch_size = 12
max_iters = 600
optimizer = "muon"
muon_lr = 0.02
learning_rate = 8e-3
schedule = "linear"
warmup_iters = 50

eval_interval = 150
eval_windows = 1024
