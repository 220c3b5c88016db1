# Question: does a plain stack lose its tokens by its start, or by training? {standard start, init self} x
# {one rate for all, slow blocks}, and how different its tokens are before training and while it trains.
#
#     python compare.py config/causes.py --jobs 2 --json experiments/causes/result.json
#     python compare.py config/causes.py --lrs 1e-3,3e-3,1e-2 --vary init=wiring,orthogonal,self --seeds 3 \
#         --jobs 2 --json experiments/causes/rates.json
#     python compare.py config/causes.py --vary block_lr=1e-4,3e-4,1e-3 --vary init=wiring,orthogonal,self \
#         --seeds 3 --jobs 2 --json experiments/causes/slow.json
#
# Budget: 20 minutes of CPU time. The recipe is that of config/degradation.py with AdamW: embeddings and
# head learn at 1e-2, the blocks at the same rate or at 3e-4. The other commands give one rate, and that of
# the blocks, a choice of three, and two more, in experiments/causes/README.md, show how different tokens are
# at other rates. docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/causes"

residual = "none"
n_layer = 12
n_head = 1
n_embd = 32
block_size = 64
norm = "rmsnorm"
pos = "rope"
bias = False

batch_size = 16
max_iters = 200
learning_rate = 1e-2
schedule = "linear"
warmup_iters = 20

eval_interval = 50
eval_sequences = 128
sample_tokens = 0
seed = 1

_starts = {"residual": ["none"], "init": ["wiring", "self"], "seed": [1, 2, 3]}

study = {
    "one-rate": _starts,
    "slow-blocks": _starts | {"block_lr": [3e-4]},
}
