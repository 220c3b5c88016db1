#!/usr/bin/env bash
# Measures what needs a GPU, and keeps the figures here as JSON: about an hour on one H200.
#
#     bash results/gpu.sh                          everything
#     NANOGPT=../nanoGPT bash results/gpu.sh speed    the speed cases alone, one call, under ten minutes
#
# Needs a network or prepared data for tiny Shakespeare. Runs that are finished are kept.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python
[ -x "$python" ] || python=python

[ -f data/shakespeare_char/meta.json ] || "$python" data/shakespeare_char/prepare.py

# Speed first: every GPU case against nanoGPT's checkout where NANOGPT names one, under ten minutes.
"$python" bench.py ${NANOGPT:+--peer "nanogpt=$NANOGPT"} --only gpt2,48L384,1000L,shakespeare,loss,depth,sample-1
[ "${1:-}" = speed ] && exit 0

[ -f data/shakespeare/meta.json ] || "$python" data/shakespeare/prepare.py

"$python" compare.py config/shakespeare_char.py --json results/shakespeare_char.json --page runs/shakespeare_char.html
"$python" compare.py config/shakespeare.py --json results/shakespeare.json --page runs/shakespeare.html
"$python" compare.py config/deep.py --out_dir=runs/deep_gpu --arms pre,none,silent --n_embd=384 --n_head=6 \
    --block_size=256 --batch_size=32 --json results/deep_gpu.json --page runs/deep_gpu.html
"$python" compare.py config/thousand.py --out_dir=runs/thousand_gpu --arms pre,none --n_embd=256 --n_head=4 \
    --block_size=256 --batch_size=32 --max_iters=2000 --json results/thousand_gpu.json --page runs/thousand_gpu.html
"$python" compare.py config/study_gpu.py --jobs 4 --json results/study_gpu.json --page runs/study_gpu.html
