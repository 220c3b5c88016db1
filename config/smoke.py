# Question: does everything work? Three blocks, 20 updates, a few seconds.
#
#     python train.py config/smoke.py

dataset = "stdlib"
out_dir = "runs/smoke"

n_layer = 3
n_head = 2
n_embd = 32
block_size = 32

batch_size = 8
max_iters = 20
warmup_iters = 5
learning_rate = 3e-3

eval_interval = 10
eval_sequences = 16
log_interval = 1

end_note = (
    "everything works: data, training, evaluation, probes, samples and checkpoints. Next, 24 layers with and "
    "without skips: python compare.py config/laptop.py --arms pre,none"
)
