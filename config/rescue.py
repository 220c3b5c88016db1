# Question: can a plain stack of 12 layers be trained with another start and slow blocks alone?
#
#     python compare.py config/rescue.py --json experiments/rescue/result.json --page runs/rescue.html
#
# Budget: an hour of CPU time for its 141 runs, more than two on a slow machine.
# Two things stop the standard stack. Its tokens start alike: attention is nearly uniform, and a product of
# such matrices maps every token to the first. Init `self` makes a token attend to itself. And training makes
# tokens alike again at the rate that embeddings want, so the blocks have a rate of their own here, in all
# arms. (A small one for all weights does it, too, and ends higher: see config/ladder.py.)
#
# docs/residuals.md discusses the result. Vary it: --n_layer=24 --muon_lr=5e-4 (the deeper such a
# stack is, the smaller the rate that it bears), --init_qk_scale=1.5.

dataset = "stdlib"
out_dir = "runs/rescue"

n_layer = 12
n_head = 2
n_embd = 64
block_size = 64
norm = "rmsnorm"
pos = "rope"
bias = False

batch_size = 16
max_iters = 300
optimizer = "muon"
muon_lr = 5e-3
learning_rate = 1e-2
schedule = "linear"
warmup_iters = 30

eval_interval = 150
eval_sequences = 256

_seeds = [1, 2, 3]
_rates = [5e-4, 1.5e-3, 1.5e-2, 5e-2, 1.5e-1]  # beside 5e-3
_block_rates = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3]
_arms = {
    "start": {"residual": ["none"], "init": ["self"]},
    "plain": {"residual": ["none"]},
    "skips": {"residual": ["pre"]},
    "attention-skip-only": {"residual": ["pre"], "mlp_residual": ["none"]},
    "mlp-skip-only": {"residual": ["pre"], "attn_residual": ["none"]},
}

study = {name: arm | {"seed": _seeds} for name, arm in _arms.items()}
study["silent"] = {"residual": ["silent"], "n_layer": [1], "seed": _seeds}  # the same model at every depth
study |= {f"{name}-rates": arm | {"muon_lr": _rates, "seed": _seeds} for name, arm in _arms.items()}
study["start-slower"] = _arms["start"] | {"muon_lr": [1.5e-4], "seed": _seeds}
study |= {  # does it depend on Muon?
    f"{name}-adamw": arm | {"optimizer": ["adamw"], "block_lr": _block_rates, "seed": _seeds}
    for name, arm in _arms.items()
    if name in ("start", "plain", "skips")
}
