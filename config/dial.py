# Question: how heavy must a skip be for a gradient to get through a given depth?
#
#     python -m experiments.dial.measure --json experiments/dial/result.json     80 stacks, three seeds each
#     python train.py config/dial.py --residual_scale=0.9 --n_layer=64           one of them, as a run
#
# Budget: 22 minutes of CPU time on a slow machine.
# Expected (experiments/dial): after ten updates and with lambda = 1, the gradient at layer 0 is about as
# large as at the head, or larger, at every depth. With 0.99 it is a tenth of that at 128 layers and 6e-9 to
# 3e-8 at 1000, with 0.9 1e-10 to 4e-9 at 128, and with 0 nothing is left at 128.
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
