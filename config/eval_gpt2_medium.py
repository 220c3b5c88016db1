# Question: what does config/eval_gpt2.py measure on the 24 layers of GPT-2 medium? It has 355M parameters, a
# download of 1.5 GB.
#
#     python train.py config/eval_gpt2_medium.py

dataset = "shakespeare"
out_dir = "runs/eval_gpt2_medium"

init_from = "gpt2-medium"
block_size = 1024

batch_size = 1
max_iters = 0
eval_sequences = 32
probe_sequences = 1
