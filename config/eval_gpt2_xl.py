# Question: what does config/eval_gpt2.py measure on the 48 layers of GPT-2 xl? It has 1.6B parameters, a
# download of 6.4 GB.
#
#     python train.py config/eval_gpt2_xl.py

dataset = "shakespeare"
out_dir = "runs/eval_gpt2_xl"

init_from = "gpt2-xl"
block_size = 1024

batch_size = 1
max_iters = 0
eval_sequences = 32
probe_sequences = 1
