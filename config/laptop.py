# Question: does a 24-layer stack train without its skips? Two to three minutes for both arms on two cores.
#
#     python compare.py config/laptop.py --arms pre,none --jobs 2
#     python compare.py config/laptop.py --arms silent --depths 1     the control, the same at every depth
#
# Both arms read the same batches and start from the same random draws. They differ in the skip, and in the
# start of the output projections, which `pre` divides by sqrt(2L); with --init=unscaled, in the skip alone.
#
# The recipe is the same for both: rotary positions, Muon for the matrices of the blocks, a rate that falls to
# zero. Expected (experiments/laptop, which says what each part is worth): with skips, 0.82 nats below the
# bigram baseline and text that looks like Python; without skips, on the unigram baseline, on the training
# data as well, and letters in no order.
# Vary it: --n_layer=12, --muon_lr=1e-2, --residual=post, --attn_residual=none (a skip around the MLP only).

dataset = "stdlib"
out_dir = "runs/laptop"

n_layer = 24
n_head = 2
n_embd = 64
block_size = 64
pos = "rope"

batch_size = 16
max_iters = 400
optimizer = "muon"
muon_lr = 2e-2
learning_rate = 4e-3
schedule = "linear"
warmup_iters = 40

eval_interval = 100
eval_sequences = 512
sample_tokens = 300
