# Question: does a plain stack fail with the blocks of Llama, too? RMSNorm, SwiGLU, rotary positions, shared
# keys and values and no biases; 24 layers with and without skips.
#
#     python compare.py config/deep_llama.py --arms pre,none,silent
#
# Expected (experiments/deep_llama): with skips, 0.70 nats below the bigram baseline; without skips, on the
# unigram baseline, on the training data as well. So yes, with three seeds (--seeds 3). Four to seven minutes
# a seed on two CPU cores, the arms side by side (--jobs 2). Width, batches and rates are those of
# config/deep.py, which has the blocks of GPT-2.
# Vary it: --qk_norm, --mlp=relu2, --init=orthogonal, --learning_rate=3e-3.

dataset = "stdlib"
out_dir = "runs/deep_llama"

norm = "rmsnorm"
mlp = "swiglu"
pos = "rope"
bias = False
tie_weights = False

n_layer = 24
n_head = 2
n_kv_head = 1
n_embd = 64
block_size = 64

batch_size = 16
max_iters = 700
learning_rate = 1e-3
min_lr = 1e-4
warmup_iters = 70

eval_interval = 175
eval_sequences = 512
