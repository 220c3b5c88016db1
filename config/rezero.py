# Question: do 12 layers reach the perplexity per word on WikiText-2 that the authors of ReZero print for
# theirs after one pass over the text, 243 with pre-norm and 228 with ReZero?
#
#     python data/wikitext/prepare.py
#     python compare.py config/rezero.py --arms pre,rezero
#
# Published (Bachlechner et al. 2020, arXiv 2003.04887): their notebook "ReZero-Deep_Fast_Transformer" at
# github.com/tbachlechner/ReZero-examples, whose outputs are saved in it. Perplexity per word on the
# validation split after one, two and three passes: pre-norm 243, 208, 194; ReZero 228, 200, 187; post-norm
# 829, 845, 864; ReZero with 128 layers 211, 180, 168. For three passes here: --max_iters=3567.
#
# Theirs and this one have 12 layers of width 128, 8 heads, an MLP of 256, dropout 0.1, and read 50
# sequences of 35 words in an update, each without what came before it. What differs: theirs choose among
# the words of the training split, all in small letters; this one spells the words as they are in 8,192 byte
# pairs, so it must also get capitals right, and what it gives to words that are none is lost. Its head is
# the embedding, its positions are learned, its MLP has GELU for ReLU, and AdamW trains it, with warmup and
# decay, for their Adagrad.

dataset = "wikitext"
out_dir = "runs/rezero"

n_layer = 12
n_head = 8
n_embd = 128
n_inner = 256
block_size = 45  # 35 words
dropout = 0.1

batch_size = 50
max_iters = 1189  # as many tokens as the training split has, 2.68 million
learning_rate = 2e-3
schedule = "linear"
warmup_iters = 100

eval_interval = 1189
eval_sequences = 6263  # all of the validation split
