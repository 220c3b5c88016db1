# Question: what does config/eval_gpt2.py measure on the 36 layers of GPT-2 large? It has 774M parameters, a
# download of 3.2 GB.
#
#     python train.py config/eval_gpt2_large.py

dataset = "shakespeare"
out_dir = "runs/eval_gpt2_large"

init_from = "gpt2-large"
block_size = 1024

batch_size = 1
max_iters = 0
eval_sequences = 32
probe_sequences = 1
