# Question: how fast does a pretrained model adapt to Shakespeare? Compare it with config/shakespeare.py,
# which starts from random weights on the same tokens.
#
#     python data/shakespeare/prepare.py
#     python train.py config/finetune_shakespeare.py                       GPT-2 XL, for a GPU of 40 GB
#     python train.py config/finetune_shakespeare.py --init_from=gpt2      124M, for a smaller one
#     python train.py config/finetune_shakespeare.py --init_from=DIR       a local folder of transformers
#
# 20 updates of 32 sequences; the rate is small and constant, so that what was learned before is kept.
# The best checkpoint by validation loss is kept. Not measured here: the weights need a download.

dataset = "shakespeare"
out_dir = "runs/finetune_shakespeare"

init_from = "gpt2-xl"
block_size = 1024

batch_size = 1
gradient_accumulation_steps = 32
max_iters = 20
learning_rate = 3e-5
schedule = "constant"
warmup_iters = 0
activation_checkpointing = True

eval_interval = 5
eval_sequences = 40
probe_sequences = 1
