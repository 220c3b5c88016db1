# Question: does it hold for the blocks of today? RMSNorm, SwiGLU, rotary positions, shared keys and no
# biases, as in Llama; 24 layers with their skips, and the same stripped.
#
#     python compare.py config/deep_llama.py --arms pre,none,silent
#
# Expected (results/deep_llama.json): pre ends 0.69 nats below the bigram baseline, none on unigram, on
# its training data too. So yes. Four minutes on two CPU cores, the arms side by side (--jobs 2).
# Depth, width, batches and rates are those of config/laptop.py, which asks the same of GPT-2's blocks.
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
