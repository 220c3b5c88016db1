# Question: do 12 and 128 layers reach the perplexity per word on WikiText-2 that the authors of ReZero print
# for theirs after one pass over the text, 243 with pre-norm, 228 with ReZero and 211 with 128 layers of it?
#
#     python -m experiments.rezero.words words
#     python data/wikitext/prepare.py --tokenizer words
#     python compare.py config/rezero.py --jobs 2
#
# Budget: three hours of CPU time for 12 layers and the control, as much for 128, one for the other tables.
# Published (Bachlechner et al. 2020, arXiv 2003.04887): their notebook "ReZero-Deep_Fast_Transformer" at
# github.com/tbachlechner/ReZero-examples, whose outputs are saved in it. Perplexity per word on the
# validation split after one, two and three passes: pre-norm 243, 208, 194; ReZero 228, 200, 187; post-norm
# 829, 845, 864; ReZero with 128 layers 211, 180, 168.
#
# As there: Adagrad at 0.01 without warmup, gradients clipped to 0.5, width 128, 8 heads, an MLP of 256,
# dropout 0.1, 50 sequences of 35 words in an update, each without what came before it, the words of the
# training split in small letters, a head that is not the embedding. What differs: they cut signs off the
# words, here a word is what stands between blanks; their positions are sines, their MLP has ReLU, their head
# starts three times as large, they have no norm before it, both sublayers of a block share their a, Q, K and
# V start at half the variance, embeddings are scaled and not normalised, and their pre-norm stack starts by
# Xavier with one norm in a block, used twice.

dataset = "wikitext"
out_dir = "runs/rezero"

n_layer = 12
n_head = 8
n_embd = 128
n_inner = 256
block_size = 35
dropout = 0.1
tie_weights = False

batch_size = 50
max_iters = 1192  # one pass over the 2.09 million words of the training split
optimizer = "adagrad"
learning_rate = 1e-2
schedule = "constant"
warmup_iters = 0
weight_decay = 0.0
grad_clip = 0.5

eval_interval = 298
eval_sequences = 1000

_as_published = {"learning_rate": [1e-2], "seed": [1, 2, 3]}

study = {
    "shallow": {"residual": ["pre", "rezero"], "n_layer": [12]} | _as_published,
    "deep": {"residual": ["rezero"], "n_layer": [128]} | _as_published,
    "silent": {"residual": ["silent"], "n_layer": [1]} | _as_published,  # the control, at every depth
}
