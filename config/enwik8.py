# Question: how many bits per byte does a 12-layer GPT need for enwik8, the first 100 million bytes of a
# Wikipedia dump?
#
#     python data/enwik8/prepare.py
#     python train.py config/enwik8.py
#
# and on the test split, all of it:
#
#     python data/enwik8/prepare.py --split test
#     python train.py config/enwik8.py --init_from=runs/enwik8 --dataset=enwik8_test --max_iters=0 \
#         --eval_sequences=9765 --out_dir=runs/enwik8-test
#
# The number is val/bits_per_byte, which a run prints at its end and compare.py shows.
#
# Published, on the test split: 1.11 with 12 layers of width 512 and 44M parameters, which also learn from
# auxiliary losses (Al-Rfou et al. 2018, arXiv 1808.04444, T12); 1.06 with 41M (Dai et al. 2019,
# Transformer-XL, arXiv 1901.02860, 12 layers). Not run here: it costs 4e17 floating point operations, an
# hour or two of a GPU that does 1e14 in a second, seven weeks of two cores that do 1e11. The shape is
# T12's, the schedule is a guess. Sequences are read side by side, each without what came before it, so a
# loss here is a little higher than one read with a context that slides along, as in the papers.

dataset = "enwik8"
out_dir = "runs/enwik8"

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
