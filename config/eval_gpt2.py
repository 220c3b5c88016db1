# Question: what loss does OpenAI's GPT-2 (124M) have on a text, and what is each of its 12 layers worth?
#
#     python train.py config/eval_gpt2.py                                  downloads 0.5 GB once
#     python train.py config/eval_gpt2.py --init_from=DIR --block_size=N   a local folder, no network
#     python autopsy.py runs/eval_gpt2
#     python train.py config/eval_gpt2.py --residual=none --out_dir=runs/eval_gpt2-none     without skips
#
# No update is made: the result is a run directory with losses and a checkpoint, like any other. The shape
# comes from the weights. Needs transformers, and python data/shakespeare/prepare.py first or another dataset
# in GPT-2's tokens. Not measured here: the weights need a download.

dataset = "shakespeare"
out_dir = "runs/eval_gpt2"

init_from = "gpt2"
block_size = 1024

batch_size = 4
max_iters = 0
eval_sequences = 32
probe_sequences = 1
