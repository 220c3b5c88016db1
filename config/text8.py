# Question: how many bits per character does a 12-layer GPT need for text8, 100 million letters and blanks
# of Wikipedia?
#
#     python data/text8/prepare.py
#     python train.py config/text8.py
#
# and on the test split, all of it:
#
#     python data/text8/prepare.py --split test
#     python train.py config/text8.py --init_from=runs/text8 --dataset=text8_test --max_iters=0 \
#         --eval_sequences=9765 --out_dir=runs/text8-test
#
# A character is a byte here: the number is val/bits_per_byte, which a run prints at its end.
#
# Published, on the test split: 1.18 with 12 layers of width 512 and 44M parameters, 1.13 with 64 layers and
# 235M (Al-Rfou et al. 2018, arXiv 1808.04444, T12 and T64); 1.08 with 24 layers and 277M (Dai et al. 2019,
# Transformer-XL, arXiv 1901.02860). Not run here: it costs 4e17 floating point operations, an hour or two
# of a GPU that does 1e14 in a second, seven weeks of two cores that do 1e11. config/enwik8.py tells what
# the shape is from and how an evaluation here differs from the papers'.

dataset = "text8"
out_dir = "runs/text8"

n_layer = 12
n_head = 8
n_embd = 512
block_size = 512
dropout = 0.1
bias = False
pos = "rope"

batch_size = 32
max_iters = 100_000
learning_rate = 5e-4
min_lr = 5e-5
warmup_iters = 2000
beta2 = 0.98

eval_interval = 2000
eval_sequences = 1024
