# Question: what perplexity per word has a small GPT on WikiText-2, and on WikiText-103?
#
#     python data/wikitext/prepare.py
#     python train.py config/wikitext.py
#
#     python data/wikitext/prepare.py --subset wikitext-103-v1 --tokenizer bpe:32768
#     python train.py config/wikitext.py --dataset=wikitext103 --dropout=0 --max_iters=100000 \
#         --n_layer=12 --n_embd=768 --n_head=12 --out_dir=runs/wikitext103
#
# The number is val/word_perplexity, which a run prints at its end: the exponential of the loss per word,
# whatever the tokenizer, where the end of a line is a word too, as in the papers. For the test split
# prepare with --split test, and evaluate as config/enwik8.py shows.
#
# Published. WikiText-2: valid 68.6, test 65.8, an LSTM of 33M parameters (Merity et al. 2017, AWD-LSTM,
# arXiv 1708.02182). WikiText-103: test 48.7, an LSTM (Grave et al. 2016, arXiv 1612.04426); test 24.0, 151M
# parameters (Dai et al. 2019, Transformer-XL, arXiv 1901.02860). Not run here: WikiText-2 costs 5e15
# floating point operations, a minute of a GPU that does 1e14 in a second, fourteen hours of two cores that
# do 1e11. The published models choose among the words of the training split, where rare ones are <unk>;
# here a word is spelt in pieces, so what is impossible for them has a probability here, and the two don't
# compare exactly. config/rezero.py is a smaller published result, and has words for tokens.

dataset = "wikitext"
out_dir = "runs/wikitext"

n_layer = 6
n_head = 8
n_embd = 512
block_size = 256
dropout = 0.3
bias = False
pos = "rope"

batch_size = 32
max_iters = 4000
learning_rate = 5e-4
min_lr = 5e-5
warmup_iters = 200

eval_interval = 250
eval_sequences = 1024
