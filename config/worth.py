# Question: what is each layer of a stack worth? Blocks are left out of trained stacks, and stacks are trained
# in which one block alone may learn.
#
#     python -m experiments.worth.measure --jobs 2 --json experiments/worth/result.json
#     python train.py config/worth.py --muon_lr=5e-2     one of them, as a run
#
# Budget: an hour of CPU time, three seeds. The recipe is that of config/degradation.py; each arm has the
# best of three or four rates, by the training loss of all its blocks. In a stack in which one block learns,
# all others stay as they start, and embeddings and head learn; what the block is worth is the distance to a
# stack in which none learns.
# docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/worth"

n_layer = 12
n_head = 1
n_embd = 32
block_size = 64
norm = "rmsnorm"
pos = "rope"
bias = False

batch_size = 16
max_iters = 200
optimizer = "muon"
muon_lr = 5e-3
learning_rate = 1e-2
schedule = "linear"
warmup_iters = 20

eval_sequences = 128
seed = 1
