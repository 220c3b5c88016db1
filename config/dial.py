# Question: how heavy must a skip be for a gradient to get through a given depth?
#
#     python -m experiments.dial.measure --json experiments/dial/result.json     all 80 stacks, two minutes
#     python train.py config/dial.py --residual_scale=0.9 --n_layer=64           one of them, as a run
#
# Expected (experiments/dial): while lambda^(2L) is above 1e-6 or so, a gradient arrives at the first layer;
# below that, what arrives is left over from the branches. With lambda = 1 all depths get it.
#
# Every stack is small and short, so that a thousand layers fit in: what is asked is how far a gradient gets
# at the start and in the first updates, and not what is learned. One thing differs, the weight lambda of x
# in y = lambda x + F(N(x)); the start is the same for all (--init=unscaled).

dataset = "stdlib"
out_dir = "runs/dial"

residual = "scaled"
init = "unscaled"
n_layer = 64
n_head = 2
n_embd = 16
block_size = 16

batch_size = 4
max_iters = 10
learning_rate = 1e-3
schedule = "constant"
warmup_iters = 2

eval_interval = 10
eval_sequences = 16
probe_sequences = 1
