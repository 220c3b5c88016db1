# Question: does theory predict, with no constant fitted, what a fresh stack does to its tokens, its stream
# and its gradient?
#
#     python -m experiments.theory.measure --json experiments/theory/result.json     all stacks, one minute
#     python -m experiments.theory.measure --scaled --json experiments/theory/scaled.json     / sqrt(2L)
#     python train.py config/theory.py --residual=none     one of them, as a run
#
# Budget: one minute of CPU time. Nothing is trained. Compared are three predictions with stacks as GPT-2
# starts them: powers of the uniform causal attention matrix, a stream to which independent branches are
# added, and a branch whose weight is 0. Beside them stands how alike tokens become where skips are left
# out, are whole, or have branches divided by sqrt(2L), with the gradients of Q, K and V (Noci et al. 2022,
# arXiv 2206.03126). docs/residuals.md discusses the result.

dataset = "stdlib"
out_dir = "runs/theory"

init = "unscaled"
n_layer = 24
n_head = 2
n_embd = 64
block_size = 64

max_iters = 0
warmup_iters = 0
eval_sequences = 64
probe_sequences = 16
